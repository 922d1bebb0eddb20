"""The record on a PostgreSQL server, over asyncpg."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import sqlalchemy as sa
from asyncpg import exceptions
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from relay.store.database import Database, P, S, T, Unexpected, Work, state_of
from relay.store.rows import Bound

#: sessions for what need not wait for the disk
_HASTY = 3
#: classes of codes: connections, credentials, transactions in each other's way, no such database, no resources, an
#: operator, the system; and 25, a server that only reads, as after a failover
_NOT_OUR_FAULT = frozenset({"08", "25", "28", "3D", "40", "53", "57", "58"})
#: those of an answer that says that nothing was written
_UNDONE = frozenset({"25", "28", "3D", "40", "53"})
#: seconds that closing waits for transactions in hand
_PATIENCE = 30.0


class PostgresDatabase(Database):
    """A pool of asyncpg connections."""

    dialect = "postgresql"

    def __init__(self, url: str, *, pool_size: int) -> None:
        self._engine = _postgres_engine(url, pool_size)
        self.engine = self._engine.sync_engine
        # Sessions that do not wait for the disk: to say so in each transaction is a journey to the server more.
        # Plans that are made while the tables are small are kept for longer than that.
        self._hasty = _postgres_engine(url, _HASTY, synchronous_commit="off", enable_seqscan="off")

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transact(self._engine, work, *args, **kwargs)

    async def write_soon(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transact(self._hasty, work, *args, **kwargs)

    async def look_and_write_soon(
        self, look: Callable[[sa.Connection], S], work: Callable[[sa.Connection, S], T]
    ) -> T:
        return await self.write_soon(lambda connection: work(connection, look(connection)))

    async def _transact(self, engine: AsyncEngine, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        committing = False
        try:
            async with engine.begin() as connection:
                result = await connection.run_sync(work, *args, **kwargs)
                committing = True
        except _ERRORS as error:
            if _not_our_fault(error):
                raise self._away(error, unclear=committing) from error
            raise
        self._here()
        return result

    async def write_alone(self, bound: Bound, *, expecting: int | None = None) -> int:
        # By the driver itself, which has a single statement commit at its end: SQLAlchemy's way to it, BEGIN and
        # COMMIT cost as much as a dozen mails.
        sent = False
        try:
            async with self._driver() as driver:
                sent = True
                if expecting is None:
                    changed = await _changed(driver, bound)
                else:
                    async with driver.transaction():
                        changed = await _changed(driver, bound)
                        if changed != expecting:
                            raise Unexpected
        except _ERRORS as error:
            if _not_our_fault(error):
                raise self._away(error, unclear=sent and state_of(error)[:2] not in _UNDONE) from error
            raise
        self._here()
        return changed

    @contextlib.asynccontextmanager
    async def _driver(self) -> AsyncIterator[Any]:
        """A connection of the driver itself, that was not closed when it was taken from the pool."""
        while True:
            connection = await self._engine.raw_connection()
            driver: Any = connection.driver_connection
            try:
                if not driver.is_closed():
                    yield driver
                    return
            except asyncio.CancelledError:
                # Somewhere in the middle: nobody else is to go on from there.
                driver.terminate()
                raise
            finally:
                if driver.is_closed():
                    connection.invalidate()
                connection.close()

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.write(work, *args, **kwargs)

    async def close(self) -> None:
        # Disposing forgets connections that are in use, and nobody would close them when they come back. The pool
        # is asked, and not our own calls: it also knows of those that a cancelled call left behind.
        engines = (self._engine, self._hasty)
        pools = [cast("QueuePool", engine.pool) for engine in engines]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while any(pool.checkedout() for pool in pools):  # noqa: ASYNC110 - there is nothing to wait for
                    await asyncio.sleep(0.005)
        for engine in engines:
            await engine.dispose()


async def _changed(driver: Any, bound: Bound) -> int:
    ((text, arrays),) = bound.first
    return int(await driver.fetchval(text, *arrays))


#: what the driver raises by itself and through SQLAlchemy
_ERRORS = (
    OSError,
    sa.exc.TimeoutError,
    sa.exc.DBAPIError,
    exceptions.PostgresError,
    exceptions.InterfaceError,
    exceptions.InternalClientError,
)


def _not_our_fault(error: Exception) -> bool:
    if isinstance(error, sa.exc.DBAPIError) and not error.connection_invalidated:
        ours = not isinstance(error, sa.exc.InterfaceError | sa.exc.OperationalError)
    else:
        # A `ValueError` is about what the driver was given.
        ours = isinstance(error, exceptions.PostgresError | ValueError)
    return not ours or state_of(error)[:2] in _NOT_OUR_FAULT


def _postgres_engine(url: str, pool_size: int, **session: str) -> AsyncEngine:
    """Nothing is connected yet; `session` is set in every session."""
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=False,
        connect_args={"timeout": 10, "server_settings": {"application_name": "pillarbox", **session}},
    )
