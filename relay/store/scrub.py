"""Octets of what was deleted, out of the database's files.

SQLite keeps old copies of rows in the unused parts of its pages, and in its journal; a VACUUM writes the file anew
from what is left, and a checkpoint empties the journal. PostgreSQL overwrites dead rows only after a VACUUM, and
keeps what was written in its write-ahead log until that is recycled.
"""

import fcntl
import os
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from relay.store.database import sqlite_engine


def scrub(url: str) -> None:
    """Writers wait until it has ended; on SQLite it needs the room of the database once more."""
    scheme, _, rest = url.partition("://")
    if scheme.startswith("sqlite"):
        _sqlite(Path(rest.removeprefix("/")))
    else:
        _postgres(rest)


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


def _postgres(rest: str) -> None:
    import asyncio

    async def run() -> None:
        engine = create_async_engine(f"postgresql+asyncpg://{rest}", isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                await connection.execute(sa.text("VACUUM"))
        finally:
            await engine.dispose()

    asyncio.run(run())
