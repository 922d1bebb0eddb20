"""What a refusal means: a class and a reason, from a reply code, an enhanced status code and a server's words.

The status alone is right about two times in five, because servers use 5.1.1 for spam and 5.7.1 for unknown users; so
words come first, then the codes that say something of their own, then the class digit. In doubt a bounce is
soft or a block: to suppress an address wrongly loses mail for good, to miss a dead one costs another bounce.
"""

import re
from collections.abc import Iterable

from relay.core import bounce_words
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.reply import Reply

__all__ = ["class_of", "classify"]

#: characters of words that are looked at
_MOST_WORDS = 6_000

_HARD, _SOFT, _BLOCK = BounceClass.HARD, BounceClass.SOFT, BounceClass.BLOCK
_R = BounceReason

_CLASS_OF = {
    _R.NO_SUCH_USER: _HARD,
    _R.NO_SUCH_DOMAIN: _HARD,
    _R.INACTIVE: _HARD,
    _R.SPAM: _BLOCK,
    _R.REPUTATION: _BLOCK,
    _R.AUTHENTICATION: _BLOCK,
    _R.POLICY: _BLOCK,
    _R.RATE: _BLOCK,
    _R.RELAYING: _BLOCK,
}


def classify(reply: Reply | None, words: str = "", *, status: str | None = None) -> Bounce:
    """What was wrong.

    `reply` is what a server said in the session or is quoted as having said, `words` is further text for people,
    `status` an enhanced status code (RFC 3463) given apart from both, as a delivery report has it. Never raises.
    """
    text = _plain(f"{reply.enhanced or ''} {reply.text} {words}" if reply else words)
    codes = [code for code in (reply.enhanced if reply else None, status) if code]
    transient = _transient(reply, codes)
    found = _by_words(text) or _by_codes(codes) or _by_reply(reply, text)
    if found is None:
        return Bounce(_SOFT)
    if transient and found.kind is _HARD:
        # Whoever says "not now" of an unknown user has not made up his mind.
        return Bounce(_SOFT, found.reason)
    return found


def class_of(reason: BounceReason) -> BounceClass:
    """The class that a reason has as a rule."""
    return _CLASS_OF.get(reason, _SOFT)


def _plain(text: str) -> str:
    return " ".join(text[:_MOST_WORDS].lower().replace("\u2019", "'").replace("_", " ").split())


def _transient(reply: Reply | None, codes: Iterable[str]) -> bool:
    if reply is not None and reply.code:
        return reply.transient
    return any(code.startswith("4") for code in codes)


#: tried after the codes: phrases of RFC 5321 itself, which stand beside a reply code whatever it was for
_STOCK_WORDS: tuple[tuple[Bounce, tuple[str, ...]], ...] = (
    (
        Bounce(_HARD, _R.NO_SUCH_USER),
        (
            r"mailbox (?:name )?(?:unavailable|not (?:found|allowed|available))",
            r"no mailbox",
            r"user not local",
        ),
    ),
    (
        Bounce(_SOFT, _R.OTHER),
        (
            r"local error",
            r"action aborted",
            r"internal (?:error|failure)",
            r"(?:system|server|software|configuration|config) (?:error|problem)",
        ),
    ),
)

_WORDS = tuple((bounce, re.compile("|".join(patterns))) for bounce, patterns in bounce_words.WORDS)
_STOCK = tuple((bounce, re.compile("|".join(patterns))) for bounce, patterns in _STOCK_WORDS)


def _by_words(text: str) -> Bounce | None:
    if not text:
        return None
    for bounce, pattern in _WORDS:
        if pattern.search(text):
            return bounce
    return None


# Codes, RFC 3463 3 and the IANA registry of enhanced status codes.

_DETAILS: dict[str, Bounce] = {
    code: Bounce(class_of(reason), reason)
    for reason, codes in {
        _R.NO_SUCH_USER: "1.0 1.1 1.3 1.4 7.17",
        _R.NO_SUCH_DOMAIN: "1.2 1.10 7.18",
        _R.INACTIVE: "1.6 2.1 7.13",
        _R.MAILBOX_FULL: "2.2",
        _R.TOO_LARGE: "2.3 3.4",
        _R.AUTHENTICATION: "1.7 1.8 7.8 7.9 7.20 7.21 7.22 7.23 7.24 7.25 7.26 7.27 7.29 7.30",
        _R.RATE: "4.5 5.3 7.28",
        _R.LOOP: "4.6",
        _R.EXPIRED: "4.7",
        _R.UNREACHABLE: "4.1 4.2 4.3 4.4",
    }.items()
    for code in codes.split()
}
_DETAILS["4.5"] = _DETAILS["5.3"] = Bounce(_SOFT, _R.RATE)

_SUBJECTS = {
    "4": Bounce(_SOFT, _R.UNREACHABLE),
    "5": Bounce(_SOFT, _R.PROTOCOL),
    "6": Bounce(_SOFT, _R.PROTOCOL),
    "7": Bounce(_BLOCK, _R.POLICY),
}


def _by_codes(codes: Iterable[str]) -> Bounce | None:
    """The first code that says something of its own: 5.0.0 beside 5.1.1 is no answer."""
    for code in codes:
        _, _, detail = code.partition(".")
        found = _DETAILS.get(detail) or (
            _SUBJECTS.get(detail.partition(".")[0]) if not detail.endswith(".0") or detail == "7.0" else None
        )
        if found:
            return found
    return None


_REPLIES = {
    450: Bounce(_SOFT),
    451: Bounce(_SOFT),
    452: Bounce(_SOFT, _R.MAILBOX_FULL),
    421: Bounce(_SOFT, _R.UNREACHABLE),
    530: Bounce(_BLOCK, _R.AUTHENTICATION),
    535: Bounce(_BLOCK, _R.AUTHENTICATION),
    551: Bounce(_BLOCK, _R.RELAYING),
    552: Bounce(_SOFT, _R.MAILBOX_FULL),
    554: Bounce(_BLOCK, _R.POLICY),
    521: Bounce(_HARD, _R.NO_SUCH_DOMAIN),
    556: Bounce(_HARD, _R.NO_SUCH_DOMAIN),
}


def _by_reply(reply: Reply | None, text: str) -> Bounce | None:
    for bounce, pattern in _STOCK:
        if pattern.search(text):
            return bounce
    return _REPLIES.get(reply.code) if reply else None
