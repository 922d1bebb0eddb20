"""Transactions end as they should, and a database that is closed leaves nothing behind, whatever was going on."""

import asyncio
import gc

import pytest
import sqlalchemy as sa
from asyncpg import exceptions

from relay.core.clock import now
from relay.core.errors import Unavailable
from relay.store import tables as t
from relay.store.database import Database, Unexpected, open_database, ping
from relay.store.rows import Bound, bind, insertion
from tests.records import play


async def _begun(database: Database) -> list["asyncio.Task[str]"]:
    """Three slow transactions, all of them in hand."""
    begun: list[sa.Connection] = []

    def slow(connection: sa.Connection) -> str:
        begun.append(connection)
        connection.execute(sa.text("SELECT pg_sleep(0.2)"))
        return "done"

    running = [asyncio.create_task(database.read(slow)) for _ in range(3)]
    while len(begun) < 3:  # noqa: ASYNC110 - there is nothing to wait for
        await asyncio.sleep(0.005)
    return running


def test_closing_lets_transactions_in_hand_finish_and_leaves_no_connection(postgres_url: str) -> None:
    async def close_meanwhile() -> list[str]:
        database = open_database(postgres_url)
        running = await _begun(database)
        await database.close()
        return await asyncio.gather(*running)

    assert asyncio.run(close_meanwhile()) == ["done"] * 3
    # Connections that were left open would say so when they are collected.
    gc.collect()


def test_transactions_that_were_cancelled_leave_no_connection(postgres_url: str) -> None:
    async def cancel() -> None:
        database = open_database(postgres_url)
        running = await _begun(database)
        for one in running:
            one.cancel()
        await database.close()
        await asyncio.gather(*running, return_exceptions=True)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(cancel())
    # Without the turns that `asyncio.run` would still give it.
    loop.close()
    gc.collect()


def _leases(database: Database, *names: str) -> Bound:
    rows = [{"name": name, "owner": "me", "until": now()} for name in names]
    return bind([insertion(t.leader_lease, rows)], database.dialect)


async def _names(database: Database) -> list[str]:
    query = sa.select(t.leader_lease.c.name).order_by(t.leader_lease.c.name)
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


def test_statements_alone_are_written_if_they_do_what_is_expected(database_url: str) -> None:
    async def scene(database: Database) -> None:
        assert await database.write_alone(_leases(database, "a", "b")) == 2
        assert await database.write_alone(_leases(database, "c"), expecting=1) == 1
        with pytest.raises(Unexpected):
            await database.write_alone(_leases(database, "d", "e"), expecting=3)
        assert await _names(database) == ["a", "b", "c"]
        with pytest.raises((sa.exc.IntegrityError, exceptions.UniqueViolationError)):
            await database.write_alone(_leases(database, "f", "a"))
        assert await database.write_alone(_leases(database, "g")) == 1
        assert await _names(database) == ["a", "b", "c", "g"]

    play(database_url, scene)


def _end_others(connection: sa.Connection) -> None:
    connection.exec_driver_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def test_a_connection_that_was_closed_in_the_pool_is_not_used(postgres_url: str) -> None:
    async def scene(database: Database) -> None:
        await asyncio.gather(*(database.read(ping) for _ in range(3)))
        await database.read(_end_others)
        # Their ends have to arrive here.
        await asyncio.sleep(0.3)
        for name in "ab":
            assert await database.write_alone(_leases(database, name)) == 1

    play(postgres_url, scene)


def test_a_line_that_is_lost_in_the_middle_leaves_it_open_what_was_written(postgres_url: str) -> None:
    asleep = Bound([("SELECT count(*) FROM pg_sleep(60)", ())])

    async def scene(database: Database) -> None:
        # What is started first has the connection first.
        writing = asyncio.create_task(database.write_alone(asleep))
        while not await database.read(_sleeping):  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0.01)
        await database.read(_end_others)
        with pytest.raises(Unavailable) as raised:
            await writing
        assert raised.value.unclear
        assert await database.write_alone(_leases(database, "a")) == 1

    play(postgres_url, scene)


def _sleeping(connection: sa.Connection) -> bool:
    found = connection.exec_driver_sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    return found.first() is not None


def test_a_statement_that_was_cancelled_is_not_gone_on_with(postgres_url: str) -> None:
    asleep = Bound([("SELECT count(*) FROM pg_sleep(60)", ())])

    async def scene(database: Database) -> None:
        for expecting in (None, 1):
            writing = asyncio.create_task(database.write_alone(asleep, expecting=expecting))
            while not await database.read(_sleeping):  # noqa: ASYNC110 - there is nothing to wait for
                await asyncio.sleep(0.01)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
        for name in "abc":
            assert await database.write_alone(_leases(database, name), expecting=1) == 1

    play(postgres_url, scene)


def test_a_server_that_is_not_there_has_written_nothing(tmp_path: object) -> None:
    async def scene(database: Database) -> None:
        with pytest.raises(Unavailable) as raised:
            await database.write_alone(_leases(database, "a"))
        assert not raised.value.unclear

    play(f"postgresql://nobody@/none?host={tmp_path}", scene)
