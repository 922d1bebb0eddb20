"""The outbox as it stands in the record: claim, settle, replay, remove.

A notice is open until it was delivered or given up. Of the open ones of one message only the oldest may be sent, so
an endpoint hears of a message in the order in which things happened to it; whichever claim meets a younger one puts
it off until the one before it is due. A claim that is not settled before its lease ends is claimed again: what it
sent may arrive twice, with the same id.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.core.ids import floor_at, new_id
from relay.core.notice import EndpointState, NoticeState
from relay.store import endpoints
from relay.store import tables as t
from relay.store.rows import insert_rows
from relay.store.types import BigInt, Instant

#: failed tries in a row after which an endpoint is tried with one notice at a time
FAILING = 5
#: candidates looked at for each place, as some may have to wait for an older one
_SPARE = 4


@dataclass(frozen=True, slots=True)
class Claimed:
    """One notice in a worker's hands."""

    id: int
    endpoint_id: int
    message_id: int | None
    kind: str
    payload: bytes
    attempts: int  #: before this one
    fence: int
    first_at: datetime | None


@dataclass(frozen=True, slots=True)
class Result:
    """How a try went. `due_at` is set where it is to be tried again."""

    notice: Claimed
    at: datetime  #: when it was sent
    ms: int
    delivered: bool
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    due_at: datetime | None = None
    #: the endpoint asked to be left alone until then
    pause_until: datetime | None = None
    #: the endpoint said that it is gone for good (410)
    gone: bool = False


_N = t.notice.c
_E = t.endpoint.c
_NOW = sa.bindparam("b_now", type_=Instant())
_IDS = sa.bindparam("b_ids", expanding=True, type_=BigInt)
_ENDPOINT = sa.bindparam("b_endpoint", type_=BigInt)
_OPEN = _N.done_at.is_(None)


def _waiting() -> sa.Select[Any]:
    """Endpoints with something due: one probe of an index for each that has anything open, however much that is."""
    first = sa.select(sa.func.min(_N.endpoint_id).label("id")).where(_OPEN)
    found = first.cte("found", recursive=True)
    step = sa.select(sa.func.min(_N.endpoint_id)).where(_OPEN, _N.endpoint_id > found.c.id).scalar_subquery()
    found = found.union_all(sa.select(step).where(found.c.id.is_not(None)))
    due = sa.exists().where(_N.endpoint_id == _E.id, _OPEN, _N.due_at <= _NOW)
    return (
        sa.select(t.endpoint)
        .join(found, found.c.id == _E.id)
        .where(
            _E.state == EndpointState.ENABLED,
            sa.or_(_E.paused_until.is_(None), _E.paused_until <= _NOW),
            due,
        )
    )


_WAITING = _waiting()
_DUE = (
    sa.select(t.notice)
    .where(_N.endpoint_id == _ENDPOINT, _OPEN, _N.due_at <= _NOW)
    .order_by(_N.due_at, _N.id)
    .limit(sa.bindparam("b_limit", type_=sa.Integer()))
    .with_for_update(skip_locked=True)
)
_FIRST = (
    sa.select(_N.message_id, sa.func.min(_N.id).label("id"))
    .where(_N.endpoint_id == _ENDPOINT, _N.message_id.in_(_IDS), _OPEN)
    .group_by(_N.message_id)
    .subquery()
)
_HEADS = sa.select(_N.id, _N.message_id, _N.due_at).join(_FIRST, _FIRST.c.id == _N.id)
_TAKE = (
    t.notice.update()
    .where(_N.id.in_(_IDS))
    .values(
        state=NoticeState.SENDING,
        fence=_N.fence + 1,
        due_at=sa.bindparam("b_due_at", type_=Instant()),
    )
)
_PUT_OFF = (
    t.notice.update()
    .where(_N.id == sa.bindparam("b_id", type_=BigInt))
    .values(due_at=sa.bindparam("b_due_at", type_=Instant()))
)


def waiting(connection: sa.Connection, *, now: datetime) -> list[dict[str, Any]]:
    """The endpoints that have something due and may be sent to now."""
    return [dict(row) for row in connection.execute(_WAITING, {"b_now": now}).mappings()]


def claim(
    connection: sa.Connection, places: Mapping[int, int], *, now: datetime, lease: float
) -> list[Claimed]:
    """Claim what is due, for each endpoint up to so many; `lease` is in seconds."""
    claimed: list[Claimed] = []
    for endpoint_id, limit in places.items():
        claimed += _claim(connection, endpoint_id, limit, now, now + timedelta(seconds=lease))
    return claimed


def _claim(
    connection: sa.Connection, endpoint_id: int, limit: int, now: datetime, until: datetime
) -> list[Claimed]:
    due = {"b_endpoint": endpoint_id, "b_now": now, "b_limit": limit * _SPARE}
    rows = connection.execute(_DUE, due).mappings().all()
    about = list({row["message_id"] for row in rows if row["message_id"] is not None})
    heads = {}
    if about:
        found = connection.execute(_HEADS, {"b_endpoint": endpoint_id, "b_ids": about})
        heads = {row.message_id: row for row in found}
    taken: list[Claimed] = []
    put_off: list[dict[str, Any]] = []
    for row in rows:
        head = heads.get(row["message_id"])
        if head is not None and head.id != row["id"]:
            # The one before it may be due as well: then it is taken now, and this one waits for its lease at most.
            put_off.append({"b_id": row["id"], "b_due_at": max(head.due_at, until)})
        elif len(taken) < limit:
            taken.append(_claimed(dict(row)))
    if taken:
        connection.execute(_TAKE, {"b_ids": [one.id for one in taken], "b_due_at": until})
    if put_off:
        connection.execute(_PUT_OFF, put_off)
    return taken


def _claimed(row: Mapping[str, Any]) -> Claimed:
    return Claimed(
        row["id"],
        row["endpoint_id"],
        row["message_id"],
        row["kind"],
        bytes(row["payload"]),
        row["attempts"],
        row["fence"] + 1,
        row["first_at"],
    )


_HELD = sa.select(_N.id, _N.fence).where(_N.id.in_(_IDS), _OPEN).with_for_update()
_SETTLE = (
    t.notice.update()
    .where(_N.id == sa.bindparam("b_id", type_=BigInt))
    .values(
        state=sa.bindparam("b_state"),
        due_at=sa.bindparam("b_due_at", type_=Instant()),
        attempts=_N.attempts + 1,
        first_at=sa.func.coalesce(_N.first_at, sa.bindparam("b_at", type_=Instant())),
        done_at=sa.bindparam("b_done_at", type_=Instant()),
        error=sa.bindparam("b_error"),
    )
)
_YOUNGER = t.notice.alias("younger")
_NEXT = (
    t.notice.update()
    .where(
        _N.id
        == sa.select(sa.func.min(_YOUNGER.c.id))
        .where(
            _YOUNGER.c.endpoint_id == _ENDPOINT,
            _YOUNGER.c.message_id == sa.bindparam("b_message", type_=BigInt),
            _YOUNGER.c.done_at.is_(None),
        )
        .scalar_subquery(),
        _N.state == NoticeState.PENDING,
    )
    .values(due_at=_NOW)
)
_GIVE_BACK = (
    t.notice.update()
    .where(
        _N.id == sa.bindparam("b_id", type_=BigInt),
        _N.fence == sa.bindparam("b_fence", type_=sa.Integer()),
        _N.state == NoticeState.SENDING,
    )
    .values(state=NoticeState.PENDING, due_at=_NOW)
)
_HURRY = (
    t.notice.update()
    .where(_N.endpoint_id == _ENDPOINT, _OPEN, _N.state == NoticeState.PENDING, _N.due_at > _NOW)
    .values(due_at=_NOW)
)


def settle(
    connection: sa.Connection, results: Sequence[Result], *, now: datetime, disable_after: float
) -> list[endpoints.Disabled]:
    """Record how tries went; returns the endpoints that were disabled because of it. `disable_after` is in seconds.

    What another worker has claimed since is left as it is, apart from the attempt, which was made.
    """
    by_endpoint: dict[int, list[Result]] = {}
    for one in results:
        by_endpoint.setdefault(one.notice.endpoint_id, []).append(one)
    # First of all and in order, so that no two workers wait for one another.
    rows = {endpoint_id: endpoints.lock(connection, endpoint_id) for endpoint_id in sorted(by_endpoint)}
    held = {row.id: row.fence for row in connection.execute(_HELD, {"b_ids": [r.notice.id for r in results]})}
    mine = [one for one in results if held.get(one.notice.id) == one.notice.fence]
    done = [one for one in mine if one.due_at is None]
    if mine:
        connection.execute(_SETTLE, [_settled(one, now) for one in mine])
    connection.execute(t.notice_attempt.insert(), [_attempt(one) for one in results])
    for one in done:
        if one.notice.message_id is not None:
            after = {"b_endpoint": one.notice.endpoint_id, "b_message": one.notice.message_id, "b_now": now}
            connection.execute(_NEXT, after)
    disabled: list[endpoints.Disabled] = []
    for endpoint_id, row in rows.items():
        if row is not None:
            found = _note(connection, row, by_endpoint[endpoint_id], now, disable_after)
            disabled += [found] if found else []
    return disabled


def _settled(result: Result, now: datetime) -> dict[str, Any]:
    state = NoticeState.DELIVERED if result.delivered else NoticeState.FAILED
    return {
        "b_id": result.notice.id,
        "b_state": state if result.due_at is None else NoticeState.PENDING,
        "b_due_at": result.due_at or now,
        "b_at": result.at,
        "b_done_at": now if result.due_at is None else None,
        "b_error": result.error,
    }


def record(connection: sa.Connection, row: dict[str, Any], result: Result) -> None:
    """Keep a notice that was sent at once, and how that went."""
    settled = _settled(result, result.at)
    insert_rows(
        connection,
        t.notice,
        [
            {
                **row,
                "state": settled["b_state"],
                "attempts": 1,
                "first_at": result.at,
                "done_at": result.at,
                "error": result.error,
            }
        ],
    )
    connection.execute(t.notice_attempt.insert(), _attempt(result))


def _attempt(result: Result) -> dict[str, Any]:
    return {
        "id": new_id(),
        "endpoint_id": result.notice.endpoint_id,
        "notice_id": result.notice.id,
        "at": result.at,
        "status": result.status,
        "ms": result.ms,
        "error": result.error,
        "answer": result.answer,
    }


def _note(
    connection: sa.Connection,
    row: Mapping[str, Any],
    results: Sequence[Result],
    now: datetime,
    disable_after: float,
) -> endpoints.Disabled | None:
    """Bring an endpoint's health up to date, and what follows from it."""
    endpoint_id = row["id"]
    if any(one.delivered for one in results):
        if row["failures"]:
            endpoints.healthy(connection, endpoint_id)
        if row["failures"] >= FAILING:
            # It is back: nothing has to wait for its own time any more.
            hurry(connection, endpoint_id, now=now)
        return None
    failures = row["failures"] + len(results)
    since = row["failing_since"] or min(one.at for one in results)
    endpoints.failing(
        connection, endpoint_id, failures=failures, since=since, paused_until=_pause(results, failures, now)
    )
    last = results[-1]
    if any(one.gone for one in results):
        reason = "it answered 410 Gone"
    elif now - since >= timedelta(seconds=disable_after):
        reason = f"nothing was delivered since {since:%Y-%m-%d %H:%M} UTC; last: {last.error}"
    else:
        return None
    return endpoints.disable(connection, row, reason, at=now)


def _pause(results: Sequence[Result], failures: int, now: datetime) -> datetime | None:
    """Until when an endpoint is left alone: as it asked for, and longer from failure to failure, up to a minute."""
    asked = [one.pause_until for one in results if one.pause_until is not None]
    if failures >= FAILING:
        asked.append(now + timedelta(seconds=min(5 * 2 ** min(failures - FAILING, 10), 60)))
    return max(asked, default=None)


def give_back(connection: sa.Connection, notices: Iterable[Claimed], *, now: datetime) -> None:
    """Let others have what was claimed and not sent."""
    rows = [{"b_id": one.id, "b_fence": one.fence, "b_now": now} for one in notices]
    if rows:
        connection.execute(_GIVE_BACK, rows)


def hurry(connection: sa.Connection, endpoint_id: int, *, now: datetime) -> None:
    """Have everything that an endpoint is still to be told be due."""
    connection.execute(_HURRY, {"b_endpoint": endpoint_id, "b_now": now})


def page(
    connection: sa.Connection,
    endpoint_id: int,
    *,
    limit: int,
    before: int | None = None,
    state: NoticeState | None = None,
    message_id: int | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` notices of an endpoint, newest first, beginning below the id `before`."""
    statement = sa.select(t.notice).where(_N.endpoint_id == endpoint_id)
    if before is not None:
        statement = statement.where(_N.id < before)
    if state is not None:
        statement = statement.where(_N.state == state)
    if message_id is not None:
        statement = statement.where(_N.message_id == message_id)
    rows = connection.execute(statement.order_by(_N.id.desc()).limit(limit)).mappings()
    return [dict(row) for row in rows]


def attempts(
    connection: sa.Connection,
    endpoint_id: int,
    *,
    limit: int,
    before: int | None = None,
    notice_id: int | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` attempts at an endpoint, newest first, beginning below the id `before`."""
    a = t.notice_attempt.c
    statement = sa.select(t.notice_attempt).where(a.endpoint_id == endpoint_id)
    if before is not None:
        statement = statement.where(a.id < before)
    if notice_id is not None:
        statement = statement.where(a.notice_id == notice_id)
    rows = connection.execute(statement.order_by(a.id.desc()).limit(limit)).mappings()
    return [dict(row) for row in rows]


def prune(connection: sa.Connection, *, before: datetime, limit: int = 500) -> int:
    """Remove some notices and attempts from before a time, and some of deleted endpoints; returns how many."""
    gone = 0
    oldest = floor_at(before)
    for table in (t.notice, t.notice_attempt):
        some = sa.select(table.c.id).where(table.c.id < oldest).order_by(table.c.id).limit(limit)
        gone += connection.execute(table.delete().where(table.c.id.in_(some))).rowcount
    deleted = connection.execute(sa.select(_E.id).where(_E.state == EndpointState.DELETED).limit(1)).scalar()
    if deleted is not None:
        left = 0
        for table in (t.notice, t.notice_attempt):
            some = sa.select(table.c.id).where(table.c.endpoint_id == deleted).limit(limit)
            left += connection.execute(table.delete().where(table.c.id.in_(some))).rowcount
        if not left:
            left = connection.execute(t.endpoint.delete().where(_E.id == deleted)).rowcount
        gone += left
    return gone
