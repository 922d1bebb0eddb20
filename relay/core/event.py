"""What can happen to a recipient's mail: the lines of its timeline."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from relay.core.reply import Reply
from relay.core.status import Status


class EventKind(StrEnum):
    """A closed list. What a provider reports and we cannot place is UNKNOWN, with the original kept."""

    ACCEPTED = "accepted"  #: a door took it and stored it
    REFUSED = "refused"  #: a door stored it but will not send it
    SENT = "sent"  #: a provider took it
    DEFERRED = "deferred"  #: not this time; tried again later
    AMBIGUOUS = "ambiguous"  #: it may have gone; policy decides what follows
    RECOVERED = "recovered"  #: its worker vanished; it was put back into the queue
    PARKED = "parked"  #: taken out of the queue for a human
    DELIVERED = "delivered"  #: the recipient's server took it
    BOUNCED = "bounced"  #: it did not arrive and will not be tried again
    COMPLAINED = "complained"  #: the recipient called it spam
    OPENED = "opened"  #: somebody, or a machine, loaded its pixel
    CLICKED = "clicked"  #: a link in it was followed
    UNSUBSCRIBED = "unsubscribed"  #: the recipient wants no more of the kind
    SWITCHED = "switched"  #: routing went on to another provider
    CANCELLED = "cancelled"  #: it was taken back before it left
    HELD = "held"  #: an operator, or a rule, stopped it for now
    RELEASED = "released"  #: what held it was lifted
    RESENT = "resent"  #: put into the queue again by hand
    EXPIRED = "expired"  #: its time was over before it left
    UNKNOWN = "unknown"  #: reported, and not among these; the original is kept


#: The status that an event reports, where it reports one.
STATUS_OF = {
    EventKind.SENT: Status.SENT,
    EventKind.DELIVERED: Status.DELIVERED,
    EventKind.OPENED: Status.OPENED,
    EventKind.CLICKED: Status.OPENED,
    EventKind.BOUNCED: Status.BOUNCED,
    EventKind.COMPLAINED: Status.COMPLAINT,
}


@dataclass(frozen=True, slots=True)
class Event:
    """One fact about one recipient of one message, at the time it happened (not the time we heard of it)."""

    kind: EventKind
    message_id: int
    recipient_id: int
    at: datetime
    provider: str | None = None
    attempt: int | None = None
    reply: Reply | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    #: Equal for two reports of the same fact, so that a repeat is ignored.
    dedupe: str | None = None
