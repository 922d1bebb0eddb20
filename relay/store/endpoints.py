"""Where customers are told what becomes of their mail: the endpoints of accounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.core import notice
from relay.core.clock import wire_time
from relay.core.errors import Conflict, NotFound
from relay.core.notice import EndpointState
from relay.store import outbox
from relay.store import tables as t
from relay.store.rows import insert_rows

_E = t.endpoint.c
_THERE = _E.state != EndpointState.DELETED


@dataclass(frozen=True, slots=True)
class Disabled:
    """An endpoint that was disabled because of how it answers."""

    id: int
    account_id: int
    url: str
    reason: str


def add(connection: sa.Connection, row: Mapping[str, Any], *, most: int) -> None:
    """Store a new endpoint. Raises `Conflict` when the account has `most` already."""
    mine = sa.select(sa.func.count()).where(_E.account_id == row["account_id"], _THERE)
    if connection.execute(mine).scalar_one() >= most:
        raise Conflict(f"An account may have {most} webhook endpoints; delete one first.")
    connection.execute(t.endpoint.insert(), dict(row))
    outbox.forget(connection)


def get(connection: sa.Connection, account_id: int | None, endpoint_id: int) -> dict[str, Any]:
    """One endpoint, of this account unless that is None. Raises `NotFound`."""
    statement = sa.select(t.endpoint).where(_E.id == endpoint_id, _THERE)
    if account_id is not None:
        statement = statement.where(_E.account_id == account_id)
    row = connection.execute(statement).mappings().first()
    if row is None:
        raise NotFound("There is no such webhook endpoint.")
    return dict(row)


def page(
    connection: sa.Connection, account_id: int | None, *, limit: int, before: int | None = None
) -> list[dict[str, Any]]:
    """Up to `limit` endpoints, newest first, beginning below the id `before`; None for all accounts'."""
    statement = sa.select(t.endpoint).where(_THERE)
    if account_id is not None:
        statement = statement.where(_E.account_id == account_id)
    if before is not None:
        statement = statement.where(_E.id < before)
    rows = connection.execute(statement.order_by(_E.id.desc()).limit(limit)).mappings()
    return [dict(row) for row in rows]


def update(
    connection: sa.Connection, account_id: int | None, endpoint_id: int, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Change an endpoint; returns it as it is then. Raises `NotFound`."""
    get(connection, account_id, endpoint_id)
    if changes:
        connection.execute(t.endpoint.update().where(_E.id == endpoint_id).values(**changes))
        outbox.forget(connection)
    return get(connection, account_id, endpoint_id)


def rotate(
    connection: sa.Connection, account_id: int | None, endpoint_id: int, sealed: bytes, *, until: datetime
) -> dict[str, Any]:
    """Put another secret in the place of the one there is, which stays valid until a time. Raises `NotFound`."""
    row = get(connection, account_id, endpoint_id)
    changes = {"secret": sealed, "previous_secret": row["secret"], "previous_until": until}
    return update(connection, account_id, endpoint_id, changes)


def sealed(connection: sa.Connection) -> list[dict[str, Any]]:
    """The secrets of all endpoints as they are kept."""
    statement = sa.select(_E.id, _E.secret, _E.previous_secret).where(_THERE)
    return [dict(row) for row in connection.execute(statement).mappings()]


def reseal(connection: sa.Connection, before: Mapping[str, Any], fresh: Mapping[str, bytes]) -> bool:
    """Replace the secrets of one of `sealed`; returns False when they were rotated in the meantime."""
    same = (_E.id == before["id"], _E.secret == before["secret"])
    return bool(connection.execute(t.endpoint.update().where(*same).values(**fresh)).rowcount)


def remove(connection: sa.Connection, account_id: int | None, endpoint_id: int, *, at: datetime) -> None:
    """Have an endpoint gone; its notices go bit by bit. Raises `NotFound`."""
    get(connection, account_id, endpoint_id)
    gone = {"state": EndpointState.DELETED, "state_at": at}
    connection.execute(t.endpoint.update().where(_E.id == endpoint_id).values(**gone))
    outbox.forget(connection)


def enabling(at: datetime) -> dict[str, Any]:
    """The changes that enable an endpoint, with a clean slate."""
    clean = {"failures": 0, "failing_since": None, "paused_until": None}
    return {"state": EndpointState.ENABLED, "reason": None, "state_at": at, **clean}


def disabling(reason: str, at: datetime) -> dict[str, Any]:
    """The changes that disable an endpoint."""
    return {"state": EndpointState.DISABLED, "reason": reason, "state_at": at}


def lock(connection: sa.Connection, endpoint_id: int) -> dict[str, Any] | None:
    """An enabled endpoint, kept from others until the end of the transaction; None when it is no longer there."""
    statement = sa.select(t.endpoint).where(_E.id == endpoint_id, _E.state == EndpointState.ENABLED)
    row = connection.execute(statement.with_for_update()).mappings().first()
    return dict(row) if row else None


def healthy(connection: sa.Connection, endpoint_id: int) -> None:
    """Note a success after failures."""
    connection.execute(
        t.endpoint.update()
        .where(_E.id == endpoint_id)
        .values(failures=0, failing_since=None, paused_until=None)
    )


def failing(
    connection: sa.Connection,
    endpoint_id: int,
    *,
    failures: int,
    since: datetime,
    paused_until: datetime | None,
) -> None:
    """Note failures."""
    connection.execute(
        t.endpoint.update()
        .where(_E.id == endpoint_id)
        .values(failures=failures, failing_since=since, paused_until=paused_until)
    )


def disable(connection: sa.Connection, row: Mapping[str, Any], reason: str, *, at: datetime) -> Disabled:
    """Disable an endpoint because of how it answers, and tell the account's others.

    What it has not been told is kept for as long as notices are, and sent when it is enabled again.
    """
    connection.execute(t.endpoint.update().where(_E.id == row["id"]).values(**disabling(reason, at)))
    outbox.forget(connection)
    others = sa.select(t.endpoint).where(
        _E.account_id == row["account_id"], _E.state == EndpointState.ENABLED, _E.id != row["id"]
    )
    data = {
        "endpoint_id": str(row["id"]),
        "url": row["url"],
        "reason": reason,
        "failing_since": wire_time(row["failing_since"]),
    }
    body = outbox.encoded(notice.DISABLED, at, data)
    told = [
        outbox.row_of(other["id"], notice.DISABLED, body, at)
        for other in connection.execute(others).mappings()
        if outbox.listener_of(dict(other)).wants(notice.DISABLED)
    ]
    if told:
        insert_rows(connection, t.notice, told)
    return Disabled(row["id"], row["account_id"], row["url"], reason)
