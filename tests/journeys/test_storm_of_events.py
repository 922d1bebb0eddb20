"""A storm of doubled, shuffled events on real processes while the worker is killed: nothing lost, nothing doubled."""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from relay.config import load
from relay.core.clock import now
from relay.store import tables as t
from relay.store.database import open_database
from tests.bench.events import CONFIGURATION, Storm, emptied
from tests.installation import Installation, _listens, wait_for
from tests.tracking.stream import account_of

EVENTS = 1500
#: events a second, so that they are still coming when the last worker is killed
RATE = 250
KILLS = 2


def test_a_killed_worker_loses_and_doubles_nothing(tmp_path: Path, valkey_url: str) -> None:
    with Installation(tmp_path, CONFIGURATION, queue=valkey_url) as installation:
        assert installation.run("migrate").returncode == 0
        installation.start("api")
        wait_for(lambda: _listens(installation.api_port), "the door's opening")
        asyncio.run(_scene(installation))


async def _scene(installation: Installation) -> None:
    database = open_database(load(installation.config).database_url)
    try:
        storm = await Storm.prepare(database, await account_of(database, "storm"), EVENTS)
        blowing = asyncio.create_task(storm.blow(installation.api_port, rate=RATE))
        for _ in range(KILLS):
            worker = installation.start("worker")
            async with asyncio.timeout(100):
                while not await database.read(_in_hand):  # noqa: ASYNC110 - another process is looked at
                    await asyncio.sleep(0.002)
            worker.signal_group(signal.SIGKILL)
            worker.wait()
            await database.write(_end_leases)
        await blowing
        await storm.settle(database, storm.mails)
        installation.start("worker")
        await emptied(database, 100)
        assert await storm.faults(database) == []
    finally:
        await database.close()


def _in_hand(connection: sa.Connection) -> int:
    """Rows that a worker has taken; its lease is longer than anything else that could be in the future here."""
    taken = (
        sa.select(sa.func.count())
        .select_from(t.inbox)
        .where(t.inbox.c.due_at > now() + timedelta(seconds=10))
    )
    return int(connection.execute(taken).scalar_one())


def _end_leases(connection: sa.Connection) -> None:
    """Time passes for the rows that a killed worker had in hand."""
    ended = now() - timedelta(seconds=1)
    connection.execute(t.inbox.update().where(t.inbox.c.due_at > ended).values(due_at=ended))
