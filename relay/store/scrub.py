"""Octets of what was deleted, out of the database's files.

SQLite keeps old copies of rows in the unused parts of its pages, and in its journal; a VACUUM writes the file anew
from what is left, and a checkpoint empties the journal. PostgreSQL frees dead rows by VACUUM, and their octets stay
until others take their place; VACUUM FULL writes the tables anew, one after the other, and nobody can reach the one
that is being written. What was written is in its write-ahead log until that is recycled.
"""

import fcntl
import os
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from relay.store.sqlite import sqlite_engine


def scrub(url: str, *, full: bool = False) -> None:
    """On SQLite writers wait until it has ended, and it needs the room of the database once more.

    On PostgreSQL everybody goes on, unless it is to be `full`.
    """
    scheme, _, rest = url.partition("://")
    if scheme.startswith("sqlite"):
        _sqlite(Path(rest.removeprefix("/")))
    else:
        _postgres(rest, full=full)


def _sqlite(path: Path) -> None:
    engine = sqlite_engine(path)
    lock = os.open(f"{path}-writers", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA secure_delete=ON")
            driver.execute("VACUUM")
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        os.close(lock)
        engine.dispose()


def _postgres(rest: str, *, full: bool) -> None:
    import asyncio

    async def run() -> None:
        engine = create_async_engine(f"postgresql+asyncpg://{rest}", isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                await connection.execute(sa.text("VACUUM FULL" if full else "VACUUM"))
        finally:
            await engine.dispose()

    asyncio.run(run())
