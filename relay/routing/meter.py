"""How much a provider may be given now: a bucket for its rate, a stock for its quotas, places for its concurrency."""

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from relay.core.clock import now
from relay.core.limits import Quota, Window, parse_quota, parse_rate
from relay.routing.choice import Block, Why
from relay.sections import ProviderLimits

#: seconds without any answer from a provider whose places are all taken before its mail may go elsewhere
STALL = 5.0
#: tokens of a second from which on one of them is kept for urgent mail
_SEVERAL = 4.0
#: seconds in which no more than a second's worth goes, whatever has been saved up before
_SECOND = 1.0


class Bucket:
    """Tokens that come back at `rate` a second, of which this worker gets one `share`-th.

    Up to a second's worth is saved up, but within any second no more than that is spent: saved up and coming back
    together would be twice what a vendor allows. It begins with one token, since the worker before this one may
    have spent all of its own a moment ago.
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._at = clock()
        self._taken: deque[float] = deque()
        self._tokens = 1.0
        self.share = 1

    @property
    def _depth(self) -> float:
        """A second's worth at once, and never less than one."""
        return max(self._rate / self.share, 1.0)

    @property
    def floor(self) -> float:
        """Tokens from which on others than urgent mail may go: where there are several a second, one is kept."""
        return 2.0 if self._depth >= _SEVERAL else 1.0

    def level(self) -> float:
        """The tokens that can be spent now."""
        moment = self._clock()
        self._tokens = min(self._tokens + (moment - self._at) * self._rate / self.share, self._depth)
        self._at = moment
        while self._taken and self._taken[0] <= moment - _SECOND:
            self._taken.popleft()
        return min(self._tokens, math.ceil(self._depth) - len(self._taken))

    def take(self) -> None:
        self._tokens -= 1
        self._taken.append(self._clock())

    def seconds_to(self, tokens: float) -> float:
        """How long until so many can be spent, if none is spent before."""
        level = self.level()
        earned = (tokens - self._tokens) * self.share / self._rate
        leaving = math.ceil(tokens - math.ceil(self._depth) + len(self._taken))
        freed = self._taken[leaving - 1] + _SECOND - self._at if 0 < leaving <= len(self._taken) else 0.0
        return 0.0 if level >= tokens else max(earned, freed, 0.0)


@dataclass(slots=True)
class Stock:
    """What this worker has set aside of one quota's current period."""

    period: str = ""
    count: int = 0
    #: the record had nothing left
    empty: bool = False


@dataclass(slots=True)
class Meter:
    """The state of one provider's limits in this worker. `clock` is monotonic, in seconds."""

    limits: ProviderLimits
    places: int
    clock: Callable[[], float]
    in_hand: int = 0
    domains: Counter[str] = field(default_factory=Counter)
    stocks: dict[Window, Stock] = field(default_factory=dict)
    held_until: float = 0.0
    answered: float = 0.0
    share: int = 1
    bucket: Bucket | None = None
    quota: Quota | None = None

    #: has anything but places; the common case has not
    simple: bool = False

    def __post_init__(self) -> None:
        limits = self.limits
        self.simple = not (limits.rate or limits.quota or limits.per_domain or limits.warmup)
        if self.limits.rate is not None:
            self.bucket = Bucket(parse_rate(self.limits.rate), self.clock)
        self.quota = parse_quota(self.limits.quota) if self.limits.quota is not None else None
        self.answered = self.clock()

    def shared_by(self, workers: int) -> None:
        """Rates and domains' places are split evenly among the workers alive."""
        self.share = max(workers, 1)
        if self.bucket is not None:
            self.bucket.share = self.share

    @property
    def domain_places(self) -> int | None:
        limit = self.limits.per_domain
        return None if limit is None else max(limit // self.share, 1)

    def allowances(self, moment: datetime) -> dict[Window, int]:
        """The limits in force at `moment`, by the window they count in."""
        found: dict[Window, int] = {}
        if self.quota is not None:
            found[self.quota.window] = self.quota.limit
        if self.limits.warmup is not None:
            today = self.limits.warmup.ramp().today(moment)
            if today is not None:
                found[Window.DAY] = min(today, found.get(Window.DAY, today))
        return found

    @property
    def kept(self) -> int:
        """Of the places, how many are left free for urgent mail."""
        return self.places // 8

    def block(self, domain: str, *, urgent: bool = True) -> Block | None:
        """What keeps one more recipient out now, if anything does."""
        places = self.places if urgent else self.places - self.kept
        if self.simple and not self.held_until and self.in_hand < places:
            return None
        if self.held_until:
            left = self.held_until - self.clock()
            if left > 0:
                return Block(Why.RATE, "it asked us to slow down", left)
            self.held_until = 0.0
        if self.bucket is not None:
            needed = 1.0 if urgent else self.bucket.floor
            if self.bucket.level() < needed:
                left = self.bucket.seconds_to(needed)
                return Block(Why.RATE, f"its rate of {self.limits.rate} is reached", left)
        if self.quota is not None or self.limits.warmup is not None:
            moment = now()
            for window in self.allowances(moment):
                stock = self.stocks.get(window)
                if stock is None or stock.count < 1 or stock.period != window.key(moment):
                    left = (window.end(moment) - moment).total_seconds()
                    return Block(Why.QUOTA, f"its quota of this {window.value} is used up", left)
        if self.in_hand >= places:
            if self.clock() - self.answered > STALL:
                return Block(
                    Why.STALLED, f"{self.in_hand} mails in hand and no answer for {STALL:.0f} s", 1.0
                )
            return Block(Why.BUSY, f"all {places} places are taken", 1.0)
        if self.limits.per_domain is not None and self.domains[domain] >= (self.domain_places or 1):
            return Block(Why.DOMAIN, f"all {self.domain_places} places for {domain} are taken", 1.0)
        return None

    def take(self, domain: str) -> None:
        """One recipient goes to the provider."""
        if self.bucket is not None:
            self.bucket.take()
        for stock in self.stocks.values():
            stock.count -= 1
        if not self.in_hand:
            self.answered = self.clock()
        self.in_hand += 1
        if self.limits.per_domain is not None:
            self.domains[domain] += 1

    def give(self, domain: str) -> None:
        """Its answer is here, or it did not go after all."""
        self.in_hand -= 1
        self.answered = self.clock()
        if self.limits.per_domain is not None:
            self.domains[domain] -= 1
            if not self.domains[domain]:
                del self.domains[domain]

    def hold(self, seconds: float) -> None:
        """The provider itself asks for a pause."""
        self.held_until = max(self.held_until, self.clock() + seconds)

    def room(self) -> int:
        """How many recipients could go now, for letting waiting ones in."""
        free = self.places - self.in_hand
        if self.bucket is not None:
            free = min(free, int(self.bucket.level()))
        return 0 if self.held_until > self.clock() else max(free, 0)
