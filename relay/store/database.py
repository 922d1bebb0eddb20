"""One door to the database: `read` and `write` run a function of a SQLAlchemy connection in one transaction.

The functions are plain synchronous Core code, the same for both databases. On PostgreSQL they run over asyncpg
(SQLAlchemy bridges to the event loop); on SQLite they run in a thread that keeps its connection, one hop for the
whole transaction instead of one for every statement.
"""

import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from relay.core.errors import Full, Misconfigured, Unavailable
from relay.observe import facts
from relay.store.rows import Bound

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")
Work = Callable[Concatenate[sa.Connection, P], T]

#: seconds between two lines in the log about a database that is away
_TELL = 10.0


class Unexpected(Exception):
    """Statements changed more or fewer rows than they were expected to."""


class Database(ABC):
    """See the module. Make one per process with `open_database`, after any fork."""

    dialect: str
    #: that of `write`, by which others know what they have learned from which database
    engine: sa.Engine
    _since: float | None = None
    _told = float("-inf")

    def _away(self, error: Exception, *, unclear: bool = False) -> Unavailable:
        """What to raise where `error` is the database's own; its words go to the log, now and then."""
        moment = time.monotonic()
        if self._since is None:
            self._since = moment
        if moment - self._told > _TELL:
            self._told = moment
            facts.record_away(words_of(error))
        away = Full() if _is_full(error) else Unavailable()
        away.unclear = unclear
        return away

    def _here(self) -> None:
        if self._since is not None:
            facts.record_back(time.monotonic() - self._since)
            self._since, self._told = None, float("-inf")

    @abstractmethod
    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a transaction that is committed, durably, when this returns; so is what it has seen.

        Raises `Unavailable` when the database cannot be reached or is locked for too long; an `unclear` one when it
        may have committed.
        """

    @abstractmethod
    async def write_soon(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, but a power cut may undo it as long as no `write` has followed; nothing else can.

        For what is done again when it is lost, as a claim is.
        """

    async def write_alone(self, bound: Bound, *, expecting: int | None = None) -> int:
        """As `write`, of statements that are all of their transaction; returns how many rows the first part changed.

        Raises `Unexpected` when these are not as many as `expecting`, and nothing is written.
        """
        return await self.write(_run, bound, expecting)

    @abstractmethod
    async def look_and_write_soon(
        self, look: Callable[[sa.Connection], S], work: Callable[[sa.Connection, S], T]
    ) -> T:
        """As `write_soon`, with what `look` has read: on SQLite before others have to wait for the transaction."""

    @abstractmethod
    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a transaction that changes nothing."""

    @abstractmethod
    async def close(self) -> None:
        """Let transactions in hand finish, and close every connection."""


def _run(connection: sa.Connection, bound: Bound, expecting: int | None) -> int:
    changed = bound.run(connection)
    if expecting is not None and changed != expecting:
        raise Unexpected
    return changed


def words_of(error: BaseException) -> str:
    """What a database, its driver or the system said, in one line."""
    if isinstance(error, Unavailable) and error.__cause__ is not None:
        error = error.__cause__
    said = getattr(error, "orig", None) or error
    return (str(said) or type(said).__name__).splitlines()[0]


def state_of(error: Exception) -> str:
    """PostgreSQL's code for it (its manual, appendix A); empty for what does not come from its server."""
    return str(getattr(getattr(error, "orig", None) or error, "sqlstate", None) or "")


def _is_full(error: Exception) -> bool:
    original = getattr(error, "orig", None) or error
    if isinstance(original, sqlite3.OperationalError):
        return original.sqlite_errorcode == sqlite3.SQLITE_FULL
    return state_of(error) == "53100"


def open_database(url: str, *, pool_size: int = 10) -> Database:
    """A database from a `sqlite:///…` or `postgresql://…` URL; nothing is connected yet.

    Raises `Misconfigured` for any other scheme and for a missing driver.
    """
    scheme, _, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    if kind == "sqlite":
        from relay.store.sqlite import SqliteDatabase

        return SqliteDatabase(Path(rest.removeprefix("/")))
    if kind in {"postgresql", "postgres"}:
        try:
            from relay.store.postgres import PostgresDatabase
        except ModuleNotFoundError:
            raise Misconfigured(
                "database.url: PostgreSQL needs the driver asyncpg: pip install 'pillarbox[postgres]'"
            ) from None

        return PostgresDatabase(f"postgresql+asyncpg://{rest}", pool_size=pool_size)
    raise Misconfigured(f"database.url: {scheme!r} is not supported; use sqlite:/// or postgresql://")


def ping(connection: sa.Connection) -> None:
    """Work for `read` that only shows whether the database answers."""
    connection.execute(sa.text("SELECT 1"))
