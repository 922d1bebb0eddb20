"""What is told of mail, on its way into the timelines: kept first, read later, never lost.

A worker takes rows by pushing their `due_at` a lease ahead. What was read from a row is recorded in the transaction
that deletes it, so that a worker which vanishes between the two has done nothing, and another begins again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from relay.core.clock import now as clock
from relay.core.errors import Conflict, NotFound
from relay.core.ids import new_id
from relay.core.inbox import InboxKind, InboxState
from relay.store import tables as t
from relay.store.rows import insert_rows
from relay.store.tables.ingest import SET_ASIDE
from relay.store.types import BigInt, Instant


@dataclass(frozen=True, slots=True)
class Told:
    """One thing told, to be kept."""

    kind: InboxKind
    source: str
    payload: bytes
    at: datetime
    headers: dict[str, str] | None = None
    query: str = ""
    state: InboxState = InboxState.NEW
    #: None means at once
    due_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A row in a worker's hands; `attempts` tells whether it still is."""

    id: int
    kind: InboxKind
    source: str
    state: InboxState
    received_at: datetime
    attempts: int
    payload: bytes
    headers: Mapping[str, str]
    query: str


def put(connection: sa.Connection, told: Sequence[Told]) -> None:
    """Keep what was told, in one statement."""
    if told:
        insert_rows(
            connection,
            t.inbox,
            [
                {
                    "id": new_id(),
                    "kind": one.kind.value,
                    "source": one.source[:64],
                    "state": one.state.value,
                    "received_at": one.at,
                    "due_at": None if one.state in _ASIDE else one.due_at or one.at,
                    "attempts": 0,
                    "payload": one.payload,
                    "headers": one.headers,
                    "query": one.query,
                    "reason": one.reason,
                }
                for one in told
            ],
        )


_ASIDE = frozenset({InboxState.FAILED, InboxState.ORPHAN})
_SUSPICIOUS = 2
_I = t.inbox.c
_NOW = sa.bindparam("b_now", type_=Instant())


@dataclass(frozen=True, slots=True)
class Due:
    """A row that could be taken."""

    id: int
    size: int  #: octets
    #: it was taken before by workers that did not come to an end with it: it may be what ended them
    suspect: bool


def due(connection: sa.Connection, *, limit: int, now: datetime) -> list[Due]:
    """Up to `limit` rows that are due, longest due first."""
    rows = connection.execute(_DUE, {"b_now": now, "b_limit": limit})
    return [Due(row.id, row.size, bool(row.suspect)) for row in rows]


def take(connection: sa.Connection, ids: Sequence[int], *, now: datetime, lease: float) -> list[Taken]:
    """Take those of `ids` that nobody else has taken meanwhile."""
    parameters = {"b_ids": list(ids), "b_now": now, "b_until": now + timedelta(seconds=lease)}
    return sorted((_taken(row) for row in connection.execute(_TAKE, parameters)), key=lambda one: one.id)


def _taken(row: Any) -> Taken:
    return Taken(
        row.id,
        InboxKind(row.kind),
        row.source,
        InboxState(row.state),
        row.received_at,
        row.attempts,
        bytes(row.payload),
        row.headers or {},
        row.query,
    )


_IDS = sa.bindparam("b_ids", expanding=True, type_=BigInt)
_DUE = (
    sa.select(
        _I.id,
        sa.func.length(_I.payload).label("size"),
        # Early reports are taken many times, and by nobody's fault.
        sa.and_(_I.attempts >= _SUSPICIOUS, _I.state != InboxState.EARLY.value).label("suspect"),
    )
    .where(_I.due_at <= _NOW)
    .order_by(_I.due_at)
    .limit(sa.bindparam("b_limit", type_=sa.Integer()))
)
_TAKE: ReturningUpdate[Any] = (
    t.inbox.update()
    .where(
        _I.id.in_(
            sa.select(_I.id).where(_I.id.in_(_IDS), _I.due_at <= _NOW).with_for_update(skip_locked=True)
        )
    )
    .values(due_at=sa.bindparam("b_until", type_=Instant()), attempts=_I.attempts + 1)
    .returning(
        _I.id, _I.kind, _I.source, _I.state, _I.received_at, _I.attempts, _I.payload, _I.headers, _I.query
    )
)
_HELD = sa.select(_I.id, _I.attempts).where(_I.id.in_(_IDS)).order_by(_I.id).with_for_update()
_DELETE = t.inbox.delete().where(_I.id.in_(_IDS))
_ANY_DUE = sa.select(_I.id).where(_I.due_at <= _NOW).limit(1)


def held(connection: sa.Connection, taken: Sequence[Taken]) -> set[int]:
    """The ids of those that nobody has taken since, locked until the end of the transaction."""
    rows = connection.execute(_HELD, {"b_ids": [one.id for one in taken]}).all()
    attempts = {row.id: row.attempts for row in rows}
    return {one.id for one in taken if attempts.get(one.id) == one.attempts}


def done(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Delete rows whose reports are recorded."""
    if ids:
        connection.execute(_DELETE, {"b_ids": list(ids)})


@dataclass(frozen=True, slots=True)
class PutBack:
    """What becomes of a taken row that is not done with."""

    taken: Taken
    state: InboxState
    due_at: datetime | None
    reason: str
    #: what is left of it; None leaves it as it is
    payload: bytes | None = None


def put_back(connection: sa.Connection, rows: Sequence[PutBack]) -> None:
    """Return rows for another try, or set them aside; those that somebody else has taken since stay as they are."""
    for one in rows:
        connection.execute(
            _PUT_BACK,
            {
                "b_id": one.taken.id,
                "b_attempts": one.taken.attempts,
                "b_state": one.state.value,
                "b_due_at": one.due_at,
                "b_reason": one.reason[:1000],
                "b_payload": one.taken.payload if one.payload is None else one.payload,
            },
        )


_PUT_BACK = (
    t.inbox.update()
    .where(_I.id == sa.bindparam("b_id"), _I.attempts == sa.bindparam("b_attempts"))
    .values(
        state=sa.bindparam("b_state"),
        due_at=sa.bindparam("b_due_at"),
        reason=sa.bindparam("b_reason"),
        payload=sa.bindparam("b_payload"),
    )
)


def any_due(connection: sa.Connection, *, now: datetime) -> bool:
    """Whether a worker should look."""
    return connection.execute(_ANY_DUE, {"b_now": now}).first() is not None


# For those who look after it.


def page(
    connection: sa.Connection,
    *,
    limit: int,
    state: InboxState | None = None,
    source: str | None = None,
    before: int | None = None,
) -> list[dict[str, Any]]:
    """Rows without their payload, newest first; without `state` those that are set aside."""
    size = sa.func.length(_I.payload).label("size")
    columns = (*(_I[name] for name in (*_SHOWN, "reason")), size)
    statement = sa.select(*columns).order_by(_I.id.desc()).limit(limit)
    # The index of those set aside is used only where a query has its very words.
    statement = statement.where(
        sa.text(SET_ASIDE) if state is None else _I.state == state.value,
    )
    if source is not None:
        statement = statement.where(_I.source == source)
    if before is not None:
        statement = statement.where(_I.id < before)
    return [dict(row) for row in connection.execute(statement).mappings()]


_SHOWN = ("id", "kind", "source", "state", "received_at", "due_at", "attempts")


def get(connection: sa.Connection, identifier: int) -> dict[str, Any]:
    """One row whole. Raises `NotFound`."""
    row = connection.execute(sa.select(t.inbox).where(_I.id == identifier)).mappings().first()
    if row is None:
        raise _none(identifier)
    return dict(row)


def _none(identifier: int) -> NotFound:
    return NotFound(f"There is nothing with the id {identifier} in the inbox.")


def replay(connection: sa.Connection, identifier: int | None = None, *, source: str | None = None) -> int:
    """Read rows that were set aside once more: one, those of a source, or all; returns how many they are.

    Raises `NotFound`, and `Conflict` for one that a worker is to read anyway.
    """
    statement = t.inbox.update().where(sa.text(SET_ASIDE))
    if identifier is not None:
        _set_aside(connection, identifier)
        statement = statement.where(_I.id == identifier)
    if source is not None:
        statement = statement.where(_I.source == source)
    early = sa.case(
        (_I.state == InboxState.ORPHAN.value, InboxState.EARLY.value), else_=InboxState.RETRY.value
    )
    moment = clock()
    return int(connection.execute(statement.values(state=early, attempts=0, due_at=moment)).rowcount)


def discard(connection: sa.Connection, identifier: int) -> None:
    """Drop a row that was set aside. Raises `NotFound`, and `Conflict` for one that a worker is to read."""
    _set_aside(connection, identifier)
    connection.execute(t.inbox.delete().where(sa.text(SET_ASIDE), _I.id == identifier))


def _set_aside(connection: sa.Connection, identifier: int) -> None:
    row = connection.execute(sa.select(_I.state).where(_I.id == identifier)).first()
    if row is None:
        raise _none(identifier)
    if InboxState(row.state) not in _ASIDE:
        raise Conflict("It is not set aside: a worker is going to read it.")


def prune(
    connection: sa.Connection, *, failed_before: datetime, orphans_before: datetime, limit: int = 1000
) -> int:
    """Drop up to `limit` of what was set aside and has been kept for long enough; returns how many."""
    old = (
        sa.select(_I.id)
        .where(
            sa.text(SET_ASIDE),
            sa.or_(
                sa.and_(_I.state == InboxState.FAILED.value, _I.received_at < failed_before),
                sa.and_(_I.state == InboxState.ORPHAN.value, _I.received_at < orphans_before),
            ),
        )
        .limit(limit)
    )
    return int(connection.execute(t.inbox.delete().where(_I.id.in_(old))).rowcount)
