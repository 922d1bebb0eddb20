"""How much may be in hand at once: mails in flight, with some kept for urgent ones, and octets in memory."""

import asyncio
from collections import deque

from relay.core.status import Lane


class Slots:
    """Counts mails in flight. The urgent lane may use all `total`; the others leave `reserve` free."""

    def __init__(self, total: int, reserve: int) -> None:
        self.total = total
        self._limit = {lane: total if lane is Lane.URGENT else total - reserve for lane in Lane}
        self.used = 0
        self._waiters: dict[Lane, tuple[int, asyncio.Future[None]]] = {}

    def free(self, lane: Lane) -> int:
        return self._limit[lane] - self.used

    async def wait(self, lane: Lane, wanted: int) -> int:
        """Wait until `wanted` slots are free for the lane (one waiter per lane); returns how many are."""
        wanted = min(wanted, self._limit[lane])
        while self.free(lane) < wanted:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters[lane] = (wanted, future)
            try:
                await future
            finally:
                self._waiters.pop(lane, None)
        return self.free(lane)

    def take(self, count: int) -> None:
        self.used += count

    def give(self, count: int) -> None:
        self.used -= count
        for lane, (wanted, future) in self._waiters.items():
            if self.free(lane) >= wanted and not future.done():
                future.set_result(None)


class Memory:
    """Counts octets of bodies held. One mail larger than the whole budget is let through alone."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._used = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, octets: int) -> None:
        if self._waiters or not self._fits(octets):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((octets, future))
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self.give(octets)
                else:
                    self._waiters.remove((octets, future))
                raise
            return
        self._used += octets

    def give(self, octets: int) -> None:
        self._used -= octets
        while self._waiters and self._fits(self._waiters[0][0]):
            wanted, future = self._waiters.popleft()
            if not future.done():
                self._used += wanted
                future.set_result(None)

    def _fits(self, octets: int) -> bool:
        return self._used + octets <= self._budget or self._used == 0
