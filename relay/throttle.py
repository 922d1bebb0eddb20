"""Failed logins, counted over all processes, so that guessing ends soon wherever it is tried.

Counts live in the queue server and vanish after a while. While that server is away each process goes by what it has
seen itself: guessing must not become free because a server is down, nor honest logins impossible.
"""

import hashlib
import time
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

#: names counted in one process; the least recently counted are forgotten first
_MAX_NAMES = 20_000
#: seconds for which the queue server is left alone after it has failed us
_AWAY = 5.0
#: seconds for which an address that has logged in may go on as that user although others guess at the user
_TRUST = 24 * 3600


class Throttle:
    """Counts failed logins by address and by user name, and says when there were too many.

    An address that has lately logged in as a user is not held by that user's lock: guessing at a name from elsewhere
    must not keep its owner out.
    """

    def __init__(
        self, *, failures: int, lock: float, url: str | None = None, namespace: str = "pillarbox"
    ) -> None:
        """`failures` within `lock` seconds lock a name until these are over. Without `url` nobody else is asked."""
        self._failures = failures
        self._lock = max(1, round(lock))
        self._prefix = f"{namespace}:login:"
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._trusted: OrderedDict[str, float] = OrderedDict()
        self._away_until = 0.0
        self._client: Any = (
            redis.asyncio.Redis.from_url(
                url.replace("valkey://", "redis://", 1),
                retry=Retry(NoBackoff(), 0),
                socket_connect_timeout=1,
                socket_timeout=1,
            )
            if url
            else None
        )

    async def locked(self, address: str, user: str) -> bool:
        """Whether nobody may try to log in as `user` from `address` now."""
        names = _names(address, user)
        counts = [self._count(name) for name in names]
        trusted = self._trusted.get(names[2], 0.0) > time.monotonic()
        answer = await self._ask("mget", [self._prefix + name for name in names])
        if answer is not None:
            counts = [max(mine, int(theirs or 0)) for mine, theirs in zip(counts, answer, strict=True)]
            trusted = trusted or answer[2] is not None
        return counts[0] >= self._failures or (counts[1] >= self._failures and not trusted)

    async def failed(self, address: str, user: str) -> int:
        """Count a failure; returns how many there were of this address."""
        now = time.monotonic()
        names = _names(address, user)[:2]
        for name in names:
            self._seen[name] = (self._count(name) + 1, self._expiry(name, now))
            self._seen.move_to_end(name)
        while len(self._seen) > _MAX_NAMES:
            self._seen.popitem(last=False)
        answer = await self._ask("incr", names)
        return max(self._count(names[0]), int(answer[1]) if answer else 0)

    async def succeeded(self, address: str, user: str) -> None:
        """Remember that the user's key is known at this address."""
        pair = _names(address, user)[2]
        now = time.monotonic()
        if self._trusted.get(pair, 0.0) > now + _TRUST / 2:
            return
        self._trusted[pair] = now + _TRUST
        while len(self._trusted) > _MAX_NAMES:
            self._trusted.popitem(last=False)
        await self._ask("set", [self._prefix + pair])

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _count(self, name: str) -> int:
        count, until = self._seen.get(name, (0, 0.0))
        return count if until > time.monotonic() else 0

    def _expiry(self, name: str, now: float) -> float:
        _, until = self._seen.get(name, (0, 0.0))
        return until if until > now else now + self._lock

    async def _ask(self, what: str, names: list[str]) -> Any:
        """The queue server's answer, or None while it is away."""
        if self._client is None or time.monotonic() < self._away_until:
            return None
        try:
            if what == "mget":
                return await self._client.mget(names)
            if what == "set":
                return await self._client.set(names[0], 1, ex=_TRUST)
            async with self._client.pipeline(transaction=True) as pipeline:
                for name in names:
                    # The end of the count is set with its beginning.
                    pipeline.set(self._prefix + name, 0, ex=self._lock, nx=True).incr(self._prefix + name)
                return await pipeline.execute()
        except (RedisError, OSError):
            self._away_until = time.monotonic() + _AWAY
            return None


def _names(address: str, user: str) -> list[str]:
    """What is counted: the address, the user, and the two together."""
    # User names are up to the client, who might have put the key there.
    who = hashlib.sha256(user.lower().encode("utf-8", "replace")).hexdigest()[:16]
    where = block(address)
    return [f"address:{where}", f"user:{who}", f"both:{where}:{who}"]


def block(address: str) -> str:
    """What counts as one client's address: an IPv4 address, or the /64 that an IPv6 client has to itself."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)
