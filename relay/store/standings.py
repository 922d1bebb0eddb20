"""What is known of recipients' mail, as columns; see `relay.core.standing`. A message shows its primary one's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.clock import now
from relay.core.event import EventKind
from relay.core.standing import Failure, Standing, after
from relay.core.status import State, Status
from relay.store import suppressions
from relay.store import tables as t
from relay.store.rows import updating
from relay.store.suppressions import NewSuppression, Reason
from relay.store.types import BigInt

_R, _M = t.recipient.c, t.message.c

#: what `of_row` needs
COLUMNS = (
    _R.status,
    _R.sent_at,
    _R.delivered_at,
    _R.opened_at,
    _R.failed_at,
    _R.error_code,
    _R.error_sub_type,
    _R.bounce_class,
    _R.bounce_reason,
)

#: A provider has it, or had it: there is nothing left to send.
GONE = frozenset({Status.SENT, Status.DELIVERED, Status.OPENED, Status.BOUNCED, Status.COMPLAINT})


def of_row(row: Any) -> Standing:
    """The standing that a row of `COLUMNS` says."""
    status = Status(row.status)
    return Standing(status, row.sent_at, row.delivered_at, row.opened_at, _failure(status, row))


def _failure(status: Status, row: Any) -> Failure | None:
    if row.failed_at is None:
        return None
    bounce = (
        Bounce(BounceClass(row.bounce_class), BounceReason(row.bounce_reason)) if row.bounce_class else None
    )
    return Failure(status, row.failed_at, row.error_code, row.error_sub_type, bounce)


def write(connection: sa.Connection, changed: Sequence[tuple[Any, Standing]]) -> None:
    """Write standings over the locked rows of their recipients, and what their messages show of them.

    A row needs `id`, `message_id` and `position`.
    """
    if not changed:
        return
    moment = now()
    recipients = []
    messages = []
    for row, standing in changed:
        failure = standing.failure
        bounce = failure.bounce if failure else None
        times = (standing.sent_at, standing.delivered_at, standing.opened_at)
        words = (failure.at, failure.error_code, failure.error_sub_type) if failure else (None, None, None)
        kind = (bounce.kind.value, bounce.reason.value) if bounce else (None, None)
        recipients.append((row.id, standing.status.value, *times, *words, *kind, moment))
        if row.position == 0:
            messages.append(
                (row.message_id, standing.status.value, *times, *words[1:], failure is not None, moment)
            )
    _WRITE.run(connection, recipients)
    if messages:
        _SHOW.run(connection, messages)


def finish(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Take recipients out of the queue whose mail is gone already."""
    if ids:
        connection.execute(_FINISH, {"b_ids": list(ids)})


@dataclass(frozen=True, slots=True)
class Bounced:
    """A recipient for whom our own trying has ended."""

    id: int
    at: datetime
    bounce: Bounce
    provider: str
    reply: str


def bounce(connection: sa.Connection, bounced: Sequence[Bounced]) -> None:
    """Write what the end of trying means, for recipients that are locked; hard bounces are not written to again."""
    found = {one.id: one for one in bounced}
    changed = []
    entries = []
    for row in connection.execute(_BOUNCED, {"b_ids": list(found)}):
        one = found[row.id]
        changed.append((row, after(of_row(row), EventKind.BOUNCED, one.at, bounce=one.bounce)))
        if one.bounce.kind is BounceClass.HARD:
            entries.append(
                NewSuppression(row.account_id, row.address, Reason.BOUNCE, one.provider, note=one.reply)
            )
    write(connection, changed)
    if entries:
        suppressions.add_many(connection, entries)


_WRITE = updating(
    t.recipient,
    (_R.id, *COLUMNS, _R.updated_at),
    ", ".join(f"{column.name} = v.{column.name}" for column in (*COLUMNS, _R.updated_at)),
)
# Mail from before recipients had these of their own has them here alone.
_SHOW = updating(
    t.message,
    (
        _M.id,
        _M.status,
        _M.sent_at,
        _M.delivered_at,
        _M.opened_at,
        _M.error_code,
        _M.error_sub_type,
        sa.column("failed", sa.Boolean()),
        _M.updated_at,
    ),
    "status = v.status, updated_at = v.updated_at, "
    + ", ".join(
        f"{name} = COALESCE(v.{name}, message.{name})" for name in ("sent_at", "delivered_at", "opened_at")
    )
    + ", "
    + ", ".join(
        f"{name} = CASE WHEN v.failed THEN v.{name} ELSE message.{name} END"
        for name in ("error_code", "error_sub_type")
    ),
)
_IDS = sa.bindparam("b_ids", expanding=True, type_=BigInt)
_BOUNCED = (
    sa.select(_R.id, _R.message_id, _R.account_id, _R.position, _R.address, *COLUMNS)
    .where(_R.id.in_(_IDS))
    .order_by(_R.id)
)
_FINISH = (
    t.recipient.update()
    .where(_R.id.in_(_IDS))
    .values(state=State.DONE, due_at=sa.null(), waiting_for=sa.null())
)
