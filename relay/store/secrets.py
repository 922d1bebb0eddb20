"""The installation's own secret: what return paths and tracking links are signed with."""

import secrets

import sqlalchemy as sa

from relay.core.clock import now
from relay.store import tables as t
from relay.store.database import Database

_NAME = "installation"


async def load(database: Database) -> bytes:
    """The secret of this database, made at the first call; the same for all processes for ever."""
    found = await database.read(_find)
    if found is None:
        found = await database.write(_make)
    return bytes.fromhex(found)


def ensure(connection: sa.Connection) -> bytes:
    """The same, within a transaction that may write."""
    return bytes.fromhex(_find(connection) or _make(connection))


def _find(connection: sa.Connection) -> str | None:
    return connection.execute(sa.select(t.secret.c.value).where(t.secret.c.name == _NAME)).scalar()


def _make(connection: sa.Connection) -> str:
    try:
        with connection.begin_nested():
            connection.execute(
                t.secret.insert(), {"name": _NAME, "value": secrets.token_hex(32), "created_at": now()}
            )
    except sa.exc.IntegrityError:
        pass  # another process made one in the meantime
    found = _find(connection)
    assert found is not None
    return found
