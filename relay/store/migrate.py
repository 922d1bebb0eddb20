"""Brings a database to the schema of this version. Alembic is loaded only where there is something to do."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from relay.core.errors import Misconfigured, Unavailable
from relay.observe import facts
from relay.store.database import open_database
from relay.store.sqlite import SqliteDatabase, sqlite_engine

if TYPE_CHECKING:
    from alembic.config import Config

T = TypeVar("T")

_DIRECTORY = Path(__file__).parent / "migrations"
#: names our advisory lock among those of the server's database ("pillar" in ASCII)
_LOCK = 0x70696C6C6172


def head() -> str:
    """The revision of this version's tables: the first word of the last file among the migrations."""
    return _revisions()[-1]


def current(url: str) -> str | None:
    """The revision a database is at; None for an empty one, or a SQLite file that does not exist.

    Raises `Unavailable` when the database cannot be reached.
    """
    return _run(url, _revision, create=False)


def is_current(url: str) -> bool:
    """Whether `upgrade` has nothing to do; one SELECT."""
    return current(url) == head()


def upgrade(url: str) -> None:
    """Make the database if needed and bring it to `head`; safe to call from several processes at once.

    Synchronous: call outside of any event loop. Raises `Unavailable` when the database cannot be reached and
    `Misconfigured` when it cannot be made or belongs to a newer version.
    """
    found = current(url)
    if found == head():
        return
    _check_known(found)
    _run(url, _upgrade, create=True)
    facts.migrated(found, head())


def alembic_config(connection: sa.Connection) -> "Config":
    """What Alembic's own commands need to find the migrations and to work on `connection`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def draft(message: str) -> Path:
    """Write the next migration: what `relay.store.tables` has and the last one does not. For developers, who read
    it before they keep it.
    """
    from alembic import command

    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/draft.db"
        upgrade(url)

        def write(connection: sa.Connection) -> Path:
            number = f"{int(head()) + 1:04}"
            made = command.revision(alembic_config(connection), message, autogenerate=True, rev_id=number)
            assert not isinstance(made, list)
            assert made is not None
            return Path(made.path)

        path = _run(url, write, create=True)
        assert path is not None
        return path


def _revisions() -> list[str]:
    return sorted(path.name.partition("_")[0] for path in (_DIRECTORY / "versions").glob("[0-9]*.py"))


def _check_known(revision: str | None) -> None:
    if revision is not None and revision not in _revisions():
        raise Misconfigured(
            f"database.url: this database is at revision {revision}, which this version of Pillarbox does not know; "
            "it was used by a newer one"
        )


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command

    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    # Another process may have been faster while this one waited for the lock.
    found = _revision(connection)
    if found == head():
        return
    _check_known(found)
    command.upgrade(alembic_config(connection), "head")


def _run(url: str, work: Callable[[sa.Connection], T], *, create: bool) -> T | None:
    database = open_database(url)
    if not isinstance(database, SqliteDatabase):

        async def once() -> T:
            try:
                return await database.write(work)
            finally:
                await database.close()

        return asyncio.run(once())
    if create:
        _make(database.path)
    elif not database.path.exists():
        return None
    return _run_sqlite(database.path, work, writing=create)


def _run_sqlite(path: Path, work: Callable[[sa.Connection], T], *, writing: bool) -> T:
    engine = sqlite_engine(path)
    try:
        with engine.connect() as connection:
            if writing:
                # Alembic changes a table by making it anew, which must not take its referring rows along. The
                # pragma has no effect inside a transaction.
                connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            result = work(connection)
            if writing and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise RuntimeError("a migration left rows that refer to nothing")
            connection.commit()
            return result
    except sa.exc.OperationalError as error:
        raise Unavailable from error
    finally:
        engine.dispose()


def _make(path: Path) -> None:
    """An empty file for SQLite, and its directories, that only we can read; its journals take over the mode."""
    try:
        for directory in (*reversed(path.parent.parents), path.parent):
            if not directory.exists():
                directory.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Misconfigured(f"{error.filename}: cannot be made: {error.strerror}") from None
