"""The ways out of this worker: each configured provider with its circuit, its limits and what it has in hand."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from relay.core.clock import now
from relay.core.provider import Outcome, OutcomeKind, Outgoing, Provider
from relay.core.return_path import ReturnPaths
from relay.observe import facts as log
from relay.routing import Block, Breaker, Facts, Meter, Router, Tolerance, Why, is_fault
from relay.sections import ProviderLimits
from relay.store.circuits import Mode, Shared

#: seconds that a provider which asked us to slow down is left alone, unless it said for how long
_SLOW_DOWN = 5.0
_LONGEST_SLOW_DOWN = 300.0
#: seconds after which a provider whose quota is spent is tried again, at the latest
_LONGEST_QUOTA = 3_600.0


class Probe(Enum):
    """What one worker has to do with the trial of an open circuit."""

    NONE = auto()
    WANTED = auto()  #: mail is here that would try it
    READY = auto()  #: ours: the next mail tries it
    OUT = auto()  #: that mail is on its way


class Standing:
    """What is known about one provider, by name; outlives changes of the configuration.

    The shared state is a copy of the record's, at most a second old; what this worker finds out goes into its copy
    at once and into the record as soon as may be.
    """

    def __init__(self, name: str, tolerance: Tolerance, changed: Callable[[], None]) -> None:
        self.name = name
        self.shared = Shared(name)
        self.breaker = Breaker(tolerance)
        self.probe = Probe.NONE
        #: what the record has not been told yet: a reason to open, or None to close
        self.news: list[str | None] = []
        self._changed = changed

    @property
    def clear(self) -> bool:
        return self.shared.mode is Mode.ACTIVE and not self.shared.is_open

    def block(self, *, pinned: bool) -> Block | None:
        """What the operator or the circuit have against giving it a mail."""
        shared = self.shared
        if shared.mode is Mode.PAUSED:
            return Block(Why.PAUSED, "it is paused")
        if shared.mode is Mode.DRAINING and not pinned:
            return Block(Why.DRAINING, "it is being drained")
        if not shared.is_open or self.probe is Probe.READY:
            return None
        left = (shared.open_until - now()).total_seconds() if shared.open_until else 0.0
        if left <= 0 and self.probe is Probe.NONE:
            self.probe = Probe.WANTED
            self._changed()
        return Block(Why.CIRCUIT, f"its circuit is open: {shared.reason}", max(left, 0.0))

    def answered(self, outcome: Outcome, *, fault: bool, probing: bool) -> None:
        """Take an answer into account; a fault speaks against the provider."""
        if self.shared.is_open:
            if probing:
                self.probe = Probe.NONE
                self.open(str(outcome.reply)) if fault else self.close()
        elif self.breaker.report(fault=fault, at=time.monotonic()):
            self.open(str(outcome.reply))

    def open(self, reason: str) -> None:
        moment = now()
        pauses = self.breaker.tolerance.pauses
        pause = pauses[min(self.shared.openings, len(pauses) - 1)]
        again = self.shared.is_open
        self.shared = replace(
            self.shared,
            circuit="open",
            circuit_at=self.shared.circuit_at if again else moment,
            open_until=moment + timedelta(seconds=pause),
            openings=self.shared.openings + 1,
            reason=reason,
        )
        if not again:
            log.circuit_opened(self.name, reason, pause)
        self.news.append(reason)
        self._changed()

    def close(self) -> None:
        if self.shared.is_open:
            log.circuit_closed(self.name)
        self.shared = replace(
            self.shared, circuit="closed", circuit_at=now(), open_until=None, openings=0, reason=None
        )
        self.probe = Probe.NONE
        self.breaker.reset()
        self.news.append(None)
        self._changed()


class Way:
    """One provider instance, shared by everything this worker sends by it."""

    def __init__(
        self, provider: Provider, standing: Standing, meter: Meter, released: Callable[[], None]
    ) -> None:
        self.provider = provider
        self.name = provider.name
        self.standing = standing
        self.meter = meter
        self._released = released
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()
        self._refuses = getattr(provider, "refuses", None)
        self.by_domain = meter.limits.per_domain is not None
        #: makes the return paths of its mail; None where mail keeps its sender's
        self.return_paths: ReturnPaths | None = None
        #: makes the envelope ids of mail that keeps its sender's return path
        self.envids: ReturnPaths | None = None

    def lead_home(self, paths: ReturnPaths | None) -> None:
        """Have bounces of its mail come home by `paths`, so far as its settings and the provider allow."""
        can = self.provider.capabilities
        wanted = self.meter.limits.return_path
        ours = can.envelope_sender and (wanted == "bounce" or (wanted is None and not can.events))
        self.return_paths = paths if ours else None
        self.envids = paths if can.envelope_sender and not ours else None

    def block(self, facts: Facts, *, pinned: bool) -> Block | None:
        if not self.standing.clear:
            found = self.standing.block(pinned=pinned)
            if found is not None:
                return found
        meter = self.meter
        return meter.block(facts.recipient_domain if self.by_domain else "", urgent=facts.lane == "urgent")

    def take(self, domain: str) -> bool:
        """One recipient is to go; returns whether it is the circuit's probe."""
        self.meter.take(domain)
        self._users += 1
        self._unused.clear()
        if self.standing.probe is Probe.READY and self.standing.shared.is_open:
            self.standing.probe = Probe.OUT
            log.circuit_probed(self.name)
            return True
        return False

    def give(self, domain: str) -> None:
        self.meter.give(domain)
        self._users -= 1
        if not self._users:
            self._unused.set()
        if self.meter.in_hand <= self.meter.places // 2:
            self._released()

    def not_probed(self) -> None:
        """The probe did not reach the provider; another mail may be it."""
        if self.standing.probe is Probe.OUT:
            self.standing.probe = Probe.READY

    def answered(self, outcome: Outcome, *, probing: bool) -> None:
        if outcome.kind is OutcomeKind.THROTTLED and outcome.scope in {None, "account", "provider", "quota"}:
            longest = _LONGEST_QUOTA if outcome.spent else _LONGEST_SLOW_DOWN
            self.meter.hold(min(outcome.retry_after or _SLOW_DOWN, longest))
        fault = is_fault(outcome) and not self.provider.capabilities.direct
        self.standing.answered(outcome, fault=fault, probing=probing)

    def refuses(self, mail: Outgoing) -> str | None:
        """Why the mail cannot be said to this provider at all."""
        can = self.provider.capabilities
        if can.max_bytes is not None and len(mail.raw) > can.max_bytes:
            return f"the mail has {len(mail.raw)} octets, and it takes {can.max_bytes}"
        if not can.smtputf8 and (mail.smtputf8 or not mail.sender.isascii()):
            return "the mail needs SMTPUTF8"
        return self._refuses(mail) if self._refuses is not None else None

    async def retire(self) -> None:
        """Close it once everything that was given to it has been answered."""
        await self._unused.wait()
        await self.provider.aclose()


@dataclass(frozen=True, slots=True)
class Setup:
    """What a configuration comes to: providers by name with their limits, and routes."""

    providers: Mapping[str, Provider]
    limits: Mapping[str, ProviderLimits]
    router: Router
    tolerance: Tolerance = field(default_factory=Tolerance)
    #: names whose options differ from those of the setup before
    changed: frozenset[str] = frozenset()
    #: tells one configuration from another
    digest: str = ""
    #: makes return paths; None while bounces do not come home
    return_paths: ReturnPaths | None = None


class Fleet:
    """The ways of the setup in force. Swapped as a whole; what is on its way keeps the way it was given."""

    def __init__(
        self,
        setup: Setup,
        *,
        concurrency: int,
        changed: Callable[[], None] = lambda: None,
        released: Callable[[], None] = lambda: None,
    ) -> None:
        self._concurrency = concurrency
        self._changed = changed
        self._released = released
        self.standings: dict[str, Standing] = {}
        self.workers = 1
        self.ways: dict[str, Way] = {}
        self.retiring: set[asyncio.Task[None]] = set()
        self.setup = setup
        self._enter(setup)

    @property
    def router(self) -> Router:
        return self.setup.router

    def _enter(self, setup: Setup) -> None:
        ways: dict[str, Way] = {}
        for name, provider in setup.providers.items():
            standing = self.standings.get(name)
            if standing is None:
                standing = self.standings[name] = Standing(name, setup.tolerance, self._changed)
            standing.breaker.tolerance = setup.tolerance
            limits = setup.limits.get(name) or ProviderLimits()
            old = self.ways.get(name)
            if old is not None and old.provider is provider and old.meter.limits == limits:
                old.lead_home(setup.return_paths)
                ways[name] = old
                continue
            shared = self._concurrency if len(setup.providers) == 1 else max(self._concurrency * 3 // 4, 1)
            meter = Meter(limits, limits.concurrency or shared, time.monotonic)
            meter.shared_by(self.workers)
            ways[name] = Way(provider, standing, meter, self._released)
            ways[name].lead_home(setup.return_paths)
        self.setup = setup
        self.ways = ways

    def swap(self, setup: Setup) -> None:
        """Use another setup from now on; providers it has no use for are closed when they are done."""
        before = self.ways
        self._enter(setup)
        kept = {id(way.provider) for way in self.ways.values()}
        for way in before.values():
            if id(way.provider) not in kept:
                task = asyncio.get_running_loop().create_task(self._retire(way))
                self.retiring.add(task)
                task.add_done_callback(self.retiring.discard)
        for name in setup.changed:
            standing = self.standings.get(name)
            if standing is not None and standing.shared.is_open:
                # Somebody has mended it, perhaps; the circuit would know only after its pause.
                standing.close()
        self._changed()

    async def _retire(self, way: Way) -> None:
        try:
            await way.retire()
        except Exception as error:
            log.provider_bug(way.name, error)
        else:
            log.provider_closed(way.name)

    def circuits(self, name: str, facts: Facts, pinned: bool) -> Block | None:
        """For `Router.choose`."""
        way = self.ways.get(name)
        if way is None:
            return Block(Why.REMOVED, "it is not configured any more")
        return way.block(facts, pinned=pinned)

    def shared_by(self, workers: int) -> None:
        if workers != self.workers:
            self.workers = workers
            for way in self.ways.values():
                way.meter.shared_by(workers)

    def metered(self) -> Iterator[Way]:
        """Those with quotas now."""
        moment: datetime = now()
        return (way for way in self.ways.values() if way.meter.allowances(moment))

    async def aclose(self) -> None:
        if self.retiring:
            await asyncio.gather(*self.retiring, return_exceptions=True)
        for way in self.ways.values():
            await way.provider.aclose()
