"""Recipient lists are read and made into mail beside delivery, a few rows at a time.

A batch is taken by a lease for a turn of some seconds. Rows and counts, mail and rows are written together, so a
worker that vanishes loses the step it was at, and the next one goes on from there. The queue is filled to a mark and
no further, so that a list is no burden to it, and a list that is paused stops at once.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from relay.bulk import reading
from relay.bulk.letters import Writer, template_of, wish_of
from relay.bulk.listfile import BadList
from relay.bulk.uploads import DISABLED, Steering
from relay.bulk.wish import Wish
from relay.core.clock import now
from relay.core.errors import Conflict, Refused, Unavailable
from relay.core.message import Submission
from relay.core.status import Lane
from relay.intake import Intake
from relay.observe import facts
from relay.process import Context
from relay.queue import Queue
from relay.sections import BatchSettings
from relay.store import batches, messages, templates, uploads
from relay.store.batches import BatchState, Held, Lost
from relay.store.database import Database
from relay.templates import Template

#: seconds after which another worker may take what this one has in hand
_LEASE = 10.0
#: seconds for which a worker keeps a batch while others wait
_TURN = 5.0
#: seconds between looks at the record
_LOOK = 1.0
#: seconds between looks at a queue that is full enough
_FULL = 0.5
#: mails made between two breaths of the event loop
_BREATH = 10
#: octets of mail made in one step, but for the last
_OCTETS = 4 * 1024 * 1024
#: seconds for which nobody else could write, after which a step waits as long; at most so long
_LONGEST_REST = 0.2
#: seconds after which an upload that did not end never will
_STALE = 3600.0


@contextlib.asynccontextmanager
async def sending(context: Context) -> AsyncIterator[None]:
    """Work on batches for as long as the block runs."""
    intake = context.intake()
    batcher = Batcher(context.database, context.queue, intake, context.settings.batches)
    task = asyncio.create_task(batcher.run())
    try:
        yield
    finally:
        await batcher.stop(task)
        await intake.close()


class Batcher:
    """One per worker process."""

    def __init__(self, database: Database, queue: Queue, intake: Intake, settings: BatchSettings) -> None:
        self._database = database
        self._queue = queue
        self._intake = intake
        self._settings = settings
        self._stopping = asyncio.Event()

    async def stop(self, running: asyncio.Task[None]) -> None:
        """End `run`, once the step in hand is seen through."""
        self._stopping.set()
        await running

    async def run(self) -> None:
        """Work until `stop`."""
        while not self._stopping.is_set():
            try:
                if await self.once():
                    continue
            except Unavailable:
                pass
            except Exception as error:
                facts.fault("batches", error)
            await self._rest(_LOOK)

    async def once(self) -> bool:
        """Take a batch for a turn; whether there was one."""
        held = (
            await self._database.write_soon(batches.claim, now=now(), lease=_LEASE)
            if await self._any()
            else None
        )
        if held is None:
            return False
        with contextlib.suppress(Lost):
            template = await self._template(held)
            if held.state is BatchState.READING:
                await self._read(held, template)
            else:
                await self._send(held, template)
        return True

    async def _any(self) -> bool:
        return await self._database.read(batches.any_free, now=now())

    async def _template(self, held: Held) -> Template:
        row = held.row
        stored = await self._database.read(
            templates.get, row["account_id"], str(row["template_id"]), row["version"]
        )
        return await asyncio.to_thread(template_of, stored["version"], wish_of(row))

    def _turn_over(self, began: float) -> bool:
        return self._stopping.is_set() or time.monotonic() - began > _TURN

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _read(self, held: Held, template: Template) -> None:
        """Rows of the list into the record, until its end or that of the turn."""
        began, size, wish = time.monotonic(), held.row["size"], wish_of(held.row)
        place = reading.place_of(held.row)
        while True:
            data = await self._database.read(batches.octets, held.id, place.offset)
            at_end = place.offset + len(data) >= size
            try:
                step = await asyncio.to_thread(reading.read, data, place, wish, template, at_end=at_end)
                ended = step.place.offset >= size or (at_end and not step.rows)
                if ended and not step.place.rows:
                    raise BadList("the list has no rows")
            except BadList as error:
                await self._database.write(batches.end, held, BatchState.FAILED, str(error))
                return
            started = time.monotonic()
            await self._database.write(
                batches.stage,
                held,
                step.rows,
                offset=step.place.offset,
                stream=wish.stream,
                once_each=wish.unique,
                lease=_LEASE,
                ended=_after(wish, held.row["send_at"]) if ended else None,
                columns=step.place.columns or (),
                delimiter=step.place.delimiter,
            )
            place = step.place
            if ended:
                return
            if self._turn_over(began):
                await self._database.write_soon(batches.let_go, held)
                return
            await self._rest(min(time.monotonic() - started, _LONGEST_REST))

    async def _send(self, held: Held, template: Template) -> None:
        """Mail for the rows, until all have theirs or the turn is over."""
        began, settings = time.monotonic(), self._settings
        writer = Writer(held.row, template)
        cursor: int = held.row["cursor"]
        room = 0
        while True:
            if room <= 0:
                most = settings.max_waiting
                room = most - await self._database.read(batches.in_queue, held.row["account_id"], most=most)
            if room <= 0:
                if not self._turn_over(began):
                    await self._rest(_FULL)
                    continue
            else:
                count = min(settings.group, room)
                rows = await self._database.read(batches.waiting, held.id, cursor, count)
                made = await asyncio.to_thread(_write, writer, rows)
                if made.count:
                    cursor = rows[made.count - 1]["number"]
                fed = len(rows) < count and made.count == len(rows)
                await self._queue_some(held, made, cursor=cursor, fed=fed)
                room -= made.count
                if fed:
                    return
            if self._turn_over(began):
                await self._database.write_soon(batches.let_go, held)
                return

    async def _queue_some(self, held: Held, made: "_Made", *, cursor: int, fed: bool) -> None:
        written, refused = made.written, made.refused
        for place, number in enumerate(list(written)):
            try:
                await self._intake.prepare(written[number])
            except Refused as error:
                del written[number]
                refused[number] = error.message
            if place % _BREATH == 0:
                await asyncio.sleep(0)
        submissions = list(written.values())
        group = messages.prepare(submissions)
        started = time.monotonic()
        stored = await self._database.write(
            batches.queue, held, group, list(written), refused, cursor=cursor, fed=fed, lease=_LEASE
        )
        took = time.monotonic() - started
        for submission, one in zip(submissions, stored, strict=True):
            facts.accepted(submission, one.id, submission.size, took)
        if stored:
            self._queue.deliver(Lane.BULK, [one.id for one in stored])
        await self._rest(min(took, _LONGEST_REST))


@dataclass(slots=True)
class _Made:
    """What became of some rows, in their order."""

    written: dict[int, Submission] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.written) + len(self.refused)


def _write(writer: Writer, rows: Sequence[Mapping[str, Any]]) -> _Made:
    """Mail for the first of the rows: for as many as are made in time, and are not too much to hold together."""
    began, octets, made = time.monotonic(), 0, _Made()
    for row in rows:
        try:
            submission = writer.write(row["address"], row["variables"], now())
        except (Refused, ValueError) as error:
            made.refused[row["number"]] = str(error)
        else:
            made.written[row["number"]] = submission
            octets += submission.size
        if octets > _OCTETS or time.monotonic() - began > reading.SECONDS:
            break
    return made


def _after(wish: Wish, send_at: datetime | None) -> BatchState:
    """Where a list goes that is read."""
    if wish.validate_only:
        return BatchState.DONE
    waits = wish.start == "manual" or (send_at is not None and send_at > now())
    return BatchState.READY if waits else BatchState.SENDING


# What the clock does.


async def watch(context: Context) -> None:
    """Start batches whose time has come, stop those that bounce too much or may not be sent, close what is done."""
    settings = context.settings.batches
    steering = Steering(context.database, context.queue)
    for identifier in await context.database.read(batches.due, now()):
        with contextlib.suppress(Conflict):
            await steering.begin(identifier)
    for batch in await context.database.read(batches.sending):
        if not batch["enabled"]:
            with contextlib.suppress(Conflict):
                await steering.halt(batch["id"], BatchState.PAUSED, DISABLED)
            continue
        hard = await context.database.read(batches.hard_bounces, batch["id"]) - batch["forgiven"]
        if hard > settings.halt_after:
            known = await context.database.read(batches.processed, batch["id"]) - batch["before"]
            if hard > settings.halt_share * known:
                reason = f"{hard} of {known} mails bounced for good"
                with contextlib.suppress(Conflict):
                    await steering.halt(batch["id"], BatchState.HALTED, reason)
                continue
        if batch["fed"]:
            await context.database.write(batches.finish, batch["id"])


async def prune(context: Context) -> None:
    """Uploads that were cut short go."""
    before = now() - timedelta(seconds=_STALE)
    if await context.database.read(uploads.any_stale, before=before):
        await context.database.write(uploads.prune_uploads, before=before)
