"""The record on a PostgreSQL server, over asyncpg."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from relay.core.errors import Misconfigured
from relay.store.database import Database, P, S, T, Work, state_of

#: sessions for what need not wait for the disk
_HASTY = 3
#: classes of codes: connections, credentials, transactions in each other's way, no such database, no resources, an
#: operator, the system; and 25, a server that only reads, as after a failover
_NOT_OUR_FAULT = frozenset({"08", "25", "28", "3D", "40", "53", "57", "58"})
#: seconds that closing waits for transactions in hand
_PATIENCE = 30.0


class PostgresDatabase(Database):
    """A pool of asyncpg connections."""

    dialect = "postgresql"

    def __init__(self, url: str, *, pool_size: int) -> None:
        try:
            self._engine = _postgres_engine(url, pool_size)
            # Sessions that do not wait for the disk: to say so in each transaction is a journey to the server more.
            self._hasty = _postgres_engine(url, _HASTY, synchronous_commit="off")
        except ModuleNotFoundError:
            raise Misconfigured(
                "database.url: PostgreSQL needs the driver asyncpg: pip install 'pillarbox[postgres]'"
            ) from None

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
        except (OSError, sa.exc.TimeoutError) as error:
            raise self._away(error, unclear=committing) from error
        except sa.exc.DBAPIError as error:
            if (
                error.connection_invalidated
                or isinstance(error, sa.exc.InterfaceError | sa.exc.OperationalError)
                or state_of(error)[:2] in _NOT_OUR_FAULT
            ):
                raise self._away(error, unclear=committing) from error
            raise
        self._here()
        return result

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
