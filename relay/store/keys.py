"""Looking after an account's keys. Making and recognising them is in `relay.store.accounts`."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.errors import Conflict, NotFound
from relay.store import tables as t
from relay.store.accounts import NewKey, create_key_for

_K = t.api_key.c
#: what of a key may be shown
_SHOWN = tuple(column for column in _K if column.name != "digest")


def get(connection: sa.Connection, account_id: int, identifier: int) -> dict[str, Any]:
    """One key of an account, without its hash. Raises `NotFound`, for another account's too."""
    statement = sa.select(*_SHOWN).where(_K.id == identifier, _K.account_id == account_id)
    row = connection.execute(statement).mappings().first()
    if row is None:
        raise NotFound(f"There is no API key with ID {identifier}.")
    return dict(row)


def owner(connection: sa.Connection, identifier: int) -> int:
    """The id of the account a key belongs to. Raises `NotFound`."""
    found = connection.execute(sa.select(_K.account_id).where(_K.id == identifier)).scalar()
    if found is None:
        raise NotFound(f"There is no API key with ID {identifier}.")
    return int(found)


def page(
    connection: sa.Connection, account_id: int | None, *, limit: int, before: int | None = None
) -> list[dict[str, Any]]:
    """An account's keys, or everybody's, revoked ones too, newest first, beginning below the id `before`."""
    statement = sa.select(*_SHOWN)
    if account_id is not None:
        statement = statement.where(_K.account_id == account_id)
    if before is not None:
        statement = statement.where(_K.id < before)
    rows = connection.execute(statement.order_by(_K.id.desc()).limit(limit)).mappings()
    return [dict(row) for row in rows]


def update(
    connection: sa.Connection, account_id: int, identifier: int, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Change columns of a key that has not been revoked. Returns it as it is then.

    Raises `NotFound`, and `Conflict` for a revoked one.
    """
    before = _working(connection, account_id, identifier)
    if changes:
        connection.execute(t.api_key.update().where(_K.id == identifier).values(**changes))
    return {**before, **changes}


def rotate(
    connection: sa.Connection, account_id: int, identifier: int, *, overlap: timedelta
) -> tuple[NewKey, datetime]:
    """A new key with everything the old one may do; the old one works on for `overlap`, at most to its own end.

    Returns the new key and when the old one ends. Raises `NotFound`, and `Conflict` for a revoked or expired one.
    """
    old = _working(connection, account_id, identifier)
    moment = now()
    if old["expires_at"] is not None and old["expires_at"] <= moment:
        raise Conflict("This key has expired; create a new one.")
    account = connection.execute(sa.select(t.account.c.name).where(t.account.c.id == account_id)).scalar_one()
    new = create_key_for(
        connection,
        account_id,
        account,
        label=old["label"],
        scopes=old["scopes"],
        # A key made to last for thirty days is followed by one that does.
        expires_at=old["expires_at"] and moment + (old["expires_at"] - old["created_at"]),
        networks=old["networks"] or (),
        rate_limit=old["rate_limit"],
        daily_quota=old["daily_quota"],
        track_opens=old["track_opens"],
        track_clicks=old["track_clicks"],
    )
    ends: datetime = min(old["expires_at"] or moment + overlap, moment + overlap)
    connection.execute(t.api_key.update().where(_K.id == identifier).values(expires_at=ends))
    return new, ends


def revoke(connection: sa.Connection, account_id: int, identifier: int) -> None:
    """The key stops working at once, or within seconds where a process has just seen it.

    Revoking a revoked key changes nothing. Raises `NotFound`.
    """
    get(connection, account_id, identifier)
    statement = t.api_key.update().where(_K.id == identifier, _K.revoked_at.is_(None))
    connection.execute(statement.values(revoked_at=now()))


def _working(connection: sa.Connection, account_id: int, identifier: int) -> dict[str, Any]:
    found = get(connection, account_id, identifier)
    if found["revoked_at"] is not None:
        raise Conflict("This key has been revoked.")
    return found
