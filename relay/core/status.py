"""The vocabulary of what became of a mail, spelled once.

`Status` is what a client is told (the REST contract's words). `State` is where a recipient stands in the
queue; only our own code and the operators see it.
"""

from enum import StrEnum


class Status(StrEnum):
    """What is known about one recipient; a message shows its primary recipient's."""

    UNSENT = "UNSENT"  #: refused before it entered the queue, or dropped from it; nothing went out
    ACCEPTED = "ACCEPTED"  #: durably stored here; waiting, being sent, or deferred
    SENT = "SENT"  #: a provider has taken responsibility for it
    DELIVERED = "DELIVERED"  #: the recipient's server has taken it
    OPENED = "OPENED"  #: somebody opened it, so it was delivered
    BOUNCED = "BOUNCED"  #: it did not arrive and will not be tried again
    COMPLAINT = "COMPLAINT"  #: the recipient called it spam

    @property
    def rank(self) -> int:
        return _RANK[self]


_RANK = {
    Status.UNSENT: 0,
    Status.ACCEPTED: 1,
    Status.SENT: 2,
    Status.DELIVERED: 3,
    Status.OPENED: 4,
    Status.BOUNCED: 5,
    Status.COMPLAINT: 6,
}


def advance(current: Status, reported: Status) -> Status:
    """The status after a report: never backwards, whatever order reports arrive in."""
    return reported if reported.rank > current.rank else current


class State(StrEnum):
    """Where one recipient stands in the delivery queue."""

    QUEUED = "queued"  #: to be tried at `due_at`
    SENDING = "sending"  #: claimed by a worker until its lease ends
    DONE = "done"  #: a provider took it, or it is final
    HELD = "held"  #: waits for an operator's release
    PARKED = (
        "parked"  #: taken out of the queue for a human: poison, or an ambiguous send that must not repeat
    )
    CANCELLED = "cancelled"  #: will not be tried


class Lane(StrEnum):
    """The queues of work. Few and fixed: each one costs threads and polling in every worker."""

    URGENT = "urgent"
    NORMAL = "normal"
    BULK = "bulk"
    EVENTS = "events"


#: The lanes that carry mail, most pressing first.
MAIL_LANES = (Lane.URGENT, Lane.NORMAL, Lane.BULK)


class Door(StrEnum):
    """How a message was handed in."""

    SMTP = "smtp"
    REST = "rest"


class Classification(StrEnum):
    """The contract's classification; URGENT also picks the urgent lane."""

    URGENT = "URGENT"
    FOR_ACTION = "FOR_ACTION"
    FOR_INFO = "FOR_INFO"


def lane_of(classification: Classification | None) -> Lane:
    return Lane.URGENT if classification is Classification.URGENT else Lane.NORMAL
