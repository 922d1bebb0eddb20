"""What is known of one recipient's mail, and how one more fact changes it. Pure, and the same in any order.

Every part of a `Standing` is the greatest or the least of what has been told, so that facts which come late, twice
or the wrong way round, or before our own record of having sent the mail, end in the same standing.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import STATUS_OF, EventKind
from relay.core.status import Status, advance

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a status is BOUNCED or COMPLAINT, in the words of the REST contract too."""

    status: Status
    at: datetime
    error_code: str | None = None
    error_sub_type: str | None = None
    bounce: Bounce | None = None

    @property
    def weight(self) -> tuple[int, int, int, str, str, str]:
        """The heaviest of several stands: a complaint before a bounce, a hard one before a soft one, the first."""
        return (
            self.status.rank,
            _SEVERITY[self.bounce.kind] if self.bounce else -1,
            -((self.at - _EPOCH) // _MICROSECOND),
            self.bounce.reason if self.bounce else "",
            self.error_code or "",
            self.error_sub_type or "",
        )


_SEVERITY = {BounceClass.SOFT: 0, BounceClass.BLOCK: 1, BounceClass.HARD: 2}


@dataclass(frozen=True, slots=True)
class Standing:
    """What all facts told so far come to. Times are the facts' own."""

    status: Status
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    opened_at: datetime | None = None
    failure: Failure | None = None


def after(
    standing: Standing,
    kind: EventKind,
    at: datetime,
    *,
    bounce: Bounce | None = None,
    feedback_type: str | None = None,
    machine: bool = False,
) -> Standing:
    """`standing` with one more fact; the same object when it adds nothing.

    `feedback_type` is a complaint's (RFC 5965 7.3). `machine` marks an open or a click that no person made: it shows
    that the mail was delivered, and no more than that.
    """
    status = STATUS_OF.get(kind)
    if status is None:
        return standing
    if machine and status is Status.OPENED:
        status = Status.DELIVERED
    changed = replace(
        standing,
        status=advance(standing.status, status),
        sent_at=_earlier(standing.sent_at, at) if status is Status.SENT else standing.sent_at,
        delivered_at=_earlier(standing.delivered_at, at) if status in _ARRIVED else standing.delivered_at,
        opened_at=_earlier(standing.opened_at, at) if status is Status.OPENED else standing.opened_at,
        failure=_heavier(standing.failure, _failure(status, at, bounce, feedback_type)),
    )
    return standing if changed == standing else changed


#: A mail that was opened had been delivered. A complaint says so too, but not when.
_ARRIVED = frozenset({Status.DELIVERED, Status.OPENED})


def _failure(
    status: Status, at: datetime, bounce: Bounce | None, feedback_type: str | None
) -> Failure | None:
    if status is Status.COMPLAINT:
        return Failure(status, at, feedback_type)
    if status is Status.BOUNCED:
        bounce = bounce or Bounce(BounceClass.SOFT)
        return Failure(status, at, error_code(bounce), error_sub_type(bounce), bounce)
    return None


def _earlier(known: datetime | None, at: datetime) -> datetime:
    return at if known is None else min(known, at)


def _heavier(known: Failure | None, told: Failure | None) -> Failure | None:
    if known is None or told is None:
        return known or told
    return told if told.weight > known.weight else known


def error_code(bounce: Bounce) -> str:
    """The contract's word for a bounce: only a hard one is about the address for good."""
    return "Hard bounce" if bounce.kind is BounceClass.HARD else "Soft bounce"


def error_sub_type(bounce: Bounce) -> str:
    """The contract's second word, in Amazon SES's vocabulary (SNS notification contents, "bounce types")."""
    if bounce.kind is BounceClass.HARD:
        return _HARD.get(bounce.reason, "General")
    return _TRANSIENT.get(bounce.reason, "ContentRejected" if bounce.kind is BounceClass.BLOCK else "General")


_HARD = {
    BounceReason.NO_SUCH_USER: "NoEmail",
    BounceReason.NO_SUCH_DOMAIN: "NoEmail",
    BounceReason.SUPPRESSED: "Suppressed",
}
_TRANSIENT = {
    BounceReason.MAILBOX_FULL: "MailboxFull",
    BounceReason.TOO_LARGE: "MessageTooLarge",
    BounceReason.SPAM: "ContentRejected",
    BounceReason.SUPPRESSED: "Suppressed",
}
