"""Claimed mail that must not go any more: its recipient was suppressed while it waited."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from relay.core.event import EventKind
from relay.core.ids import new_id
from relay.core.status import State, Status
from relay.core.stream import DEFAULT
from relay.store import suppressions, timeline
from relay.store import tables as t
from relay.store.types import BigInt

if TYPE_CHECKING:
    from relay.store.deliveries import Claim, ClaimedMail

#: the contract's word for it, as the door says it
ERROR_CODE = "Error 400: Blacklisted recipient"


@dataclass(frozen=True, slots=True)
class Ending:
    """How mail ends that is not sent after all: in which words."""

    kind: EventKind
    why: str
    error_code: str
    reply: str
    #: where an earlier try may have gone out
    unclear: str


_SUPPRESSED = Ending(
    kind=EventKind.REFUSED,
    why="suppressed",
    error_code=ERROR_CODE,
    reply="550 5.1.1 the recipient was suppressed while the mail waited; it was not sent",
    unclear="an earlier try may have reached the recipient, who was suppressed since; it is not tried again",
)


def withhold(connection: sa.Connection, mails: "Sequence[ClaimedMail]", *, now: datetime) -> None:
    """Take recipients who may not be written to any more out of `mails`, and end their mail, in one transaction.

    Costs one query where nobody is suppressed. They end UNSENT, as at a door, unless an earlier try may have gone
    out: those are left to a human.
    """
    asked = {
        (claim.account_id, _stream(mail), claim.address): None for mail in mails for claim in mail.claims
    }
    blocked = suppressions.blocked(connection, list(asked))
    if not blocked:
        return
    taken: list[Claim] = []
    for mail in mails:
        stream = _stream(mail)
        gone = [claim for claim in mail.claims if (claim.account_id, stream, claim.address) in blocked]
        if gone:
            mail.claims = [claim for claim in mail.claims if claim not in gone]
            mail.withheld = len(gone)
            taken += gone
    end(connection, taken, _SUPPRESSED, now=now)


def end(connection: sa.Connection, taken: "Sequence[Claim]", ending: Ending, *, now: datetime) -> None:
    """End claims UNSENT; those with an earlier try that may have gone out are parked."""
    again = [claim.id for claim in taken if claim.attempts > 1]
    unclear = set(connection.execute(_AMBIGUOUS, {"b_ids": again}).scalars()) if again else set()
    _cancel(connection, [claim for claim in taken if claim.id not in unclear], ending, now)
    _park(connection, [claim for claim in taken if claim.id in unclear], ending, now)
    events = [
        {
            "id": new_id(),
            "message_id": claim.message_id,
            "recipient_id": claim.id,
            "kind": (EventKind.PARKED if claim.id in unclear else ending.kind).value,
            "at": now,
            "reply": ending.unclear if claim.id in unclear else ending.reply,
            "detail": {"why": ending.why},
        }
        for claim in taken
    ]
    timeline.add(connection, events, {claim.message_id: claim.account_id for claim in taken})


def _stream(mail: "ClaimedMail") -> str:
    options: dict[str, Any] | None = mail.row["options"]
    return (options.get("stream") if options else None) or DEFAULT


def _cancel(connection: sa.Connection, claims: "Sequence[Claim]", ending: Ending, now: datetime) -> None:
    if not claims:
        return
    words = {"b_code": ending.error_code, "b_reply": ending.reply}
    connection.execute(_CANCEL, {"b_ids": [claim.id for claim in claims], "b_at": now, **words})
    primary = [claim.message_id for claim in claims if claim.position == 0]
    if primary:
        connection.execute(_SHOW, {"b_ids": primary, "b_at": now, "b_code": ending.error_code})


def _park(connection: sa.Connection, claims: "Sequence[Claim]", ending: Ending, now: datetime) -> None:
    if claims:
        ids = [claim.id for claim in claims]
        connection.execute(_PARK, {"b_ids": ids, "b_at": now, "b_reply": ending.unclear})


_IDS = sa.bindparam("b_ids", expanding=True, type_=BigInt)
_AT = sa.bindparam("b_at", type_=t.recipient.c.updated_at.type)
_R = t.recipient.c
_LET_GO = (
    t.recipient.update()
    .where(_R.id.in_(_IDS))
    .values(
        # The try that was counted was none.
        attempts=_R.attempts - 1,
        lease_until=sa.null(),
        due_at=sa.null(),
        waiting_for=sa.null(),
        updated_at=_AT,
    )
)
_CANCEL = _LET_GO.values(
    state=State.CANCELLED,
    status=Status.UNSENT,
    error_code=sa.bindparam("b_code"),
    reply=sa.bindparam("b_reply"),
)
_PARK = _LET_GO.values(state=State.PARKED, reply=sa.bindparam("b_reply"))
_SHOW = (
    t.message.update()
    .where(t.message.c.id.in_(_IDS))
    .values(status=Status.UNSENT, error_code=sa.bindparam("b_code"), updated_at=_AT)
)
_AMBIGUOUS = sa.select(t.event.c.recipient_id).where(
    t.event.c.recipient_id.in_(_IDS),
    t.event.c.message_id.in_(sa.select(_R.message_id).where(_R.id.in_(_IDS))),
    t.event.c.kind == EventKind.AMBIGUOUS,
)
