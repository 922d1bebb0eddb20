"""What is known of recipients' mail, as columns; see `relay.core.standing`. A message shows its primary one's."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.clock import now
from relay.core.standing import Failure, Standing
from relay.core.status import State, Status
from relay.store import tables as t
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
    values = [(row, {**_columns(standing), "b_now": moment}) for row, standing in changed]
    connection.execute(_WRITE, [{"b_id": row.id, **said} for row, said in values])
    shown = [
        {"b_id": row.message_id, **{name: said[name] for name in _SHOWN}}
        for row, said in values
        if row.position == 0
    ]
    if shown:
        connection.execute(_SHOW, shown)


def _columns(standing: Standing) -> dict[str, Any]:
    failure = standing.failure
    bounce = failure.bounce if failure else None
    return {
        "b_status": standing.status,
        "b_sent_at": standing.sent_at,
        "b_delivered_at": standing.delivered_at,
        "b_opened_at": standing.opened_at,
        "b_failed_at": failure.at if failure else None,
        "b_error_code": failure.error_code if failure else None,
        "b_error_sub_type": failure.error_sub_type if failure else None,
        "b_bounce_class": bounce.kind if bounce else None,
        "b_bounce_reason": bounce.reason if bounce else None,
    }


def finish(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Take recipients out of the queue whose mail is gone already."""
    if ids:
        connection.execute(_FINISH, {"b_ids": list(ids)})


def _bound(column: sa.Column[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(f"b_{column.name}", type_=column.type)


_WRITE = (
    t.recipient.update()
    .where(_R.id == sa.bindparam("b_id"))
    .values({column.name: _bound(column) for column in COLUMNS} | {"updated_at": sa.bindparam("b_now")})
)
_FINISH = (
    t.recipient.update()
    .where(_R.id.in_(sa.bindparam("b_ids", expanding=True, type_=BigInt)))
    .values(state=State.DONE, due_at=sa.null(), waiting_for=sa.null())
)

_SHOWN = (
    "b_status",
    "b_sent_at",
    "b_delivered_at",
    "b_opened_at",
    "b_failed_at",
    "b_error_code",
    "b_error_sub_type",
    "b_now",
)


def _failed(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    return sa.case((_bound(_R.failed_at).is_(None), column), else_=_bound(column))


_SHOW = (
    t.message.update()
    .where(_M.id == sa.bindparam("b_id"))
    .values(
        status=sa.bindparam("b_status"),
        updated_at=sa.bindparam("b_now"),
        # Mail from before recipients had these of their own has them here alone.
        sent_at=sa.func.coalesce(_bound(_M.sent_at), _M.sent_at),
        delivered_at=sa.func.coalesce(_bound(_M.delivered_at), _M.delivered_at),
        opened_at=sa.func.coalesce(_bound(_M.opened_at), _M.opened_at),
        error_code=_failed(_M.error_code),
        error_sub_type=_failed(_M.error_sub_type),
    )
)
