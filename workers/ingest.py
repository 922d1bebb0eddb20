"""What was told of mail is read and recorded, in batches, beside delivery.

Rows of the inbox are taken, read in a thread (vendors' JSON and bounce mail cost time that sends must not wait for),
and recorded in one transaction with their deletion. A row that cannot be read or recorded is tried again later and
in the end set aside; the others of its batch are not held up by it.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from relay.core.clock import now
from relay.core.errors import Unavailable
from relay.core.inbox import InboxKind, InboxState
from relay.core.provider import Provider, Report, WebhookRequest, WebhookSource
from relay.core.return_path import ReturnPaths
from relay.delivery.ways import Setup
from relay.observe import facts
from relay.process import Context
from relay.sections import IngestSettings
from relay.store import inbox, ingestion
from relay.store.database import Database
from relay.store.inbox import Due, PutBack, Taken
from relay.store.ingestion import Read
from relay.store.reports import decode_reports
from relay.tracking import bouncemail
from workers import actors

#: What turns a row into reports. Raises for what cannot be read; does no I/O, as it runs in a thread.
Reader = Callable[[Taken], Sequence[Report]]

#: rows taken at once at most
_BATCH = 200
#: octets of them, unless one has more
_OCTETS = 16 * 1024 * 1024
#: seconds after which another worker may take what this one has in hand
_LEASE = 60.0
#: seconds until what could not be read is read again
_PAUSES = (5, 30, 120, 600, 1800)
#: seconds between looks at the inbox that do not depend on any wake-up
_LOOK = 3.0
#: seconds that a busy worker waits for more rows than these: most of a batch's cost does not depend on its size
_LINGER = 0.05
_WORTHWHILE = 100
#: reports recorded in one transaction, unless one row has more
_REPORTS = 1000


#: seconds between two times at which what is old is dropped
_PRUNE = 60.0
_pruned = 0.0


class Unreadable(Exception):
    """Why a row cannot be read, in words for the operator."""


def webhook_reader(providers: Callable[[], Mapping[str, Provider]]) -> Reader:
    """Reads vendors' requests with the providers that are configured when they are read."""

    def read(taken: Taken) -> Sequence[Report]:
        provider = providers().get(taken.source)
        # Looking a protocol up costs more than reading an event.
        if provider is None or not _reports(type(provider)):
            raise Unreadable(f"no provider is called {taken.source!r} now, or it takes no webhooks")
        path = f"/v1/webhooks/{taken.source}"
        return cast("WebhookSource", provider).read(
            WebhookRequest("POST", path, taken.query, taken.headers, taken.payload, taken.received_at)
        )

    return read


@functools.cache
def _reports(kind: type[Provider]) -> bool:
    return issubclass(kind, WebhookSource)


def mail_reader(paths: Callable[[], ReturnPaths | None]) -> Reader:
    """Reads bounces and complaints that came as mail."""

    def read(taken: Taken) -> Sequence[Report]:
        ours = paths()
        if ours is None:
            raise Unreadable("ingest.bounce_domain is not set, so no return path can be told to be ours")
        return bouncemail.read(
            taken.payload,
            envelope_to=taken.headers.get("x-envelope-to"),
            received_at=taken.received_at,
            paths=ours,
        )

    return read


def reports_reader(taken: Taken) -> Sequence[Report]:
    """Reads what needs no reading."""
    return decode_reports(taken.payload)


@contextlib.asynccontextmanager
async def reading(
    context: Context, settings: IngestSettings, setup: Callable[[], Setup]
) -> AsyncIterator[None]:
    """Read and record for as long as the block runs; `setup` is the one in force. Declare the actors within."""
    readers = {
        InboxKind.WEBHOOK: webhook_reader(lambda: setup().providers),
        InboxKind.MAIL: mail_reader(lambda: setup().return_paths),
        InboxKind.REPORTS: reports_reader,
    }
    ingest = Ingest(context.database, readers, settings)
    actors.declare_events(context.broker, ingest.wake)
    task = asyncio.create_task(ingest.run())
    try:
        yield
    finally:
        await ingest.stop(task)


async def prune(context: Context) -> None:
    """The clock's job: drop what was set aside long ago."""
    global _pruned
    moment = asyncio.get_running_loop().time()
    if _pruned and moment - _pruned < _PRUNE:
        return
    settings = context.settings.ingest
    dropped = await context.database.write(
        inbox.prune,
        failed_before=now() - timedelta(seconds=settings.keep_failed),
        orphans_before=now() - timedelta(seconds=settings.keep_orphans),
    )
    if not dropped:
        _pruned = moment


@dataclass(frozen=True, slots=True)
class _Failed:
    taken: Taken
    error: Exception


class Ingest:
    """One per worker process. `wake` may be called from any thread; everything else from the loop."""

    def __init__(
        self, database: Database, readers: Mapping[InboxKind, Reader], settings: IngestSettings
    ) -> None:
        self._database = database
        self._readers = readers
        self._settings = settings
        self._patience = timedelta(seconds=settings.early_for)
        self._bell = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._stopping = False

    def wake(self) -> None:
        """Look at the inbox. Thread-safe, never blocks."""
        with contextlib.suppress(RuntimeError):  # the loop is gone: the inbox keeps what it has
            self._loop.call_soon_threadsafe(self._bell.set)

    async def stop(self, running: asyncio.Task[None]) -> None:
        """End `run`, once the batch in hand is seen through."""
        self._stopping = True
        self._bell.set()
        await running

    async def run(self) -> None:
        """Work until `stop`."""
        pause = 0.5
        while not self._stopping:
            self._bell.clear()
            try:
                while not self._stopping and (count := await self.once()):
                    pause = 0.5
                    if count < _WORTHWHILE:
                        await asyncio.sleep(_LINGER)
            except Unavailable:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10.0)
            except Exception as error:
                facts.fault("ingest", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10.0)
            if not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._bell.wait(), _LOOK)

    async def once(self) -> int:
        """Take one batch and see it through; returns how many rows were due, up to a batch's size."""
        due = await self._database.read(inbox.due, limit=_BATCH, now=now())
        if not due:
            return 0
        taken = await self._database.write(inbox.take, _chosen(due), now=now(), lease=_LEASE)
        read, failed = await asyncio.to_thread(self._read, taken)
        for batch in _batches(read):
            failed += await self._record(batch)
        if failed:
            rows = [self._back(one) for one in failed]
            await self._database.write(inbox.put_back, rows)
        return len(due)

    def _read(self, taken: Sequence[Taken]) -> tuple[list[Read], list[_Failed]]:
        read: list[Read] = []
        failed: list[_Failed] = []
        for one in taken:
            try:
                if one.kind is not InboxKind.REPORTS and one.attempts > self._settings.tries:
                    raise Unreadable("the workers that read it vanished, one after the other")
                read.append(Read(one, list(self._reader(one.kind)(one))))
            except Exception as error:
                failed.append(_Failed(one, error))
        return read, failed

    def _reader(self, kind: InboxKind) -> Reader:
        reader = self._readers.get(kind)
        if reader is None:
            raise Unreadable(f"nothing here reads {kind.value}")
        return reader

    async def _record(self, batch: Sequence[Read]) -> list[_Failed]:
        """Record a batch, row by row where it does not go as a whole."""
        try:
            recorded = await self._database.write(ingestion.finish, batch, now=now(), patience=self._patience)
        except Unavailable:
            raise
        except Exception as error:
            if len(batch) == 1:
                return [_Failed(batch[0].taken, error)]
            return [failure for one in batch for failure in await self._record([one])]
        facts.ingested(recorded.applied, recorded.repeated, recorded.early, recorded.unknown, recorded.kinds)
        return []

    def _back(self, one: _Failed) -> PutBack:
        taken, error = one.taken, one.error
        reason = str(error) if isinstance(error, Unreadable) else f"{type(error).__name__}: {error}"
        last = taken.attempts >= self._settings.tries
        due = None if last else now() + timedelta(seconds=_PAUSES[min(taken.attempts, len(_PAUSES)) - 1])
        facts.unreadable(taken.source, taken.kind.value, taken.id, reason, due)
        return PutBack(taken, InboxState.FAILED if last else InboxState.RETRY, due, reason)


def _chosen(due: Sequence[Due]) -> list[int]:
    """As many as memory should hold at once; suspects only when nothing else is due, one at a time."""
    octets = 0
    chosen: list[int] = []
    for one in (one for one in due if not one.suspect):
        octets += one.size
        if chosen and octets > _OCTETS:
            break
        chosen.append(one.id)
    return chosen or [due[0].id]


def _batches(read: Sequence[Read]) -> list[list[Read]]:
    """Rows in groups of about as many reports as one transaction should hold."""
    batches: list[list[Read]] = []
    count = 0
    for one in read:
        if not batches or count + len(one.reports) > _REPORTS:
            batches.append([])
            count = 0
        batches[-1].append(one)
        count += len(one.reports)
    return batches
