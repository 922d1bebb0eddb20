"""How often an account may send: counted in the queue server for all processes, here while that is away.

A window of one second opens with the first request; refused requests count. What arrives while one question is on its
way to the server goes with the next one, together, so that a busy door asks far less often than it is asked.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limits.aio.storage import RedisStorage
from limits.errors import StorageError

from relay.core.identity import Identity
from relay.observe import facts
from relay.store.writer import GroupWriter

#: seconds the queue server has to answer before this process counts by itself
_PATIENCE = 0.2
#: seconds until it is asked again
_PAUSE = 2.0
_WINDOW = 1
_DAY = 86_400
#: counters kept by this process
_MAX_LOCAL = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one request. `limit` 0 means that there is none, and the other numbers mean nothing."""

    limit: int
    remaining: int
    reset_seconds: int
    allowed: bool
    retry_after: float


UNLIMITED = Verdict(0, 0, 0, allowed=True, retry_after=0)


class RateLimiter:
    """One per process. `hit` never raises and never waits longer than the server's patience."""

    def __init__(self, url: str, *, per_second: int, namespace: str) -> None:
        """`url` as the queue's; `per_second` is the limit of an account, 0 for none."""
        self._per_second = per_second
        self._shared = RedisStorage(
            _storage_url(url),
            implementation="redispy",
            key_prefix=f"{namespace}:limit",
            wrap_exceptions=True,
            socket_timeout=_PATIENCE,
            socket_connect_timeout=_PATIENCE,
        )
        self._local = _LocalCounter()
        self._away_until = 0.0
        self._away = False
        self._hits: GroupWriter[tuple[str, int], int] = GroupWriter(self._count, limit=1000)

    async def hit(self, identity: Identity) -> Verdict:
        """Count one request to send, and say whether it may go on.

        A key with a limit of its own is counted by itself; all other keys of an account share the account's. A day
        (UTC) that has a quota counts only what the second let through.
        """
        own = identity.rate_limit
        limit = self._per_second if own is None else own
        verdict = UNLIMITED
        if limit:
            name = f"a{identity.account_id}" if own is None else f"k{identity.key_id}"
            count = await self._hits.submit((name, _WINDOW))
            verdict = Verdict(limit, max(0, limit - count), _WINDOW, count <= limit, _WINDOW)
        if identity.daily_quota is not None and verdict.allowed:
            return await self._hit_day(identity, identity.daily_quota, verdict)
        return verdict

    async def hit_day(self, identity: Identity) -> Verdict:
        """Count one more message of a request that `hit` has counted: only days count messages."""
        if identity.daily_quota is None:
            return UNLIMITED
        return await self._hit_day(identity, identity.daily_quota, UNLIMITED)

    async def _hit_day(self, identity: Identity, quota: int, verdict: Verdict) -> Verdict:
        day, passed = divmod(int(time.time()), _DAY)
        count = await self._hits.submit((f"d{identity.key_id}:{day}", _DAY))
        if count <= quota:
            return verdict
        return Verdict(quota, 0, _DAY - passed, allowed=False, retry_after=_DAY - passed)

    async def close(self) -> None:
        await self._hits.join()
        bridge: Any = self._shared.bridge
        await bridge.storage.aclose()

    async def _count(self, group: Sequence[tuple[str, int]]) -> Sequence[int]:
        """The count of each hit, in order."""
        amounts: dict[tuple[str, int], int] = {}
        for one in group:
            amounts[one] = amounts.get(one, 0) + 1
        totals = await self._totals(amounts)
        counts = []
        for one in group:
            counts.append(totals[one] - amounts[one] + 1)
            amounts[one] -= 1
        return counts

    async def _totals(self, amounts: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        if time.monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(2 * _PATIENCE):
                    found = await asyncio.gather(
                        *(self._shared.incr(name, seconds, by) for (name, seconds), by in amounts.items())
                    )
            except (StorageError, TimeoutError, OSError) as error:
                self._away_until = time.monotonic() + _PAUSE
                if not self._away:
                    self._away = True
                    facts.limits_unshared(error)
            else:
                if self._away:
                    self._away = False
                    facts.limits_shared()
                return dict(zip(amounts, found, strict=True))
        return {one: self._local.add(one, by) for one, by in amounts.items()}


class _LocalCounter:
    """The same windows, for this process alone."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, int], tuple[float, int]] = {}

    def add(self, one: tuple[str, int], amount: int) -> int:
        now = time.monotonic()
        ends, count = self._windows.get(one, (0.0, 0))
        if ends <= now:
            ends, count = now + one[1], 0
            if len(self._windows) >= _MAX_LOCAL:
                self._windows = {name: kept for name, kept in self._windows.items() if kept[0] > now}
        self._windows[one] = ends, count + amount
        return count + amount


def _storage_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    scheme = scheme.replace("valkey", "redis", 1)
    return f"async+redis+unix://{rest}" if scheme == "unix" else f"async+{scheme}://{rest}"
