"""How templates say things: times, sizes, ages, and what states and reasons mean."""

from datetime import UTC, datetime
from typing import Any

from relay.core.clock import now


def moment(written: str | None) -> str:
    """A time of the API's as people read it, in UTC."""
    if not written:
        return ""
    return datetime.fromisoformat(written).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(written: str | None) -> str:
    return datetime.fromisoformat(written).astimezone(UTC).strftime("%H:%M:%S") if written else ""


def ago(written: str | None) -> str:
    """How long ago, or in how long."""
    if not written:
        return ""
    seconds = (now() - datetime.fromisoformat(written)).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def due(written: str) -> str:
    """When something is tried next."""
    return ago(written) if datetime.fromisoformat(written) > now() else "any moment"


_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def span(seconds: float | None) -> str:
    """A length of time in its largest sensible unit."""
    if seconds is None:
        return "\u2013"
    for length, unit in _SPANS:
        if seconds >= length * (1 if length > 60 else 2):
            return f"{seconds / length:.0f} {unit}"
    if seconds >= 10 or seconds == int(seconds):
        return f"{seconds:.0f} s"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def octets(size: int | None) -> str:
    if size is None:
        return ""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def count(number: int | None) -> str:
    return "\u2013" if number is None else f"{number:,}".replace(",", "\u202f")


#: how a word of ours is coloured: good, busy, bad, or plain
_TONES = {
    "good": "sent delivered opened clicked active closed ok done succeeded enabled current",
    "busy": "accepted queued sending deferred waiting held paused draining retry early pending disabled ambiguous",
    "bad": "unsent bounced complaint complained refused parked failed open expired cancelled orphan unknown",
}
_TONE = {word: tone for tone, words in _TONES.items() for word in words.split()}


def tone(word: str | None) -> str:
    return _TONE.get((word or "").lower(), "plain")


#: what has to be known about an event's kind
_KINDS = {
    "accepted": "Accepted: stored here, and will be tried",
    "refused": "Refused: stored, and will not be sent",
    "sent": "Sent: the provider took it",
    "deferred": "Deferred: tried again later",
    "ambiguous": "Unclear: it may have gone out",
    "recovered": "Recovered: its worker vanished; back in the queue",
    "parked": "Parked: taken out of the queue for a human",
    "delivered": "Delivered: the recipient's server took it",
    "bounced": "Bounced: it did not arrive",
    "complained": "Complaint: the recipient called it spam",
    "opened": "Opened",
    "clicked": "Clicked",
    "unsubscribed": "Unsubscribed",
    "switched": "Switched to another provider",
    "cancelled": "Cancelled",
    "held": "Held",
    "released": "Released",
    "resent": "Sent again",
    "expired": "Expired: its time was over before it left",
}


def event(kind: str) -> str:
    return _KINDS.get(kind, kind.capitalize())


#: what to do about it, by `relay.core.bounce.BounceReason`
_REASONS = {
    "no_such_user": "There is no such mailbox. Correct the address; writing again will not help.",
    "no_such_domain": "The domain does not exist or takes no mail. Correct the address.",
    "inactive": "The mailbox is disabled or abandoned. Stop writing to it.",
    "mailbox_full": "The recipient's mailbox is full. A later mail may arrive.",
    "too_large": "The mail is larger than the recipient's server takes.",
    "spam": "The recipient's server took the content for spam.",
    "reputation": "The sending address, domain or network is on a list. Ask the provider, or look it up at the list.",
    "authentication": "SPF, DKIM, DMARC or reverse DNS do not agree with the sender. Check the domain's records.",
    "policy": "A rule of the recipient's refused it.",
    "rate": "Too much at once for the recipient's server.",
    "relaying": "The server that was asked does not take mail for this recipient. Check the domain's MX records.",
    "unreachable": "No connection or no answer from the recipient's side.",
    "expired": "It was tried for as long as is allowed.",
    "loop": "The mail went round in circles.",
    "protocol": "The two servers did not understand each other; the reply says where.",
    "suppressed": "The provider does not write to this address any more; take it off the provider's list.",
    "other": "The reply says what is known.",
}


def reason(word: str | None) -> str:
    if not word:
        return ""
    return _REASONS.get(word, word.replace("_", " "))


FILTERS: dict[str, Any] = {
    one.__name__: one for one in (moment, clock, ago, due, span, octets, count, tone, event, reason)
}
