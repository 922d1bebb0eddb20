"""Leadership by a row with an end: whoever holds it does the job, and whoever lets it run out has lost it."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from relay.core.clock import now
from relay.store import tables as t
from relay.store.database import Database


async def lead(database: Database, name: str, owner: str, *, lease: float) -> bool:
    """Whether `owner` leads `name` now, taking or renewing the lease (in seconds) where that is due."""
    moment = now()
    held = await database.read(_held, name)
    if held is not None:
        holder, until = held
        if holder == owner and until - moment > timedelta(seconds=lease / 2):
            return True
        # An end further away than any lease reaches was written before the clock was put back.
        if holder != owner and moment < until <= moment + timedelta(seconds=2 * lease):
            return False
    return await database.write(_take, name, owner, moment, timedelta(seconds=lease))


async def resign(database: Database, name: str, owner: str) -> None:
    """Let another lead at once."""
    await database.write(_resign, name, owner)


def _held(connection: sa.Connection, name: str) -> tuple[str, datetime] | None:
    row = connection.execute(
        sa.select(t.leader_lease.c.owner, t.leader_lease.c.until).where(t.leader_lease.c.name == name)
    ).first()
    return (row.owner, row.until) if row else None


def _take(connection: sa.Connection, name: str, owner: str, moment: datetime, length: timedelta) -> bool:
    lease = t.leader_lease.c
    until = moment + length
    over = sa.or_(lease.until <= moment, lease.until > moment + 2 * length)
    taken = connection.execute(
        t.leader_lease.update()
        .where(lease.name == name, sa.or_(lease.owner == owner, over))
        .values(owner=owner, until=until)
    )
    if taken.rowcount:
        return True
    if connection.execute(sa.select(lease.name).where(lease.name == name)).first():
        return False
    insert = t.leader_lease.insert().values(name=name, owner=owner, until=until)
    try:
        with connection.begin_nested():
            connection.execute(insert)
    except sa.exc.IntegrityError:
        return False
    return True


def _resign(connection: sa.Connection, name: str, owner: str) -> None:
    lease = t.leader_lease.c
    connection.execute(t.leader_lease.delete().where(lease.name == name, lease.owner == owner))
