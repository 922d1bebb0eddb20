"""How much each provider is given, as the engine does it with workers side by side, on both databases."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from providers.memory import Memory
from relay.core.clock import now
from relay.core.provider import Outcome, OutcomeKind, Outgoing, Receipt
from relay.core.reply import Reply
from relay.store import circuits, messages
from tests.workers.scene import Scene, not_at_midnight, playing

pytestmark = pytest.mark.anyio


def began(days_ago: int) -> str:
    return f"{datetime.now(UTC).date() - timedelta(days=days_ago)}"


@pytest.mark.parametrize(("days_ago", "expected"), [(-1, 0), (0, 5), (1, 12), (2, 20)])
async def test_a_warm_up_gives_each_day_its_share_and_spills_the_rest(
    database_url: str, days_ago: int, expected: int
) -> None:
    await not_at_midnight()
    limits = {"fresh": {"warmup": {"start": began(days_ago), "daily": [5, 12]}}}
    async with playing(database_url, use="failover(fresh, old)", routing={"limits": limits}) as scene:
        ids = await scene.deliver(20)
        await scene.until(lambda: scene.settled(ids))
        assert (len(scene.taken("fresh")), len(scene.taken("old"))) == (expected, 20 - expected)
        # What it spills is no failure: every mail went at its first try.
        assert {attempts for one in ids for _, _, attempts in await scene.states(one)} == {1}


async def test_workers_share_a_warm_up(database_url: str) -> None:
    await not_at_midnight()
    limits = {"fresh": {"warmup": {"start": began(0), "daily": [10]}}}
    async with playing(
        database_url, use="failover(fresh, old)", workers=3, routing={"limits": limits}
    ) as scene:
        ids = await scene.deliver(60)
        await scene.until(lambda: scene.settled(ids))
        assert 1 <= len(scene.taken("fresh")) <= 10
        assert len(scene.taken("fresh")) + len(scene.taken("old")) == 60


async def test_alone_a_warm_up_has_the_rest_wait_for_the_next_day(database_url: str) -> None:
    await not_at_midnight()
    limits = {"fresh": {"warmup": {"start": began(0), "daily": [3]}}}
    async with playing(database_url, use="fresh", routing={"limits": limits}) as scene:
        await scene.deliver(8)

        async def waiting() -> bool:
            return (await scene.database.read(circuits.waiting)).get("fresh") == 5

        await scene.until(waiting)
        assert len(scene.taken("fresh")) == 3


class Crowded(Memory):
    """Remembers how many mails for each domain were in hand at once."""

    def __init__(self, name: str) -> None:
        super().__init__(name, {})
        self.most: Counter[str] = Counter()
        self._now: Counter[str] = Counter()

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        domains = [one.address.partition("@")[2] for mail in batch for one in mail.recipients]
        self._now.update(domains)
        for domain in domains:
            self.most[domain] = max(self.most[domain], self._now[domain])
        try:
            await asyncio.sleep(0.02)
            return await super().send(batch)
        finally:
            self._now.subtract(domains)


@pytest.mark.parametrize("per_domain", [4, None])
async def test_places_for_a_domain_are_shared_by_the_workers(
    database_url: str, per_domain: int | None
) -> None:
    limits = {"a": {"per_domain": per_domain}} if per_domain else {}
    async with playing(database_url, use="a", workers=2, routing={"limits": limits}) as scene:
        await scene.until(lambda: all(engine.fleet.workers == 2 for engine in scene.engines))
        crowded = Crowded("a")
        for engine in scene.engines:
            # Before any mail: everything goes by the one that counts.
            engine.fleet.ways["a"].provider = crowded
        big = await scene.deliver(40, "big.example")
        other = await scene.deliver(3, "other.example")
        await scene.until(lambda: scene.settled(big + other))
        assert len(crowded.delivered) == 43
        assert (crowded.most["big.example"] <= 4) is (per_domain == 4)


class Strict(Memory):
    """A vendor that answers 429 above `rate` mails a second, with a second's worth at once."""

    def __init__(self, name: str, rate: float) -> None:
        super().__init__(name, {})
        self._rate, self._tokens, self._at = rate, rate, now()
        self.throttled = 0

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        moment = now()
        earned = (moment - self._at).total_seconds() * self._rate
        self._tokens, self._at = min(self._tokens + earned, self._rate), moment
        if self._tokens + 0.5 < len(batch):
            self.throttled += 1
            reply = Reply(451, "4.7.1", "429 too many requests")
            too_fast = Outcome(OutcomeKind.THROTTLED, reply, retry_after=60, scope="account")
            return [(too_fast,) * len(mail.recipients) for mail in batch]
        self._tokens -= len(batch)
        return await super().send(batch)


@pytest.mark.parametrize("rate", ["40/s", None])
async def test_mail_spills_before_the_vendor_says_429(database_url: str, rate: str | None) -> None:
    limits = {"a": {"rate": rate}} if rate else {}
    async with playing(database_url, use="failover(a, b)", routing={"limits": limits}) as scene:
        strict = Strict("a", 40)
        scene.engine.fleet.ways["a"].provider = strict
        ids = [one for _ in range(6) for one in await scene.deliver(40)]
        if rate is not None:
            await scene.until(lambda: scene.settled(ids))
            assert (strict.throttled, len(strict.delivered) + len(scene.taken("b"))) == (0, 240)
            assert len(scene.taken("b")) > 0
            return
        # Left to find out, it is told once or so, and gives it nothing more for as long as the vendor asked.
        await scene.until(lambda: strict.throttled)
        told = strict.throttled
        late = await scene.deliver(20, "late.example")
        await scene.until(lambda: scene.settled(late))
        assert {address for address in scene.taken("b") if "late" in address}
        assert not [one for _, one in strict.delivered if "late" in one.address]
        assert strict.throttled >= told


class Spent(Memory):
    """A vendor whose account has sent all that it may today."""

    def __init__(self, name: str) -> None:
        super().__init__(name, {})
        self.asked = 0

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        self.asked += len(batch)
        words = Reply(451, "4.7.1", "429 daily_quota_exceeded")
        spent = Outcome(OutcomeKind.THROTTLED, words, retry_after=3600, scope="quota")
        return [(spent,) * len(mail.recipients) for mail in batch]


async def test_a_quota_that_the_vendor_says_is_spent_is_left_alone_and_others_are_asked(
    database_url: str,
) -> None:
    async with playing(database_url, use="failover(a, b)") as scene:
        spent = Spent("a")
        scene.engine.fleet.ways["a"].provider = spent
        ids = await scene.deliver(5)
        await scene.until(lambda: scene.settled(ids))
        asked = spent.asked
        assert asked
        ids += await scene.deliver(20, "late.example")
        await scene.until(lambda: scene.settled(ids))
        assert (spent.asked, len(scene.taken("b"))) == (asked, 25)
        # Nobody waits for tomorrow, and it costs no try.
        assert {attempts for one in ids for _, _, attempts in await scene.states(one)} == {1}


async def test_a_mail_keeps_its_share_through_all_its_tries(database_url: str) -> None:
    async with playing(database_url, use="weighted(a: 3, b: 1)", workers=2) as scene:
        ids = await _twice(scene, 80)
        shares: Counter[str] = Counter()
        for one in ids:
            timeline = await scene.database.read(messages.timeline, one)
            assert [line["kind"] for line in timeline] == ["deferred", "sent"]
            (name,) = {line["provider"] for line in timeline}
            shares[name] += 1
        # Ids differ from run to run: all of 80 by one of them would be a wonder (3 in 10 to the 10).
        assert shares["a"] > shares["b"] > 0
        assert shares["a"] + shares["b"] == 80


async def _twice(scene: Scene, count: int) -> list[int]:
    """Mails that every provider puts off once."""
    later = Outcome(OutcomeKind.RETRY, Reply(450, "4.2.1", "mailbox busy"))
    for provider in scene.providers.values():
        for number in range(count):
            provider.answer(f"{number}@x.example", later, "accepted")
    ids = await scene.deliver(count)

    async def done() -> Any:
        scene.wake()
        return await scene.settled(ids)

    await scene.until(done)
    return ids
