"""The engine of a worker process: it turns wake-ups into claims, claims into sends, and outcomes into the record.

A wake-up costs nothing to take: its ids wait here until there is room, and what does not fit is left in the
record, where the lane's pump finds it later. The number of sends in flight is therefore the engine's choice and
has nothing to do with the number of Dramatiq threads.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from relay.config import DeliverySettings
from relay.core.clock import now
from relay.core.errors import Unavailable
from relay.core.event import EventKind
from relay.core.provider import (
    Outcome,
    OutcomeKind,
    Outgoing,
    OutgoingRecipient,
    Provider,
)
from relay.core.reply import Reply
from relay.core.status import MAIL_LANES, Lane, State
from relay.delivery.capacity import Memory, Slots
from relay.delivery.decide import Policy, decide
from relay.observe import facts
from relay.routing import Routes
from relay.store import deliveries
from relay.store.database import Database
from relay.store.deliveries import Claim, ClaimedMail, Settlement
from relay.store.writer import GroupWriter

#: mails claimed in one transaction at most
_BATCH = 100
#: a pump with much to do would rather claim this many at once than one by one
_WORTHWHILE = 32
#: seconds it waits for that; slow sends may keep their places for minutes
_MOMENT = 0.02
#: octets of bodies in one call of a provider that takes batches
_BATCH_OCTETS = 8 * 1024 * 1024
#: ids remembered per lane; beyond it the record is asked
_HINTS = 10_000
#: seconds that a busy engine waits before the next claim or settlement, for more to do at once
_LINGER = 0.004
#: octets from which a body is read by its own send instead of with its batch
_LARGE = 256 * 1024
#: seconds between looks at the record that do not depend on any wake-up
_LOOK = 5.0


@dataclass(slots=True)
class _LaneState:
    hints: deque[int] = field(default_factory=deque)
    #: the record may hold more than the hints name
    look: bool = True
    bell: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _InHand:
    claims: list[Claim]
    renewed: float


class Engine:
    """One per worker process. `wake` may be called from any thread; everything else from the loop."""

    def __init__(
        self,
        database: Database,
        providers: Mapping[str, Provider],
        routes: Routes,
        settings: DeliverySettings,
    ) -> None:
        self._database = database
        self._providers = providers
        self._routes = routes
        self._settings = settings
        self._policy = Policy(settings.retry.schedule(), settings.ambiguous == "at_most_once")
        self._slots = Slots(settings.concurrency, settings.urgent_reserve)
        self._memory = Memory(settings.memory)
        self._batch_octets = min(settings.memory // 8, _BATCH_OCTETS)
        self._lanes = {lane: _LaneState() for lane in MAIL_LANES}
        self._settler: GroupWriter[list[Settlement], None] = GroupWriter(self._settle, limit=200, linger=_LINGER)
        #: by the first claim of a mail: other recipients of it may be in other hands
        self._in_hand: dict[int, _InHand] = {}
        self._sends: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._stopping = False

    def wake(self, lane: str, ids: Sequence[int]) -> None:
        """A wake-up: these mails may be due; without ids, look at the lane. Thread-safe, never blocks."""
        with contextlib.suppress(RuntimeError):  # the loop is gone: the record keeps the mail
            self._loop.call_soon_threadsafe(self._woken, Lane(lane), ids)

    def _woken(self, lane: Lane, ids: Sequence[int]) -> None:
        state = self._lanes[lane]
        if ids and len(state.hints) + len(ids) <= _HINTS:
            state.hints.extend(ids)
        else:
            state.look = True
        state.bell.set()

    async def run(self, stop: asyncio.Event, *, drain: float) -> None:
        """Work until `stop` is set, then finish what is in hand within `drain` seconds."""
        background = [asyncio.create_task(self._pump(lane)) for lane in MAIL_LANES]
        background += [asyncio.create_task(self._renew()), asyncio.create_task(self._look())]
        await stop.wait()
        self._stopping = True
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        renewing = asyncio.create_task(self._renew())
        if self._sends:
            _, unfinished = await asyncio.wait(self._sends, timeout=drain)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self._settler.join()
        renewing.cancel()

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
                    await asyncio.sleep(_LINGER)
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
        started = 0
        try:
            if state.hints:
                ids = [state.hints.popleft() for _ in range(min(count, len(state.hints)))]
                mails = await self._database.write(deliveries.claim, ids, now=now(), lease=lease)
            else:
                state.look = False
                mails = await self._database.write(
                    deliveries.claim_due, lane.value, limit=count, now=now(), lease=lease
                )
                if sum(len(mail.claims) for mail in mails) >= count:
                    state.look = True
            if mails:
                started = len(mails)
                self._hold(mails)
                self._start(await self._bodies(mails), mails)
        finally:
            self._slots.give(count - started)

    def _hold(self, mails: Sequence[ClaimedMail]) -> None:
        moment = self._loop.time()
        for mail in mails:
            self._in_hand[mail.claims[0].id] = _InHand(mail.claims, moment)

    async def _bodies(self, mails: Sequence[ClaimedMail]) -> dict[int, bytes]:
        """The bodies of the small ones in one read; large ones are read when there is room for them."""
        small = [mail.id for mail in mails if mail.row["size"] < _LARGE]
        if not small:
            return {}
        try:
            return await self._database.read(deliveries.bodies, small)
        except Exception as error:
            # Each send then reads its own, and fails alone if it must.
            facts.fault("bodies", error)
            return {}

    def _start(self, bodies: Mapping[int, bytes], mails: Sequence[ClaimedMail]) -> None:
        groups: dict[str, list[ClaimedMail]] = {}
        for mail in mails:
            groups.setdefault(self._routes.choose(mail), []).append(mail)
        for name, group in groups.items():
            provider = self._providers[name]
            for batch in self._batches(group, provider.capabilities.batch_size):
                task = self._loop.create_task(self._send(provider, batch, bodies))
                self._sends.add(task)
                task.add_done_callback(self._sent)

    def _batches(self, mails: Sequence[ClaimedMail], size: int) -> Iterator[list[ClaimedMail]]:
        """Runs of at most `size` mails, cut short where their bodies grow large: a run is in memory whole."""
        batch: list[ClaimedMail] = []
        octets = 0
        for mail in mails:
            if batch and (len(batch) == size or octets + mail.row["size"] > self._batch_octets):
                yield batch
                batch, octets = [], 0
            batch.append(mail)
            octets += mail.row["size"]
        if batch:
            yield batch

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sends.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Unsettled claims run out, and the clock gives them to the next worker.
            facts.fault("send", error)

    async def _send(
        self, provider: Provider, mails: Sequence[ClaimedMail], bodies: Mapping[int, bytes]
    ) -> None:
        octets = sum(mail.row["size"] for mail in mails)
        await self._memory.take(octets)
        try:
            outgoing, owners = await self._outgoing(provider, mails, bodies)
            receipts = await self._receipts(provider, outgoing)
            settlements: list[Settlement] = []
            for mail, claims, receipt in zip(owners[0], owners[1], receipts, strict=True):
                for claim, outcome in zip(claims, receipt, strict=True):
                    settlements.append(self._decide(provider.name, mail, claim, outcome))
            if settlements:
                await asyncio.shield(self._settler.submit(settlements))
        finally:
            self._memory.give(octets)
            self._slots.give(len(mails))
            for mail in mails:
                self._in_hand.pop(mail.claims[0].id, None)

    async def _outgoing(
        self, provider: Provider, mails: Sequence[ClaimedMail], bodies: Mapping[int, bytes]
    ) -> tuple[list[Outgoing], tuple[list[ClaimedMail], list[Sequence[Claim]]]]:
        """What to send, and beside each entry the mail and the claims it answers for."""
        outgoing: list[Outgoing] = []
        owners: list[ClaimedMail] = []
        answered: list[Sequence[Claim]] = []
        step = provider.capabilities.max_recipients
        for mail in mails:
            raw = bodies.get(mail.id)
            if raw is None:
                raw = (await self._database.read(deliveries.bodies, [mail.id])).get(mail.id)
            if raw is None:
                await self._park(mail, "the stored mail is gone")
                continue
            for start in range(0, len(mail.claims), step):
                claims = mail.claims[start : start + step]
                outgoing.append(_outgoing(mail, claims, raw))
                owners.append(mail)
                answered.append(claims)
        return outgoing, (owners, answered)

    async def _receipts(self, provider: Provider, outgoing: Sequence[Outgoing]) -> list[tuple[Outcome, ...]]:
        receipts: list[tuple[Outcome, ...]] = []
        size = provider.capabilities.batch_size
        for start in range(0, len(outgoing), size):
            batch = outgoing[start : start + size]
            try:
                receipts.extend(await provider.send(batch))
            except Exception as error:
                facts.provider_bug(provider.name, error)
                failed = Outcome(OutcomeKind.RETRY, Reply(451, "4.3.0", "the provider adapter failed"))
                receipts.extend(tuple(failed for _ in one.recipients) for one in batch)
        return receipts

    def _decide(self, provider: str, mail: ClaimedMail, claim: Claim, outcome: Outcome) -> Settlement:
        settlement = decide(
            claim,
            outcome,
            provider=provider,
            accepted_at=mail.row["accepted_at"],
            now=now(),
            policy=self._policy,
        )
        if settlement.kind is EventKind.SENT:
            facts.sent(mail.id, claim.address, provider, claim.attempts, settlement.reply)
        elif settlement.kind is EventKind.BOUNCED:
            facts.bounced(mail.id, claim.address, provider, claim.attempts, settlement.reply)
        elif settlement.kind is EventKind.PARKED:
            facts.parked(mail.id, claim.id, settlement.reply)
        else:
            facts.deferred(
                mail.id, claim.address, provider, claim.attempts, settlement.reply, settlement.due_at
            )
        if outcome.kind is OutcomeKind.CONFIG:
            facts.provider_misconfigured(provider, settlement.reply)
        return settlement

    async def _park(self, mail: ClaimedMail, reason: str) -> None:
        for claim in mail.claims:
            facts.parked(mail.id, claim.id, reason)
        settlements = [
            Settlement(claim, State.PARKED, None, EventKind.PARKED, now(), reason, provider="")
            for claim in mail.claims
        ]
        await asyncio.shield(self._settler.submit(settlements))

    async def _settle(self, groups: Sequence[list[Settlement]]) -> Sequence[None]:
        """Record outcomes. What a provider has done cannot be asked again, so this tries until it is written."""
        settlements = [settlement for group in groups for settlement in group]
        pause = 0.1
        while True:
            try:
                for stale in await self._database.write(deliveries.settle, settlements):
                    facts.stale(stale.claim.message_id, stale.claim.id)
                return [None] * len(groups)
            except Unavailable as error:
                facts.fault("settle", error, waiting=len(settlements))
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)

    async def _renew(self) -> None:
        """Keep what is still being sent ours; a slow provider must not make another worker send it again."""
        every = self._settings.lease / 3
        while True:
            await asyncio.sleep(every)
            moment = self._loop.time()
            held = [one for one in self._in_hand.values() if moment - one.renewed >= every]
            if not held:
                continue
            try:
                until = now() + timedelta(seconds=self._settings.lease)
                claims = [claim for one in held for claim in one.claims]
                await self._database.write(deliveries.renew, claims, until=until)
            except Unavailable:
                continue
            for one in held:
                one.renewed = moment

    async def _look(self) -> None:
        """Find due mail without being told, so that a lost wake-up or an absent queue server costs seconds."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                for lane in await self._database.read(deliveries.due_lanes, now=now()):
                    self._woken(Lane(lane), ())
            except Unavailable:
                continue


def _outgoing(mail: ClaimedMail, claims: Sequence[Claim], raw: bytes) -> Outgoing:
    row = mail.row
    return Outgoing(
        message_id=mail.id,
        sender=row["sender"],
        recipients=tuple(
            OutgoingRecipient(claim.id, claim.address, claim.attempts, claim.notify, claim.orcpt)
            for claim in claims
        ),
        raw=raw,
        smtputf8=row["smtputf8"],
        eight_bit=row["eight_bit"],
        ret=row["ret"],
        envid=row["envid"],
        tag=row["tag"],
        metadata=row["metadata"],
        accepted_at=row["accepted_at"],
    )
