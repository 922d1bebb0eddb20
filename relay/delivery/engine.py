"""The engine of a worker process: it turns wake-ups into claims, claims into sends, and outcomes into the record.

A wake-up costs nothing to take: its ids wait here until there is room, and what does not fit is left in the
record, where the lane's pump finds it later. The number of sends in flight is therefore the engine's choice and
has nothing to do with the number of Dramatiq threads.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from relay.core.clock import now
from relay.core.errors import Unavailable
from relay.core.status import MAIL_LANES, Lane
from relay.delivery.board import Board
from relay.delivery.capacity import Slots
from relay.delivery.dispatch import LINGER, Dispatcher
from relay.delivery.ways import Fleet, Setup
from relay.observe import facts, metrics
from relay.sections import DeliverySettings
from relay.store import deliveries
from relay.store.database import Database
from relay.store.deliveries import Claim, ClaimedMail
from relay.store.fairness import Turn

#: mails claimed in one transaction at most
_BATCH = 200
#: a pump with much to do would rather claim this many at once than one by one
_WORTHWHILE = 32
#: seconds it waits for that; slow sends may keep their places for minutes
_MOMENT = 0.02
#: ids remembered per lane, in the order in which they came; beyond it the record is asked, which is fair to accounts
_HINTS = 1000
#: seconds between looks at the record that do not depend on any wake-up
_LOOK = 5.0


@dataclass(slots=True)
class _LaneState:
    hints: deque[int] = field(default_factory=deque)
    #: the record may hold more than the hints name
    look: bool = True
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    turn: Turn = field(default_factory=Turn)


@dataclass(slots=True)
class _InHand:
    mail: ClaimedMail
    claims: Sequence[Claim]


class Engine:
    """One per worker process. `wake` may be called from any thread; everything else from the loop."""

    def __init__(self, database: Database, setup: Setup, settings: DeliverySettings) -> None:
        self._database = database
        self._settings = settings
        self._slots = Slots(settings.concurrency, settings.urgent_reserve)
        self._lanes = {lane: _LaneState() for lane in MAIL_LANES}
        #: by whoever holds it, a mail or a part of one
        self._in_hand: dict[int, _InHand] = {}
        self._suspicion = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        nudge, rooms = asyncio.Event(), set[str]()
        self.fleet = Fleet(
            setup,
            concurrency=settings.concurrency,
            changed=nudge.set,
            released=lambda: nudge.set() if rooms else None,
        )
        self.board = Board(
            database,
            self.fleet,
            rooms=rooms,
            nudge=nudge,
            wake=lambda lane: self._woken(Lane(lane), ()),
        )
        metrics.IN_FLIGHT.read = lambda: {(name,): way.meter.in_hand for name, way in self.fleet.ways.items()}
        self._dispatcher = Dispatcher(
            database,
            self.fleet,
            settings,
            self._slots,
            held=self._hold,
            let_go=self._let_go,
            waits=rooms.add,
            stock_up=self.board.stock_up,
        )

    def swap(self, setup: Setup) -> None:
        """Use other providers and routes from now on; what is in flight finishes on those that it was given to."""
        self.fleet.swap(setup)

    def on_reload(self, reload: Callable[[], None]) -> None:
        """What to call when somebody asks all workers to read their configuration again."""
        self.board.on_reload = reload

    def wake(self, lane: str, ids: Sequence[int]) -> None:
        """A wake-up: these mails may be due; without ids, look at the lane. Thread-safe, never blocks."""
        with contextlib.suppress(RuntimeError):  # the loop is gone: the record keeps the mail
            self._loop.call_soon_threadsafe(self._woken, Lane(lane), ids)

    def _woken(self, lane: Lane, ids: Sequence[int]) -> None:
        state = self._lanes[lane]
        # Once the record is asked it is asked to the end: newer mail must not keep going before what is left there.
        if ids and not state.look and len(state.hints) + len(ids) <= _HINTS:
            state.hints.extend(ids)
        else:
            state.look = True
            self._suspicion.set()
        state.bell.set()

    async def run(self, stop: asyncio.Event, *, drain: float) -> None:
        """Work until `stop` is set, then finish what is in hand within `drain` seconds."""
        await self.board.start()
        background = [asyncio.create_task(self._pump(lane)) for lane in MAIL_LANES]
        background += [asyncio.create_task(work()) for work in (self._renew, self._look, self._try_suspects)]
        sharing = asyncio.create_task(self.board.run())
        await stop.wait()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        renewing = asyncio.create_task(self._renew())
        sends = self._dispatcher.sends
        if sends:
            _, unfinished = await asyncio.wait(sends, timeout=drain)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self._dispatcher.join()
        for task in (renewing, sharing):
            task.cancel()
        await asyncio.gather(renewing, sharing, return_exceptions=True)
        await self.board.leave()

    async def _pump(self, lane: Lane) -> None:
        state = self._lanes[lane]
        pause = 0.1
        while True:
            if not state.hints and not state.look:
                state.bell.clear()
                await state.bell.wait()
            room = await self._room(lane, min(len(state.hints) or _BATCH, _BATCH))
            # A claim once begun is seen through: what it takes would otherwise wait for its lease to end.
            claiming = self._loop.create_task(self._claim(lane, state, room))
            try:
                await asyncio.shield(claiming)
                pause = 0.1
                if len(state.hints) < _WORTHWHILE:
                    await asyncio.sleep(LINGER)
            except asyncio.CancelledError:
                await asyncio.wait([claiming])
                raise
            except Exception as error:
                facts.fault("claim", error, lane=lane.value)
                state.look = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    async def _room(self, lane: Lane, wanted: int) -> int:
        """How many mails to claim: at least one, and more when a moment's wait makes room for more."""
        free = await self._slots.wait(lane, 1)
        if free < min(wanted, _WORTHWHILE):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_MOMENT):
                    await self._slots.wait(lane, min(wanted, _WORTHWHILE))
            free = await self._slots.wait(lane, 1)
        return min(free, wanted)

    async def _claim(self, lane: Lane, state: _LaneState, count: int) -> None:
        """Claim up to `count` mails and start sending them; the claim is committed before any send."""
        lease = self._settings.lease
        self._slots.take(count)
        moment = time.monotonic()
        try:
            if state.hints:
                ids = [state.hints.popleft() for _ in range(min(count, len(state.hints)))]
                mails = await self._database.look_and_write_soon(
                    partial(deliveries.look, message_ids=ids),
                    lambda connection, seen: deliveries.claim(
                        connection, ids, now=now(), lease=lease, seen=seen
                    ),
                )
            else:
                state.look = False
                mails = await self._database.write_soon(
                    deliveries.claim_due, lane.value, limit=count, now=now(), lease=lease, last=state.turn
                )
                if sum(len(mail.claims) + mail.withheld for mail in mails) >= count:
                    state.look = True
            if mails:
                await self._start(mails, moment)
        finally:
            self._slots.give(count)

    async def _start(self, mails: Sequence[ClaimedMail], claimed: float) -> list[asyncio.Task[None]]:
        for mail in mails:
            mail.renewed = claimed
            self._hold(mail, mail, mail.claims)
        try:
            return await self._dispatcher.start(mails)
        finally:
            for mail in mails:
                self._let_go(mail)

    async def _try_suspects(self) -> None:
        """One after the other, those that a worker vanished with. If it happens again, it is clear who did it."""
        while True:
            await self._suspicion.wait()
            self._suspicion.clear()
            more = True
            while more:
                claiming = self._loop.create_task(self._claim_suspect())
                try:
                    sends = await asyncio.shield(claiming)
                    await asyncio.wait(sends) if sends else None
                    more = bool(sends)
                except asyncio.CancelledError:
                    await asyncio.wait([claiming])
                    raise
                except Exception as error:
                    facts.fault("suspect", error)
                    more = False

    async def _claim_suspect(self) -> list[asyncio.Task[None]]:
        moment = time.monotonic()
        mails = await self._database.write(deliveries.claim_suspect, now=now(), lease=self._settings.lease)
        return await self._start(mails, moment) if mails else []

    def _hold(self, what: object, mail: ClaimedMail, claims: Sequence[Claim]) -> None:
        self._in_hand[id(what)] = _InHand(mail, claims)

    def _let_go(self, what: object) -> None:
        self._in_hand.pop(id(what), None)

    async def _renew(self) -> None:
        """Keep what is still being sent ours; a slow provider must not make another worker send it again."""
        every = self._settings.lease / 3
        while True:
            await asyncio.sleep(every)
            moment = time.monotonic()
            # All parts of a mail together: they share its time.
            held = [one for one in self._in_hand.values() if moment - one.mail.renewed >= every]
            if not held:
                continue
            try:
                until = now() + timedelta(seconds=self._settings.lease)
                claims = [claim for one in held for claim in one.claims]
                await self._database.write(deliveries.renew, claims, until=until)
            except Unavailable:
                continue
            for one in held:
                one.mail.renewed = moment

    async def _look(self) -> None:
        """Find due mail without being told, so that a lost wake-up or an absent queue server costs seconds."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                for lane in await self._database.read(deliveries.due_lanes, now=now()):
                    self._woken(Lane(lane), ())
            except Unavailable:
                continue
