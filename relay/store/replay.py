"""Telling again: notices that are over become pending once more, under the ids they had, some at a time."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.core import notice
from relay.core.errors import NotFound
from relay.core.ids import EPOCH, MAX_ID, floor_at, made_at
from relay.core.notice import NoticeState
from relay.store import outbox
from relay.store import tables as t
from relay.store.types import BigInt

#: notices, or messages, in one transaction
AT_ONCE = 500
#: how much older than the time asked about a message may be whose events are looked for
_REACH = timedelta(days=30)
_LAST = made_at(MAX_ID) - timedelta(seconds=1)

_N = t.notice.c
_AGAIN: dict[str, Any] = {
    "state": NoticeState.PENDING,
    "attempts": 0,
    "first_at": None,
    "done_at": None,
    "error": None,
}


def one(connection: sa.Connection, endpoint_id: int, notice_id: int, *, now: datetime) -> None:
    """Tell one thing again; a pending one at once. Raises `NotFound`."""
    mine = sa.and_(_N.id == notice_id, _N.endpoint_id == endpoint_id)
    if connection.execute(sa.select(_N.id).where(mine)).first() is None:
        raise NotFound("This endpoint has no such notice.")
    # What is being sent is told already.
    connection.execute(
        t.notice.update().where(mine, _N.state != NoticeState.SENDING).values(**_AGAIN, due_at=now)
    )


def failed(connection: sa.Connection, endpoint_id: int, *, below: int, now: datetime) -> int:
    """Tell some of those again that were given up and have an id below `below`; returns how many."""
    some = (
        sa.select(_N.id)
        .where(
            _N.endpoint_id == endpoint_id,
            _N.state == NoticeState.FAILED,
            _N.id < below,
            _N.kind != notice.PING,
        )
        .order_by(_N.id)
        .limit(AT_ONCE)
    )
    return _reset(connection, list(connection.execute(some).scalars()), now)


def between(
    connection: sa.Connection,
    endpoint_id: int,
    start: datetime,
    end: datetime,
    *,
    after: int,
    now: datetime,
) -> tuple[int, int | None]:
    """Tell some of a time's notices again, beginning above the id `after`; how many, and where to go on."""
    some = (
        sa.select(_N.id)
        .where(
            _N.endpoint_id == endpoint_id,
            _N.id >= first_at(start),
            _N.id < first_at(end),
            _N.id > after,
            _N.done_at.is_not(None),
            _N.kind != notice.PING,
        )
        .order_by(_N.id)
        .limit(AT_ONCE)
    )
    ids = list(connection.execute(some).scalars())
    return _reset(connection, ids, now), ids[-1] if len(ids) == AT_ONCE else None


def _reset(connection: sa.Connection, ids: Sequence[int], now: datetime) -> int:
    if ids:
        connection.execute(
            t.notice.update().where(_N.id.in_(ids)).values(**_AGAIN, due_at=now, fence=_N.fence + 1)
        )
    return len(ids)


def untold(
    connection: sa.Connection,
    endpoint: Mapping[str, Any],
    start: datetime,
    end: datetime,
    *,
    after: int,
) -> tuple[list[dict[str, Any]], int | None]:
    """Lines of timelines of a time that the endpoint has no notice of, and the message to go on after."""
    m, e = t.message.c, t.event.c
    messages = list(
        connection.execute(
            sa.select(m.id)
            .where(
                m.account_id == endpoint["account_id"],
                m.id > max(after, first_at(max(start, EPOCH + _REACH) - _REACH)),
                m.id < first_at(end),
            )
            .order_by(m.id)
            .limit(AT_ONCE)
        ).scalars()
    )
    if not messages:
        return [], None
    there = sa.exists().where(
        _N.endpoint_id == endpoint["id"], _N.message_id == e.message_id, _N.event_id == e.id
    )
    rows = connection.execute(
        sa.select(t.event)
        .where(
            e.message_id.in_(sa.bindparam("b_ids", messages, expanding=True, type_=BigInt)),
            e.id >= first_at(start),
            e.id < first_at(end),
            e.kind.in_(list(notice.TYPES)),
            ~there,
        )
        .order_by(e.id)
    ).mappings()
    return [dict(row) for row in rows], messages[-1] if len(messages) == AT_ONCE else None


def tell(
    connection: sa.Connection, endpoint: Mapping[str, Any], events: Sequence[Mapping[str, Any]], now: datetime
) -> int:
    """Tell an endpoint of lines of timelines; returns how many it wanted to hear of."""
    return outbox.again(connection, outbox.listener_of(endpoint), events, now)


def first_at(moment: datetime) -> int:
    """The first id of `moment` or later; times that no id can have are as good as the nearest that one can."""
    return floor_at(min(max(moment, EPOCH), _LAST))
