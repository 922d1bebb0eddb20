"""One door to the database: `read` and `write` run a function of a SQLAlchemy connection in one transaction.

The functions are plain synchronous Core code, the same for both databases. On PostgreSQL they run over asyncpg
(SQLAlchemy bridges to the event loop); on SQLite they run in a thread that keeps its connection, one hop for the
whole transaction instead of one for every statement.
"""

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, QueuePool

from relay.child import call_thread
from relay.core.errors import Full, Misconfigured, Unavailable
from relay.observe import facts

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")
Work = Callable[Concatenate[sa.Connection, P], T]

_READERS = 4
#: sessions of PostgreSQL for what need not wait for the disk
_HASTY = 3
#: seconds between two lines in the log about a database that is away
_TELL = 10.0
#: classes of PostgreSQL's codes: connections, credentials, transactions in each other's way, no such database, no
#: resources, an operator, the system; and 25, a server that only reads, as after a failover
_NOT_OUR_FAULT = frozenset({"08", "25", "28", "3D", "40", "53", "57", "58"})
#: seconds that a write waits for its turn on SQLite
_BUSY = 10.0
#: seconds that closing waits for transactions in hand
_PATIENCE = 30.0
#: pages of SQLite's log after which it is folded into the file; each page once, however often it was written
_LOG_PAGES = 2000
#: seconds between two tries of a process to do that; somebody who reads for long may be in the way
_FOLD_PAUSE = 0.25
_FOLD = "PRAGMA wal_checkpoint(PASSIVE)"
#: macOS has no other
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class Database(ABC):
    """See the module. Make one per process with `open_database`, after any fork."""

    dialect: str
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
        """Run `work` in a transaction that is committed, durably, when this returns.

        Raises `Unavailable` when the database cannot be reached or is locked for too long; an `unclear` one when it
        may have committed.
        """

    @abstractmethod
    async def write_soon(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `write`, but a power cut may undo it as long as no `write` has followed; nothing else can.

        For what is done again when it is lost, as a claim is.
        """

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


def words_of(error: BaseException) -> str:
    """What a database, its driver or the system said, in one line."""
    if isinstance(error, Unavailable) and error.__cause__ is not None:
        error = error.__cause__
    said = getattr(error, "orig", None) or error
    return (str(said) or type(said).__name__).splitlines()[0]


def _state(error: sa.exc.DBAPIError) -> str:
    """PostgreSQL's code for it (its manual, appendix A)."""
    return str(getattr(error.orig, "sqlstate", None) or "")


def _is_full(error: Exception) -> bool:
    original = getattr(error, "orig", None) or error
    if isinstance(original, sqlite3.OperationalError):
        return original.sqlite_errorcode == sqlite3.SQLITE_FULL
    return isinstance(error, sa.exc.DBAPIError) and _state(error) == "53100"


def open_database(url: str, *, pool_size: int = 10) -> Database:
    """A database from a `sqlite:///…` or `postgresql://…` URL; nothing is connected yet.

    Raises `Misconfigured` for any other scheme and for a missing driver.
    """
    scheme, _, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    if kind == "sqlite":
        return SqliteDatabase(Path(rest.removeprefix("/")))
    if kind in {"postgresql", "postgres"}:
        return PostgresDatabase(f"postgresql+asyncpg://{rest}", pool_size=pool_size)
    raise Misconfigured(f"database.url: {scheme!r} is not supported; use sqlite:/// or postgresql://")


def ping(connection: sa.Connection) -> None:
    """Work for `read` that only shows whether the database answers."""
    connection.execute(sa.text("SELECT 1"))


class SqliteDatabase(Database):
    """One writer thread and a few reader threads, each with its own connection.

    Writers of several processes queue on a file lock rather than on SQLite's own: its busy handler sleeps and
    polls, so a short transaction can wait many times its own length and nothing is fair. Who has committed lets the
    next one in and waits for the disk then: a sync of the log is one of all that stands in it before, whoever wrote
    that. SQLite itself (`synchronous=FULL`) would sync under its lock.
    """

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = sqlite_engine(path)
        self._writer = _Writer(self._write)
        self._readers = ThreadPoolExecutor(_READERS, "sqlite-read")
        self._local = threading.local()
        self._connections: list[sa.Connection] = []
        self._lock = -1
        #: monotonic time before which this process does not fold the log again
        self._fold_at = 0.0

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._in_turn(partial(_with_connection, work, args, kwargs), durable=True)

    async def write_soon(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._in_turn(partial(_with_connection, work, args, kwargs), durable=False)

    async def look_and_write_soon(
        self, look: Callable[[sa.Connection], S], work: Callable[[sa.Connection, S], T]
    ) -> T:
        seen: list[S] = []

        def see(connection: sa.Connection) -> None:
            seen.append(look(connection))

        return await self._in_turn(lambda connection: work(connection, seen[0]), before=see, durable=False)

    async def _in_turn(
        self,
        work: Callable[[sa.Connection], T],
        *,
        durable: bool,
        before: Callable[[sa.Connection], None] | None = None,
    ) -> T:
        """A lock on a file is waited for without an end, and its holder may have been stopped."""
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, loop.create_future(), durable=durable, before=before)
        alarm = loop.call_later(_BUSY, job.give_up)
        self._writer.put(job)
        try:
            return await job.future  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            job.take()
            raise
        finally:
            alarm.cancel()

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: self._read(work, *args, **kwargs))

    def _write(self, job: "_Job") -> Any:
        try:
            connection, driver = self._connection()
            if job.before is not None:
                _looking(connection, driver, job.before)
            changes = driver.total_changes
            with self._write_lock():
                if not job.take():
                    raise Unavailable
                driver.execute("BEGIN IMMEDIATE")
                try:
                    result = job.work(connection)
                    _end(connection, driver, "COMMIT")
                except BaseException:
                    _end(connection, driver, "ROLLBACK")
                    raise
            if job.durable and driver.total_changes != changes:
                self._sync()
            self._here()
            return result
        except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
            raise self._away(error) from error

    def _sync(self) -> None:
        """Wait until what was committed is on disk."""
        try:
            # Opened each time, which is nothing beside the sync: one that was kept open could have been replaced
            # since. SQLite has no locks on this file that closing it could give away.
            log = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _fdatasync(log)
                long = _is_long(log)
            finally:
                os.close(log)
        except OSError as error:
            raise self._away(error) from error
        if long and time.monotonic() >= self._fold_at:
            self._fold_at = time.monotonic() + _FOLD_PAUSE
            self._readers.submit(self._fold)

    def _fold(self) -> None:
        """Fold the log into the file, so that it begins anew, while others write.

        SQLite would do it in the commit that finds the log long, and all writers would wait. Only what has come
        meanwhile is folded under their lock.
        """
        # Where it fails the log keeps what it has, and the next commit asks for it again.
        with contextlib.suppress(sqlite3.OperationalError, sa.exc.OperationalError, OSError):
            _, driver = self._connection()
            busy, _, _ = driver.execute(_FOLD).fetchone()
            if not busy:
                with self._turn():
                    driver.execute(_FOLD).fetchone()

    def _read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            connection, driver = self._connection()
            return _looking(connection, driver, work, *args, **kwargs)
        except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
            raise self._away(error) from error

    def _connection(self) -> tuple[sa.Connection, sqlite3.Connection]:
        found: tuple[sa.Connection, sqlite3.Connection] | None = getattr(self._local, "connection", None)
        if found is None or found[0].closed or found[0].invalidated:
            connection = self._engine.connect()
            self._connections.append(connection)
            driver: Any = connection.connection.driver_connection
            # Pages that a statement may have to put back would otherwise be copied to a file, made for each commit.
            driver.execute("PRAGMA temp_store=MEMORY")
            # Commits do not sync: `_sync` does.
            driver.execute("PRAGMA synchronous=NORMAL")
            found = self._local.connection = connection, driver
        return found

    @contextlib.contextmanager
    def _write_lock(self) -> Iterator[None]:
        if self._lock < 0:
            self._lock = self._open_lock()
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """The same, for other threads: a lock belongs to the opened file, and one file would be one holder."""
        lock = self._open_lock()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _open_lock(self) -> int:
        return os.open(f"{self.path}-writers", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    async def close(self) -> None:
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        for connection in self._connections:
            connection.close()
        self._engine.dispose()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _is_long(log: int) -> bool:
    """Whether a log has more than `_LOG_PAGES` pages: so far on there is one of its present round.

    Rounds are told apart by their salt (https://www.sqlite.org/fileformat2.html#walformat).
    """
    header = os.pread(log, 32, 0)
    page = int.from_bytes(header[8:12], "big")
    found = os.pread(log, 24, 32 + _LOG_PAGES * (24 + page))
    return len(found) == 24 and found[8:16] == header[16:24]


def _with_connection(
    work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], connection: sa.Connection
) -> T:
    return work(connection, *args, **kwargs)


def _looking(
    connection: sa.Connection,
    driver: sqlite3.Connection,
    work: Work[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    driver.execute("BEGIN")
    try:
        return work(connection, *args, **kwargs)
    finally:
        _end(connection, driver, "ROLLBACK")


class _Job:
    """A write: taken by the thread that begins it, or by a caller who waits no longer."""

    __slots__ = ("_left", "before", "durable", "future", "loop", "work")

    def __init__(
        self,
        work: Callable[[sa.Connection], Any],
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
        *,
        durable: bool,
        before: Callable[[sa.Connection], None] | None = None,
    ) -> None:
        self.durable = durable
        #: reads before the transaction begins
        self.before = before
        self.work = work
        self.loop = loop
        self.future = future
        self._left = [None]

    def take(self) -> bool:
        """Whether it is the caller's; for one of them only."""
        try:
            self._left.pop()
        except IndexError:
            return False
        return True

    def give_up(self) -> None:
        if not self.future.done() and self.take():
            self.future.set_exception(Unavailable())

    def answer(self, result: Any, error: BaseException | None) -> None:
        """To be called by the loop."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class _Writer:
    """One thread that does jobs in their order. An executor's futures would cost more than a small transaction."""

    def __init__(self, do: Callable[[_Job], Any]) -> None:
        self._do = do
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, job: _Job) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sqlite-write", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def shutdown(self) -> None:
        """Returns when all jobs are done."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        call_thread("sqlite-write")
        while self._next():
            pass

    def _next(self) -> bool:
        """Do a job. What it was about is not kept until the next one comes."""
        job = self._jobs.get()
        if job is None:
            return False
        result, error = None, None
        try:
            result = self._do(job)
        except BaseException as raised:
            error = raised
        # The loop may have been closed by a caller who did not wait.
        with contextlib.suppress(RuntimeError):
            job.loop.call_soon_threadsafe(job.answer, result, error)
        return True


def _end(connection: sa.Connection, driver: sqlite3.Connection, how: str) -> None:
    """Commit or roll back by the driver, and let SQLAlchemy know if it took part."""
    if driver.in_transaction:
        driver.execute(how)
    if connection.in_transaction():
        connection.rollback()


def sqlite_engine(path: Path) -> sa.Engine:
    """A synchronous engine with the settings durability depends on; see `_configure_sqlite`."""
    engine = sa.create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "timeout": 10, "cached_statements": 512},
    )
    sa.event.listen(engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling would begin deferred ones, which fail at once when they turn to writing.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # FULL syncs at every commit; NORMAL would lose accepted mail in a power cut.
    cursor.execute("PRAGMA synchronous=FULL")
    # Where nobody folds the log beside its writers, a commit has to.
    cursor.execute(f"PRAGMA wal_autocheckpoint={4 * _LOG_PAGES}")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA cache_size=-32768")
    cursor.execute("PRAGMA journal_size_limit=67108864")
    cursor.close()


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
                or _state(error)[:2] in _NOT_OUR_FAULT
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
