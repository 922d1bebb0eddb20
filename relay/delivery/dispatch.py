"""From claimed to settled: choose a way for every recipient, send, and record what became of it."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from relay.core.clock import now
from relay.core.errors import Unavailable
from relay.core.event import EventKind
from relay.core.provider import Outcome, OutcomeKind, Outgoing
from relay.core.reply import Reply
from relay.core.status import State
from relay.delivery import hours
from relay.delivery.capacity import Memory, Slots
from relay.delivery.decide import Policy, decide
from relay.delivery.plan import Part, Planner, guarded, outgoing_of
from relay.delivery.ways import Fleet, Way
from relay.observe import facts as log
from relay.routing import Block, History, Plan, Why, is_fault
from relay.sections import DeliverySettings
from relay.store import deliveries, settling
from relay.store.database import Database
from relay.store.deliveries import Claim, ClaimedMail, HandBack
from relay.store.settling import Settlement
from relay.store.writer import GroupWriter

#: octets of bodies in one call of a provider that takes batches
_BATCH_OCTETS = 8 * 1024 * 1024
#: seconds that a busy engine waits before the next settlement, for more to do at once
LINGER = 0.025
#: octets from which a body is read by its own send instead of with its batch
LARGE = 256 * 1024

_BUG = Outcome(OutcomeKind.RETRY, Reply(451, "4.3.0", "the provider adapter failed"))


class Dispatcher:
    """`held` and `let_go` are told what is in hand, so that its claims can be renewed."""

    def __init__(
        self,
        database: Database,
        fleet: Fleet,
        settings: DeliverySettings,
        slots: Slots,
        *,
        held: Callable[[object, ClaimedMail, Sequence[Claim]], None],
        let_go: Callable[[object], None],
        waits: Callable[[str], None],
        stock_up: Callable[[Way, int], Coroutine[Any, Any, None]],
    ) -> None:
        self._database = database
        self._fleet = fleet
        self._policies = {
            word: Policy(settings.retry.schedule(), (word or settings.ambiguous) == "at_most_once")
            for word in (None, "at_least_once", "at_most_once")
        }
        self._policy = self._policies[None]
        self._lease = settings.lease
        self._slots = slots
        self._memory = Memory(settings.memory)
        self._planner = Planner(database, fleet, min(settings.memory // 8, _BATCH_OCTETS))
        self._settler: GroupWriter[list[Settlement], None] = GroupWriter(
            self._settle, limit=200, linger=LINGER
        )
        self._held, self._let_go = held, let_go
        self._waits = waits
        self._stock_up = stock_up
        self.sends: set[asyncio.Task[None]] = set()

    async def start(self, mails: Sequence[ClaimedMail]) -> list[asyncio.Task[None]]:
        """Send what was claimed. Returns once that has begun; the tasks end when all is settled."""
        bodies = await self._bodies(mails)
        histories = await self._planner.prepare(mails)
        for way in list(self._fleet.metered()):
            await guarded(self._stock_up(way, sum(len(mail.claims) for mail in mails)))
        parts: list[Part] = []
        waiting: list[HandBack] = []
        late: list[Settlement] = []
        for mail in mails:
            if (until := hours.quiet_until(mail, now())) is not None:
                waiting += [HandBack(claim, until) for claim in mail.claims]
                continue
            found, left = self._plan(mail, mail.claims, histories)
            parts += found
            for claim, plan in left:
                if self._given_up(mail, plan):
                    late.append(self._too_late(mail, claim, plan))
                else:
                    waiting.append(hours.bounded(mail, self._planner.waiting(claim, plan)))
        tasks = [self._task(self._send(batch, bodies)) for batch in self._planner.batches(parts)]
        if waiting:
            tasks.append(self._task(self._put_back(waiting)))
        if late:
            self._settler.submit(late)
        return tasks

    async def join(self) -> None:
        await self._settler.join()

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.sends.add(task)
        task.add_done_callback(self._sent)
        return task

    def _sent(self, task: asyncio.Task[None]) -> None:
        self.sends.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Unsettled claims run out, and the clock gives them to the next worker.
            log.fault("send", error)

    async def _bodies(self, mails: Sequence[ClaimedMail]) -> dict[int, bytes]:
        """The smallest came with their claims, others are read at once, large ones when there is room."""
        bodies = {mail.id: mail.body for mail in mails if mail.body is not None}
        more = [mail.id for mail in mails if mail.body is None and mail.row["size"] < LARGE]
        if more:
            # Where this fails each send reads its own, and fails alone if it must.
            bodies |= await guarded(self._database.read(deliveries.bodies, more)) or {}
        return bodies

    def _plan(
        self, mail: ClaimedMail, claims: Sequence[Claim], histories: Mapping[int, History], **more: Any
    ) -> tuple[list[Part], list[tuple[Claim, Plan]]]:
        """As the planner says, with slots taken for the parts."""
        parts, left = self._planner.plan(mail, claims, histories, **more)
        for part in parts:
            self._slots.take(1)
            self._held(part, part.mail, part.claims)
        return parts, left

    def _given_up(self, mail: ClaimedMail, plan: Plan) -> bool:
        """Whether the time is over in which a provider might have come back. A pause or a quota is our own doing."""
        if plan.block is None or plan.block.why not in {Why.CIRCUIT, Why.STALLED}:
            return False
        age = (now() - hours.timing(mail).began).total_seconds()
        return bool(age >= self._policy.schedule.give_up_after)

    def _too_late(self, mail: ClaimedMail, claim: Claim, plan: Plan) -> Settlement:
        words = plan.block.words if plan.block else ""
        name = plan.waits_for or ""
        settlement = decide(
            claim,
            Outcome(OutcomeKind.RETRY, Reply(451, "4.4.1", f"no provider could take it; {name}: {words}")),
            provider=name,
            accepted_at=hours.timing(mail).began,
            now=now(),
            policy=self._policy,
        )
        log.bounced(mail.id, claim.address, name, claim.attempts, settlement.reply)
        return settlement

    async def _put_back(self, returned: Sequence[HandBack]) -> None:
        pause = 0.1
        while True:
            try:
                await self._database.write(deliveries.hand_back, returned)
                break
            except Unavailable as error:
                log.fault("hand back", error, waiting=len(returned))
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
        for key in {one.waiting_for for one in returned if one.waiting_for is not None}:
            self._waits(key)

    # The send.

    async def _send(self, parts: Sequence[Part], bodies: Mapping[int, bytes]) -> None:
        """Send by one way; what has to go another way is sent by that before this returns."""
        octets = sum(part.mail.row["size"] for part in parts)
        elsewhere: list[Part] = []
        given = 0
        try:
            await self._memory.take(octets)
            given = octets
            outgoing, owners, refused = await self._outgoing(parts, bodies)
            settlements: list[Settlement] = []
            waiting: list[HandBack] = []
            for part, words in refused:
                self._refused(part, words, elsewhere, settlements, waiting)
            outgoing, owners = self._still_ours(outgoing, owners, waiting)
            receipts = await self._receipts(parts[0].way, outgoing) if outgoing else []
            self._judge(owners, receipts)
            for (part, claims), receipt in zip(owners, receipts, strict=True):
                again: list[tuple[Claim, Outcome]] = []
                for claim, outcome in zip(claims, receipt, strict=True):
                    if self._goes_elsewhere(part, outcome):
                        again.append((claim, outcome))
                    else:
                        settlements.append(self._decide(part, claim, outcome))
                if again:
                    self._again(part, again, elsewhere, settlements)
            if waiting:
                await self._put_back(waiting)
            if settlements:
                await self._settler.submit(settlements)
        finally:
            if given:
                self._memory.give(given)
            self._slots.give(len(parts))
            for part in parts:
                if part.probing:
                    part.way.not_probed()
                for claim in part.claims:
                    part.way.give(claim.address.rpartition("@")[2])
                self._let_go(part)
        if elsewhere:
            kept = {part.mail.id: bodies[part.mail.id] for part in elsewhere if part.mail.id in bodies}
            await asyncio.gather(*(self._send(batch, kept) for batch in self._planner.batches(elsewhere)))

    async def _outgoing(
        self, parts: Sequence[Part], bodies: Mapping[int, bytes]
    ) -> tuple[list[Outgoing], list[tuple[Part, Sequence[Claim]]], list[tuple[Part, str]]]:
        """What to send, beside each entry whom it answers for, and what cannot be said to the provider."""
        outgoing: list[Outgoing] = []
        owners: list[tuple[Part, Sequence[Claim]]] = []
        refused: list[tuple[Part, str]] = []
        for part in parts:
            way, mail = part.way, part.mail
            raw = bodies.get(mail.id)
            if raw is None:
                raw = (await self._database.read(deliveries.bodies, [mail.id])).get(mail.id)
            if raw is None:
                await self._park(part, "the stored mail is gone")
                continue
            whole = outgoing_of(mail, part.claims, raw, way)
            words = way.refuses(whole)
            if words is not None:
                refused.append((part, words))
                continue
            home = way.return_paths is not None and mail.row["sender"]
            step = 1 if home else way.provider.capabilities.max_recipients
            if len(part.claims) <= step:
                outgoing.append(whole)
                owners.append((part, part.claims))
                continue
            for start in range(0, len(part.claims), step):
                claims = part.claims[start : start + step]
                outgoing.append(outgoing_of(mail, claims, raw, way))
                owners.append((part, claims))
        return outgoing, owners, refused

    def _still_ours(
        self,
        outgoing: list[Outgoing],
        owners: list[tuple[Part, Sequence[Claim]]],
        waiting: list[HandBack],
    ) -> tuple[list[Outgoing], list[tuple[Part, Sequence[Claim]]]]:
        """Without what this process has slept over: after a lease others send it, and would not be alone."""
        since = time.monotonic() - self._lease
        if all(part.mail.renewed > since for part, _ in owners):
            return outgoing, owners
        kept = []
        for whole, (part, claims) in zip(outgoing, owners, strict=True):
            if part.mail.renewed > since:
                kept.append((whole, (part, claims)))
                continue
            for claim in claims:
                log.overslept(part.mail.id, claim.id)
                waiting.append(HandBack(claim, now()))
        return [whole for whole, _ in kept], [owner for _, owner in kept]

    async def _receipts(self, way: Way, outgoing: Sequence[Outgoing]) -> list[tuple[Outcome, ...]]:
        receipts: list[tuple[Outcome, ...]] = []
        size = way.provider.capabilities.batch_size
        for start in range(0, len(outgoing), size):
            batch = outgoing[start : start + size]
            try:
                started = time.monotonic()
                answers = await way.provider.send(batch)
                log.asked(way.name, time.monotonic() - started, zip(batch, answers, strict=True))
                receipts.extend(answers)
            except Exception as error:
                log.provider_bug(way.name, error)
                receipts.extend(tuple(_BUG for _ in one.recipients) for one in batch)
        return receipts

    def _judge(
        self, owners: Sequence[tuple[Part, Sequence[Claim]]], receipts: Sequence[tuple[Outcome, ...]]
    ) -> None:
        """Tell the circuit first: whether it is open decides what follows from these very outcomes."""
        for (part, _), receipt in zip(owners, receipts, strict=True):
            for outcome in receipt:
                part.way.answered(outcome, probing=part.probing)
                if outcome.kind is OutcomeKind.CONFIG:
                    log.provider_misconfigured(part.way.name, str(outcome.reply))

    def _goes_elsewhere(self, part: Part, outcome: Outcome) -> bool:
        """Whether another provider is to be asked within this try: nothing was sent, and this one is not able to."""
        if part.history.pinned is not None:
            return False
        if outcome.kind is OutcomeKind.CONFIG or outcome.spent:
            return True
        return outcome.kind is OutcomeKind.RETRY and part.way.standing.shared.is_open and is_fault(outcome)

    def _again(
        self,
        part: Part,
        again: Sequence[tuple[Claim, Outcome]],
        elsewhere: list[Part],
        settlements: list[Settlement],
    ) -> None:
        outcomes = {claim.id: outcome for claim, outcome in again}
        first = again[0][1]
        why = Why.CONFIG if first.kind is OutcomeKind.CONFIG else Why.QUOTA if first.spent else Why.CIRCUIT
        tried = {**part.tried, part.way.name: Block(why, str(first.reply))}
        histories = {claim.id: part.history for claim, _ in again}
        claims = [claim for claim, _ in again]
        found, left = self._plan(part.mail, claims, histories, tried=tried, switches=part.switches)
        elsewhere += found
        for claim, plan in left:
            settlements.append(self._decide(part, claim, outcomes[claim.id], plan.waits_for))

    def _refused(
        self,
        part: Part,
        words: str,
        elsewhere: list[Part],
        settlements: list[Settlement],
        waiting: list[HandBack],
    ) -> None:
        """The provider cannot be told this mail: another one, or else nobody, takes it."""
        tried = {**part.tried, part.way.name: Block(Why.REFUSES, words)}
        history = History(part.history.strikes, None, part.history.last)
        found, left = self._plan(
            part.mail,
            part.claims,
            dict.fromkeys((claim.id for claim in part.claims), history),
            tried=tried,
            switches=part.switches,
        )
        elsewhere += found
        for claim, plan in left:
            if plan.waits_for is not None:
                waiting.append(hours.bounded(part.mail, self._planner.waiting(claim, plan)))
                continue
            reply = Reply(554, "5.6.1", f"no provider can take the mail; {part.way.name}: {words}")
            settlements.append(self._decide(part, claim, Outcome(OutcomeKind.REJECTED, reply)))

    # The end.

    def _decide(self, part: Part, claim: Claim, outcome: Outcome, waits_for: str | None = None) -> Settlement:
        mail, provider = part.mail, part.way.name
        if waits_for is None and part.way.standing.shared.is_open and is_fault(outcome):
            # Once the provider is well again, this mail need not wait for its own time.
            waits_for = provider
        timing = hours.timing(mail)
        settlement = decide(
            claim,
            outcome,
            provider=provider,
            accepted_at=timing.began,
            now=now(),
            policy=self._policies[part.way.meter.limits.ambiguous],
            switches=part.switches,
            waiting_for=waits_for,
            reports=part.way.provider.capabilities.events,
        )
        if settlement.due_at is not None:
            settlement = replace(settlement, due_at=timing.due(settlement.due_at))
        age = (settlement.at - timing.began).total_seconds()
        log.tried(provider, mail.row["lane"], settlement.kind, age)
        if settlement.kind is EventKind.SENT:
            log.sent(mail.id, claim.address, provider, claim.attempts, settlement.reply)
        elif settlement.kind is EventKind.BOUNCED:
            log.bounced(mail.id, claim.address, provider, claim.attempts, settlement.reply)
        elif settlement.kind is EventKind.PARKED:
            log.parked(mail.id, claim.id, settlement.reply)
        else:
            log.deferred(
                mail.id, claim.address, provider, claim.attempts, settlement.reply, settlement.due_at
            )
        return settlement

    async def _park(self, part: Part, reason: str) -> None:
        for claim in part.claims:
            log.parked(part.mail.id, claim.id, reason)
        moment: datetime = now()
        settlements = [
            Settlement(claim, State.PARKED, EventKind.PARKED, moment, reason, provider="")
            for claim in part.claims
        ]
        await self._settler.submit(settlements)

    async def _settle(self, groups: Sequence[list[Settlement]]) -> Sequence[None]:
        """Record outcomes. What a provider has done cannot be asked again, so this tries until it is written."""
        settlements = [settlement for group in groups for settlement in group]
        pause = 0.1
        while True:
            try:
                for stale in await settling.record(self._database, settlements):
                    log.stale(stale.claim.message_id, stale.claim.id)
                for key in {one.waiting_for for one in settlements if one.waiting_for is not None}:
                    self._waits(key)
                return [None] * len(groups)
            except Unavailable as error:
                log.fault("settle", error, waiting=len(settlements))
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
