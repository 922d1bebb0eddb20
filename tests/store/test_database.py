"""A database that is closed leaves nothing behind, whatever was going on."""

import asyncio
import gc

import sqlalchemy as sa

from relay.store.database import Database, open_database


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
