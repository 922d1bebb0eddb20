"""SQLite as the record: what is on disk when a write returns, and a log that does not grow while all write."""

import asyncio
import errno
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from relay.core.errors import Unavailable
from relay.store import sqlite
from relay.store.database import Database, open_database

_PAGE = 4096


def _make(connection: sa.Connection) -> None:
    connection.execute(sa.text("CREATE TABLE note (said BLOB)"))


def _add(connection: sa.Connection, octets: int = 1) -> None:
    connection.execute(sa.text("INSERT INTO note VALUES (:said)"), {"said": b"x" * octets})


def _count(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text("SELECT count(*) FROM note")).scalar_one())


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each sync of the log."""
    made: list[int] = []
    real = sqlite._fdatasync

    def sync(descriptor: int) -> None:
        real(descriptor)
        made.append(descriptor)

    monkeypatch.setattr(sqlite, "_fdatasync", sync)
    return made


def test_a_write_waits_for_the_disk_also_for_what_it_has_only_seen(tmp_path: Path, syncs: list[int]) -> None:
    async def main() -> None:
        database = open_database(f"sqlite:///{tmp_path}/x.db")
        await database.write(_make)
        syncs.clear()
        await database.write_soon(_add)
        await database.look_and_write_soon(_count, lambda connection, _seen: _add(connection))
        assert await database.read(_count) == 2
        assert syncs == []
        assert await database.write(_count) == 2
        assert len(syncs) == 1
        await database.write(_add)
        assert len(syncs) == 2
        await database.close()

    asyncio.run(main())


def test_the_file_may_be_a_link(tmp_path: Path, syncs: list[int]) -> None:
    elsewhere = tmp_path / "disk" / "record.db"
    elsewhere.parent.mkdir()
    elsewhere.touch()
    (tmp_path / "x.db").symlink_to(elsewhere)

    async def main() -> None:
        database = open_database(f"sqlite:///{tmp_path}/x.db")
        await database.write(_make)
        await database.write(_add)
        assert await database.read(_count) == 1
        await database.close()

    asyncio.run(main())
    assert syncs


def test_a_disk_that_cannot_sync_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def main() -> None:
        database = open_database(f"sqlite:///{tmp_path}/x.db")
        await database.write(_make)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite, "_fdatasync", broken)
            with pytest.raises(Unavailable) as raised:
                await database.write(_add)
            # Nobody may take it for stored because it can be read.
            assert not raised.value.unclear
        await database.write(_add)
        await database.close()

    asyncio.run(main())


def test_the_log_begins_anew_while_others_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no commit has to see to that."""
    monkeypatch.setattr(sqlite, "_LONG_LOG_PAGES", 0)
    monkeypatch.setattr(sqlite, "_LOG_PAGES", 200)
    monkeypatch.setattr(sqlite, "_FOLD_PAUSE", 0.0)
    path = tmp_path / "x.db"
    rounds = 300

    async def write(database: Database) -> None:
        for _ in range(rounds):
            await database.write(_add, 8 * _PAGE)

    async def main() -> None:
        databases = [open_database(f"sqlite:///{path}") for _ in range(3)]
        await databases[0].write(_make)
        await asyncio.gather(*map(write, databases))
        # Those who wrote have written twice as much and more.
        assert path.with_name("x.db-wal").stat().st_size < 3 * rounds * 8 * _PAGE / 2
        assert await databases[1].read(_count) == 3 * rounds
        for database in databases:
            await database.close()

    asyncio.run(main())
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM note").fetchone() == (3 * rounds,)
    connection.close()
