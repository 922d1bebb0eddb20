"""A list on its way into the record, and what its owner does with it there."""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from relay.bulk.letters import template_of, wish_of
from relay.bulk.wish import Wish
from relay.core.address import parse_mailbox
from relay.core.clock import now
from relay.core.errors import Conflict, Refused
from relay.core.identity import Identity
from relay.core.status import State
from relay.core.timing import fault
from relay.policy import check_sender
from relay.queue import Queue
from relay.store import backlog, batches, interventions, streams, templates, uploads
from relay.store.batches import BatchState
from relay.store.database import Database
from relay.store.interventions import Action, Order
from relay.store.uploads import NewBatch

#: recipients that are held, released or cancelled in one transaction
_STEP = 500


@dataclass(frozen=True, slots=True)
class Upload:
    """What is handed in besides the list itself."""

    template: str  #: by id or name
    wish: Wish
    name: str
    version: int | None = None  #: the active one where it is not named
    key: str | None = None  #: which the client would use again


async def check(database: Database, identity: Identity, upload: Upload) -> dict[str, Any]:
    """The template to be used. Raises a `Refused` for what cannot or may not be sent."""
    check_sender(identity, parse_mailbox(upload.wish.from_).address)
    wrong = fault(upload.wish.send_at, upload.wish.expires_at, now())
    if wrong is not None:
        raise Refused(" ".join(wrong))
    template = await database.read(templates.usable, identity.account_id, upload.template, upload.version)
    await asyncio.to_thread(template_of, template["version"], upload.wish)
    await database.read(streams.get, identity.account_id, upload.wish.stream)
    return template


async def store(
    database: Database,
    identity: Identity,
    upload: Upload,
    template: dict[str, Any],
    digest: str,
    size: int,
    pieces: Iterable[bytes],
) -> tuple[int, bool]:
    """The batch of a list, and whether it was there before. When this returns the list is durable.

    `digest` is the SHA-256 of the list, `pieces` have its octets. Raises `KeyReused`.
    """
    options = upload.wish.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    asked = [digest, template["id"], template["version"]["number"], options, upload.name]
    fingerprint = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
    once = f"key {upload.key}" if upload.key else f"list {fingerprint}"
    earlier = await database.read(uploads.find_once, identity.account_id, once, fingerprint)
    if earlier is not None:
        return earlier, True
    new = NewBatch(
        account_id=identity.account_id,
        key_id=identity.key_id or None,
        name=upload.name,
        template_id=template["id"],
        version=template["version"]["number"],
        options={**options, "key_track": list(identity.track)},
        fingerprint=fingerprint,
        size=size,
        send_at=upload.wish.send_at,
    )
    identifier = await database.write(uploads.begin, new)
    for number, piece in enumerate(_parts(pieces)):
        await database.write_soon(uploads.put_part, identifier, number, piece)
    found = await database.write(uploads.commit_upload, identifier, identity.account_id, once, fingerprint)
    return found, found != identifier


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same octets in pieces that all have the same size, but for the last."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= batches.PART:
            yield bytes(waiting[: batches.PART])
            del waiting[: batches.PART]
    if waiting:
        yield bytes(waiting)


#: why a batch is paused by the clock
DISABLED = "the account is disabled"
_STARTABLE = (BatchState.READY,)
_RUNNING = (BatchState.SENDING, BatchState.PAUSED)
_STOPPED = (BatchState.PAUSED, BatchState.HALTED, BatchState.SENDING)


class Steering:
    """What owners do with their batches. What was begun and cut short is brought to its end by doing it again."""

    def __init__(self, database: Database, queue: Queue | None) -> None:
        self._database = database
        self._queue = queue

    async def start(self, account_id: int | None, identifier: int, by: str) -> None:
        """Send a batch that was read and waits. Raises `Conflict`, `NotFound`; so do the others."""
        await self._move(account_id, identifier, BatchState.SENDING, _STARTABLE)

    async def reschedule(
        self, account_id: int | None, identifier: int, send_at: datetime | None, by: str
    ) -> None:
        """Send a list that has not begun at another time; None is at once. Raises `Refused` for impossible ones."""
        batch = await self._database.read(batches.get, account_id, identifier)
        expires_at = wish_of(batch).expires_at
        wrong = fault(send_at, expires_at, now()) if send_at is not None else None
        if wrong is not None:
            raise Refused(" ".join(wrong))
        await self._database.write(batches.reschedule, account_id, identifier, send_at or now())

    async def pause(self, account_id: int | None, identifier: int, by: str) -> None:
        """Nothing further goes out, except what a worker has in its hands."""
        await self._move(account_id, identifier, BatchState.PAUSED, _RUNNING)
        await self._each(identifier, (State.QUEUED,), Order(Action.HOLD, by, "the batch is paused"))

    async def begin(self, identifier: int) -> None:
        """What the clock does for a list whose time has come."""
        try:
            await self.start(None, identifier, "pillarbox")
        except Conflict:
            await self._move(None, identifier, BatchState.PAUSED, _STARTABLE, DISABLED)

    async def halt(self, identifier: int, state: BatchState, reason: str) -> None:
        """What the clock does: for bounces, or for a disabled account.

        Held first, so that a clock which vanishes on the way is followed by one that does it all; and once more for
        what was made in between.
        """
        hold = Order(Action.HOLD, "pillarbox", reason)
        await self._each(identifier, (State.QUEUED,), hold)
        await self._move(None, identifier, state, (BatchState.SENDING,), reason)
        await self._each(identifier, (State.QUEUED,), hold)

    async def resume(self, account_id: int | None, identifier: int, by: str) -> None:
        await self._move(account_id, identifier, BatchState.SENDING, _STOPPED)
        await self._each(identifier, (State.HELD,), Order(Action.RELEASE, by, "the batch goes on"))

    async def cancel(self, account_id: int | None, identifier: int, by: str) -> None:
        """What has not gone out never will."""
        await self._move(account_id, identifier, BatchState.CANCELLED, (*batches.OPEN, BatchState.CANCELLED))
        await self._each(
            identifier, (State.QUEUED, State.HELD), Order(Action.CANCEL, by, "the batch is cancelled")
        )

    async def _move(
        self,
        account_id: int | None,
        identifier: int,
        state: BatchState,
        of: tuple[BatchState, ...],
        reason: str | None = None,
    ) -> None:
        await self._database.write(batches.move, account_id, identifier, state, of=of, reason=reason)

    async def _each(self, identifier: int, states: tuple[State, ...], order: Order) -> None:
        after = 0
        while ids := await self._database.read(
            batches.waiting_recipients, identifier, states, after=after, limit=_STEP
        ):
            after = ids[-1]
            done = await self._database.write(
                interventions.step,
                order,
                backlog.Selection(recipient_ids=ids),
                backlog.Position(),
                now=now(),
                limit=_STEP,
            )
            for lane in done.lanes:
                if self._queue is not None:
                    self._queue.deliver(lane, ())
