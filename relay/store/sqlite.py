"""The record in a file: SQLite, one writer at a time, several processes."""

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from relay.child import call_thread
from relay.core.errors import Unavailable
from relay.store.database import Database, P, S, T, Work

_READERS = 4
#: seconds that a write waits for its turn
_BUSY = 10.0
#: pages of the log after which it is folded into the file; each page once, however often it was written
_LOG_PAGES = 2000
#: pages after which a commit has to do it, where nobody has done it beside those who write
_LONG_LOG_PAGES = 4 * _LOG_PAGES
#: seconds between two tries of a process to do that; somebody who reads for long may be in the way
_FOLD_PAUSE = 0.25
_FOLD = "PRAGMA wal_checkpoint(PASSIVE)"
#: macOS has no other
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


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
        self.engine = sqlite_engine(path)
        self._writer = _Writer(self._write)
        self._readers = ThreadPoolExecutor(_READERS, "sqlite-read")
        self._local = threading.local()
        self._connections: list[sa.Connection] = []
        self._lock = -1
        # SQLite has it beside the file that a link leads to.
        self._log = f"{path.resolve()}-wal"
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
            if job.durable:
                # Although it may have written nothing: others' commits that it has seen may not be on disk yet.
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
            log = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
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
            connection = self.engine.connect()
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
        self.engine.dispose()
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
    cursor.execute(f"PRAGMA wal_autocheckpoint={_LONG_LOG_PAGES}")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA cache_size=-32768")
    cursor.execute("PRAGMA journal_size_limit=67108864")
    cursor.close()
