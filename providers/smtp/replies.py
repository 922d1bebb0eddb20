"""What a smarthost's answers mean.

Classes by phase after RFC 5321 4.2.1 and 4.5.3.1.10, RFC 4954 6 and RFC 3463; the wordings are those of large
submission services, because many of them use one code for several things.
"""

import re
from enum import StrEnum

from relay.core.provider import Outcome, OutcomeKind
from relay.core.reply import Reply, parse_reply


class Phase(StrEnum):
    """Which question a reply answers."""

    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END = "end of data"


_SIGN_IN = frozenset({530, 534, 535, 538})  # RFC 4954 6: we are not signed in, or not well enough
_SIGNING_UP = frozenset({Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.AUTH})

# "454 Throttling failure: Maximum sending rate exceeded" (SES), "421 4.7.0 ... rate limited" (Gmail),
# "452 4.3.1 too many connections", "450 4.7.1 you are sending too fast".
_TOO_FAST = re.compile(
    r"thrott?l|rate[ -]?limit|sending (?:rate|limit|quota)|rate exceeded|exceed\w* (?:\w+ )?(?:rate|limit)"
    r"|too (?:fast|quickly)|slow down"
    r"|too many (?:(?:concurrent|simultaneous) )?(?:connections|messages|e?mails|sessions|requests)"
    r"|(?:daily|hourly) \w*\s?(?:quota|limit)",
    re.IGNORECASE,
)
_GREYLISTED = re.compile(r"gr[ae]y-?list", re.IGNORECASE)
_NOT_FOR_US = re.compile(
    r"relay|authenticat|not (?:verified|authori[sz]ed|permitted|allowed) (?:to|as|for)|not verified"
    r"|sender (?:\w+ ){0,3}(?:rejected|not|denied)|log ?in first|sign ?in|account (?:\w+ )?(?:suspend|disabl)",
    re.IGNORECASE,
)
_SENDER_POLICY = frozenset({"5.7.0", "5.7.1", "5.7.8", "5.7.9", "5.1.8"})
_AGAIN = re.compile(
    r"(?:in|after|for|wait)\s+(?:about\s+)?(\d{1,5})\s*(s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?)\b",
    re.IGNORECASE,
)
_REFS = (
    re.compile(r"queued (?:mail )?as[: ]+<?([^\s<>]+)", re.IGNORECASE),  # Postfix and its kin
    re.compile(r"\bid=([^\s<>]+)", re.IGNORECASE),  # Exim
    re.compile(r"^<([^<>\s]+)>", re.IGNORECASE),  # Exchange: <id> [InternalId=...] Queued mail for delivery
    re.compile(r"^ok:?\s+([0-9a-z][0-9a-z._-]{11,})", re.IGNORECASE),  # SES, Gmail
)


def reply_of(code: int, text: bytes) -> Reply:
    return parse_reply(code, text.decode("utf-8", "replace"))


def judge(phase: Phase, reply: Reply) -> Outcome:
    """The outcome that a refusing or deferring reply (4xx, 5xx) means for whom it concerns."""
    if reply.transient:
        return _not_now(reply)
    kind = OutcomeKind.CONFIG if _is_ours(phase, reply) else OutcomeKind.REJECTED
    if phase is Phase.RCPT and reply.code == 552 and reply.enhanced in {None, "5.2.2"}:
        # Old servers say 552 for a full mailbox or for too many recipients: later, not never.
        kind = OutcomeKind.RETRY
    return Outcome(kind, reply)


def too_fast(reply: Reply) -> bool:
    if reply.enhanced is not None and reply.enhanced.startswith(("4.2.", "4.5.3")):
        # One mailbox's own limits, or "the other recipients later": not about our pace.
        return False
    return bool(_TOO_FAST.search(reply.text)) and not _GREYLISTED.search(reply.text)


def reference(text: str) -> str | None:
    """The far end's queue id, where the words of its final reply have one."""
    for pattern in _REFS:
        found = pattern.search(text)
        if found:
            return found[1].rstrip(".,;)")
    return None


def _not_now(reply: Reply) -> Outcome:
    found = _AGAIN.search(reply.text)
    after = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2][0].lower()] if found else None
    if too_fast(reply):
        return Outcome(OutcomeKind.THROTTLED, reply, retry_after=after, scope="account")
    return Outcome(OutcomeKind.RETRY, reply, retry_after=after)


def _is_ours(phase: Phase, reply: Reply) -> bool:
    """Whether a permanent refusal is about us and the provider rather than about this mail."""
    if reply.code in _SIGN_IN or phase in _SIGNING_UP:
        return True
    if reply.code not in {550, 551, 553, 554}:
        return False
    if phase is Phase.MAIL and reply.enhanced in _SENDER_POLICY:
        return True
    return reply.enhanced in {None, *_SENDER_POLICY} and bool(_NOT_FOR_US.search(reply.text))
