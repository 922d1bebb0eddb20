"""A copy of a SQLite record while it is in use (https://www.sqlite.org/backup.html)."""

import contextlib
import os
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.errors import Misconfigured, Unavailable
from relay.store import recovery
from relay.store.sqlite import sqlite_engine


def copy(record: Path, to: Path) -> int:
    """Copy a record as it stands at one moment to the new file `to`, whole and synced; returns its octets.

    Mail that a worker had in hand waits in the copy like any other, so that it can be held there. Mail goes on
    meanwhile: a reader holds up nobody, and the journal grows until it has ended. Raises
    `Misconfigured` where `record` is missing, or where `to` exists or cannot be made, and `Unavailable` where the
    copy is not sound.
    """
    if not record.exists():
        raise Misconfigured(f"{record}: there is no record to copy")
    if to.exists():
        raise Misconfigured(f"{to}: exists already, and a backup never replaces one")
    part = to.with_name(f"{to.name}.part")
    try:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        # It has mail and keys in it: made for its owner alone, before there is anything in it.
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(record, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(to)
        folder = os.open(to.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Misconfigured(f"{to}: cannot be written: {error.strerror}") from None
    except (sqlite3.Error, sa.exc.SQLAlchemyError) as error:
        raise Unavailable from error
    finally:
        part.unlink(missing_ok=True)
    return to.stat().st_size


def _copy(record: Path, part: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(f"{record.absolute().as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(part)) as copied,
    ):
        # In one step, which is one read transaction: what others commit meanwhile is not in it.
        source.backup(copied)
    _without_workers(part)
    with contextlib.closing(sqlite3.connect(part)) as copied:
        # One file that is complete by itself.
        copied.execute("PRAGMA journal_mode=DELETE")
        (said,) = copied.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(said)


def _without_workers(part: Path) -> None:
    engine = sqlite_engine(part)
    try:
        with engine.connect() as connection:
            recovery.reclaim(connection, now=now())
            connection.commit()
    finally:
        engine.dispose()
