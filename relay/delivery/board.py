"""Where workers learn from one another: circuits, the operator's word, quotas, and mail that waits.

One task keeps this worker's copy of the record's state fresh and tells the record what this worker has found out.
Sends never wait for it.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta

from relay.core.clock import now
from relay.core.errors import RelayError
from relay.delivery.ways import Fleet, Probe, Standing, Way
from relay.observe import facts as log
from relay.routing.meter import Stock
from relay.store import circuits
from relay.store.circuits import Mode, Shared
from relay.store.database import Database
from relay.store.fairness import Turn

#: seconds between looks at the record, and between two of them that something calls for
_LOOK = 1.0
_SOON = 0.02
#: seconds between signs of life, and after which a worker without one is taken for dead
_BEAT = 5.0
ALIVE = 15.0
#: seconds for which a probe is ours before it has to be renewed
_PROBE = 10.0
#: seconds between looks at everything that waits
_ROOMS = 15.0
#: recipients let out of the waiting room at once, at most
_MANY = 500
#: fewer than these are not worth a transaction each time one place is free
_FEW = 16


class Board:
    """One per worker. `wake` is called with the lanes of mail that has become due."""

    def __init__(
        self,
        database: Database,
        fleet: Fleet,
        *,
        rooms: set[str],
        nudge: asyncio.Event,
        wake: Callable[[str], None],
    ) -> None:
        self.owner = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._database = database
        self._fleet = fleet
        self._nudge = nudge
        self._wake = wake
        #: keys of mail that waits, as far as this worker knows
        self.rooms = rooms
        self._let: dict[str, float] = {}
        #: whose mail was let in last, by key and lane
        self._turns: dict[str, defaultdict[str, Turn]] = {}
        self._rooms_looked = 0.0
        self._looked = -_LOOK
        self._beaten = -_BEAT
        self._said: object = None
        self._probed: dict[str, float] = {}
        self._reload_asked: datetime | None = None
        self._trouble = False
        self.on_reload: Callable[[], None] = lambda: None

    def waits(self, key: str) -> None:
        """Mail has been put back to wait for this."""
        self.rooms.add(key)

    async def start(self) -> None:
        """The first look, before anything is sent. The record being away is no reason not to start."""
        with contextlib.suppress(RelayError):
            await self._database.write(circuits.ensure, list(self._fleet.ways))
            await self._refresh()
            await self._beat()
            for way in self._fleet.metered():
                await self.stock_up(way, 1)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(_LOOK - (loop.time() - self._looked), _SOON)):
                    await self._nudge.wait()
            self._nudge.clear()
            try:
                await self._turn(loop.time())
                self._trouble = False
            except Exception as error:
                # Without the record nothing is claimed either; once is enough to say so.
                if not self._trouble:
                    log.fault("board", error)
                self._trouble = True
                await asyncio.sleep(_LOOK)
            await asyncio.sleep(_SOON)

    async def _turn(self, moment: float) -> None:
        for standing in list(self._fleet.standings.values()):
            if standing.news:
                await self._tell(standing)
        if moment - self._looked >= _LOOK:
            self._looked = moment
            await self._refresh()
            await self._beat()
        for standing in self._fleet.standings.values():
            if standing.shared.is_open and standing.name in self._fleet.ways:
                await self._probe(standing, moment)
        if moment - self._rooms_looked >= _ROOMS:
            self._rooms_looked = moment
            self.rooms |= set(await self._database.read(circuits.waiting))
        for key in list(self.rooms):
            await self._let_in(key)

    async def _tell(self, standing: Standing) -> None:
        """Write what this worker has found out; only the latest counts."""
        count = len(standing.news)
        reason = standing.news[-1]
        if reason is None:
            await self._database.write(circuits.close_circuit, standing.name, now=now())
            self.rooms.add(standing.name)
            told = None
        else:
            told = await self._database.write(
                circuits.open_circuit,
                standing.name,
                owner=self.owner,
                now=now(),
                pauses=standing.breaker.tolerance.pauses,
                reason=reason,
            )
        del standing.news[:count]
        if told is not None and not standing.news:
            standing.shared = told

    async def _refresh(self) -> None:
        since = now() - timedelta(seconds=ALIVE)
        seen = await self._database.read(circuits.snapshot, since=since)
        for name, standing in self._fleet.standings.items():
            if not standing.news:
                self._learn(standing, seen.states.get(name) or Shared(name))
        self._fleet.shared_by(max(seen.workers, 1))
        if self._reload_asked is None:
            self._reload_asked = seen.reload_asked or datetime.min.replace(tzinfo=now().tzinfo)
        elif seen.reload_asked is not None and seen.reload_asked > self._reload_asked:
            self._reload_asked = seen.reload_asked
            self.on_reload()

    def _learn(self, standing: Standing, new: Shared) -> None:
        old, standing.shared = standing.shared, new
        if new.is_open and not old.is_open:
            log.circuit_learned(new.name, "open", new.reason)
        elif old.is_open and not new.is_open:
            log.circuit_learned(new.name, "closed", None)
            standing.breaker.reset()
        if not new.is_open:
            standing.probe = Probe.NONE
        if new.mode is not old.mode:
            log.provider_mode(new.name, new.mode.value)
        if standing.clear and (old.is_open or old.mode is not Mode.ACTIVE):
            self.rooms.add(new.name)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        fleet = self._fleet
        in_hand = {name: way.meter.in_hand for name, way in fleet.ways.items() if way.meter.in_hand}
        quiet = {n: n in in_hand for n, s in fleet.standings.items() if s.shared.mode is not Mode.ACTIVE}
        saying = (fleet.setup.digest, quiet)
        if saying == self._said and loop.time() - self._beaten < _BEAT:
            return
        await self._database.write(
            circuits.beat,
            self.owner,
            now=now(),
            in_hand=in_hand,
            providers=sorted(fleet.ways),
            config=fleet.setup.digest,
        )
        self._said, self._beaten = saying, loop.time()

    async def _probe(self, standing: Standing, moment: float) -> None:
        """Take the right to try an open circuit when its time has come and there is mail to try it with."""
        shared = standing.shared
        if shared.mode is not Mode.ACTIVE or (shared.open_until is not None and shared.open_until > now()):
            return
        name = standing.name
        held = moment - self._probed.get(name, 0.0)
        if standing.probe is Probe.OUT:
            if held < _PROBE / 3:
                return
        elif standing.probe is Probe.READY:
            if held >= _PROBE:
                # No mail came; others may have some.
                standing.probe = Probe.NONE
            return
        elif standing.probe is Probe.NONE and name not in self.rooms:
            return
        taken = await self._database.write(
            circuits.take_probe, name, owner=self.owner, now=now(), lease=_PROBE
        )
        if not standing.shared.is_open:
            return
        if taken:
            self._probed[name] = moment
            if standing.probe is not Probe.OUT:
                standing.probe = Probe.READY
                await self._release(name, 1)
        elif standing.probe is not Probe.OUT:
            standing.probe = Probe.NONE

    async def _let_in(self, key: str) -> None:
        """Make waiting mail due as far as there is room for it."""
        name, _, domain = key.partition("/")
        way = self._fleet.ways.get(name)
        if way is None:
            # Nobody will ever take it by this name: it is to choose again.
            await self._release(key, _MANY)
            return
        if not way.standing.clear or (way.meter.in_hand > way.meter.places // 2 and not domain):
            return
        if way.meter.allowances(now()):
            await self.stock_up(way, 1)
        if way.meter.block(domain) is not None:
            return
        room, places = way.meter.room(), way.meter.places
        if domain and way.meter.domain_places is not None:
            places = way.meter.domain_places
            room = min(room, places - way.meter.domains[domain])
        moment = asyncio.get_running_loop().time()
        if room >= min(_FEW, max(places // 2, 1)) or (
            room > 0 and moment - self._let.get(key, 0.0) >= _LOOK / 2
        ):
            self._let[key] = moment
            await self._release(key, min(room, _MANY))

    async def _release(self, key: str, count: int) -> None:
        turns = self._turns.setdefault(key, defaultdict(Turn))
        lanes = await self._database.write(circuits.release, key, limit=count, now=now(), turns=turns)
        if len(lanes) < count:
            self.rooms.discard(key)
            self._turns.pop(key, None)
        for lane in set(lanes):
            self._wake(lane)

    async def stock_up(self, way: Way, need: int) -> None:
        """See to it that `need` recipients are within every quota, as far as the record has any left."""
        moment = now()
        for window, limit in way.meter.allowances(moment).items():
            stock = way.meter.stocks.get(window)
            period = window.key(moment)
            if stock is None or stock.period != period:
                stock = way.meter.stocks[window] = Stock(period)
            if stock.count >= need:
                continue
            granted = await self._database.write(
                circuits.reserve,
                way.name,
                period,
                limit=limit,
                wanted=max(2 * need, limit // 1000),
                share=max(self._fleet.workers, 1),
            )
            stock.count += granted

    async def leave(self) -> None:
        """The end: what was set aside goes back."""
        with contextlib.suppress(RelayError):
            for way in self._fleet.ways.values():
                for stock in way.meter.stocks.values():
                    if stock.count > 0:
                        await self._database.write(circuits.give_back, way.name, stock.period, stock.count)
            await self._database.write(circuits.leave, self.owner)
