"""Failover in a worker: who gets the mail when a provider will not, cannot or must not have it, on both databases."""

import asyncio
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from providers.memory import Memory
from relay.core.clock import now
from relay.core.provider import Outcome, OutcomeKind
from relay.core.reply import Reply
from relay.core.status import State
from relay.routing import Tolerance
from relay.store import circuits, deliveries, messages, recovery, tables
from tests.workers.scene import PATIENT, Scene, not_at_midnight, playing, setup_of

pytestmark = pytest.mark.anyio

DEAD = Outcome(OutcomeKind.RETRY, Reply(451, "4.4.1", "no connection: connection refused"))
LATER = Outcome(OutcomeKind.RETRY, Reply(450, "4.2.1", "mailbox busy"))
LOST = Outcome(OutcomeKind.AMBIGUOUS, Reply(451, "4.4.2", "the connection was lost after the data was sent"))
DENIED = Outcome(OutcomeKind.CONFIG, Reply(535, "5.7.8", "wrong credentials"))
GOOD = Outcome(OutcomeKind.ACCEPTED, Reply(250, "2.0.0", "kept"))

QUICK = {"tolerance": Tolerance(failures=3, pause=0.3, longest_pause=0.3)}


def all_say(provider: Memory, outcome: Outcome | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider as a whole answers like this from now on; None lets it work again."""
    if outcome is None:
        monkeypatch.undo()
        return

    async def send(batch: Any) -> Any:
        provider.sent.extend(batch)
        return [(outcome,) * len(mail.recipients) for mail in batch]

    monkeypatch.setattr(provider, "send", send)


async def switches(scene: Scene, identifier: int) -> list[dict[str, Any]]:
    timeline = await scene.database.read(messages.timeline, identifier)
    return [line["detail"] for line in timeline if line["kind"] == "switched"]


async def shared(scene: Scene, name: str = "a") -> circuits.Shared:
    known = await scene.database.read(circuits.states)
    # An engine that has only just begun has not named its providers yet.
    return known.get(name) or circuits.Shared(name)


async def test_config_goes_to_the_next_within_the_same_try(database_url: str, monkeypatch) -> None:
    async with playing(database_url, use="failover(a, b)") as scene:
        all_say(scene.providers["a"], DENIED, monkeypatch)
        (one,) = await scene.deliver(1)
        await scene.until(lambda: scene.settled([one]))
        assert await scene.states(one) == [("done", "SENT", 1)]
        assert await scene.kinds(one) == ["switched", "sent"]
        assert await switches(scene, one) == [{"from": "a", "to": "b", "why": "config"}]
        assert len(scene.providers["a"].sent) == 1


async def test_rejected_and_ambiguous_never_switch(database_url: str) -> None:
    async with playing(database_url, use="failover(a, b)", ambiguous="at_least_once") as scene:
        scene.provider.answer("0@x.example", "rejected")
        scene.provider.answer("1@x.example", LOST, LOST, "retry", "retry", "retry", "retry", "accepted")
        no, lost = await scene.deliver(2)

        async def done() -> bool:
            scene.wake()
            return await scene.settled([no, lost])

        await scene.until(done)
        assert scene.providers["b"].sent == []
        assert await scene.states(no) == [("done", "BOUNCED", 1)]
        assert await scene.states(lost) == [("done", "SENT", 7)]


async def test_retries_at_one_provider_end_and_the_next_one_gets_it(database_url: str) -> None:
    async with playing(database_url, use="failover(a, b)", routing={"switch_after": 2}) as scene:
        scene.provider.answer("0@x.example", LATER)
        (one,) = await scene.deliver(1)

        async def done() -> bool:
            scene.wake()
            return await scene.settled([one])

        await scene.until(done)
        assert await scene.states(one) == [("done", "SENT", 3)]
        assert await scene.kinds(one) == ["deferred", "deferred", "switched", "sent"]
        assert (await switches(scene, one))[0]["why"] == "retries"
        # The recipient's own 4xx says nothing about the provider.
        assert not (await shared(scene)).is_open


async def test_a_dead_provider_opens_its_circuit_for_all_workers_and_comes_back(
    database_url: str, monkeypatch
) -> None:
    async with playing(database_url, use="failover(a, b)", workers=2, routing=QUICK) as scene:
        all_say(scene.providers["a"], DEAD, monkeypatch)
        ids = await scene.deliver(30)

        async def done() -> bool:
            scene.wake()
            return await scene.settled(ids)

        await scene.until(done)
        assert sorted(scene.taken("b")) == sorted(f"{n}@x.example" for n in range(30))

        async def known() -> bool:
            return all(engine.fleet.standings["a"].shared.is_open for engine in scene.engines)

        await scene.until(known)
        asked = len(scene.providers["a"].sent)
        all_say(scene.providers["a"], None, monkeypatch)

        async def closed() -> bool:
            await scene.deliver(1, "probe.example")
            return not (await shared(scene)).is_open

        await scene.until(closed)
        assert len(scene.providers["a"].sent) > asked
        await scene.until(lambda: all(e.fleet.standings["a"].clear for e in scene.engines))
        last = await scene.deliver(5, "after.example")
        await scene.until(lambda: scene.settled(last))
        assert set(scene.taken("a")) >= {f"{n}@after.example" for n in range(5)}


async def test_one_probe_at_a_time_while_it_is_dead(database_url: str, monkeypatch) -> None:
    async with playing(database_url, use="failover(a, b)", workers=2, routing=QUICK) as scene:
        all_say(scene.providers["a"], DEAD, monkeypatch)
        await scene.until(lambda: scene.settled(()))
        ids = await scene.deliver(20)

        async def opened() -> bool:
            scene.wake()
            return (await shared(scene)).is_open and await scene.settled(ids)

        await scene.until(opened)
        # A worker that has not heard of it yet goes on by its own count.
        await scene.until(lambda: all(e.fleet.standings["a"].shared.is_open for e in scene.engines))
        before = len(scene.providers["a"].sent)
        openings = (await shared(scene)).openings

        async def probed() -> bool:
            nonlocal ids
            ids += await scene.deliver(3, f"{len(ids)}.example")
            return (await shared(scene)).openings >= openings + 2

        await scene.until(probed)
        state = await shared(scene)
        # Every probe is one mail, and every one of them opened the circuit again.
        assert 2 <= len(scene.providers["a"].sent) - before <= state.openings - openings + 1
        await scene.until(lambda: scene.settled(ids))
        assert len(scene.taken("b")) == len(ids)


async def test_with_nowhere_else_to_go_mail_waits_and_goes_as_soon_as_it_can(
    database_url: str, monkeypatch
) -> None:
    # A probe is made when the test says so: before, it could be one of the second mails that fails.
    slowly = {"tolerance": Tolerance(failures=3, pause=3600, longest_pause=3600)}
    async with playing(database_url, use="a", routing=slowly, **PATIENT) as scene:
        all_say(scene.providers["a"], DEAD, monkeypatch)
        first = await scene.deliver(10)
        await scene.until(lambda: scene.engine.fleet.standings["a"].shared.is_open)
        second = await scene.deliver(10, "y.example")

        async def waiting() -> bool:
            return sum((await scene.database.read(circuits.waiting)).values()) >= 15

        await scene.until(waiting)
        all_say(scene.providers["a"], None, monkeypatch)
        over = tables.provider_state.update().values(open_until=now())
        await scene.database.write(lambda connection: connection.execute(over))
        # Those that failed before the circuit opened wait for their own time, an hour here.
        released = [one for one in first + second if (await _row(scene, one))["waiting_for"]] or second
        await scene.until(lambda: scene.settled(released + second))
        assert {attempts for one in second for _, _, attempts in await scene.states(one)} == {1}


async def _row(scene: Scene, identifier: int) -> dict[str, Any]:
    return (await scene.database.read(messages.recipients, identifier))[0]


async def test_a_paused_provider_gets_nothing_until_it_is_resumed(database_url: str) -> None:
    async with playing(database_url, use="a") as scene:
        await scene.database.write(circuits.set_mode, "a", circuits.Mode.PAUSED, now=now())
        await scene.until(lambda: not scene.engine.fleet.standings["a"].clear)
        ids = await scene.deliver(10)

        async def waiting() -> bool:
            return await scene.database.read(circuits.waiting) == {"a": 10}

        await scene.until(waiting)
        assert scene.providers["a"].sent == []
        await scene.database.write(circuits.set_mode, "a", circuits.Mode.ACTIVE, now=now())
        await scene.until(lambda: scene.settled(ids))
        assert {attempts for one in ids for _, _, attempts in await scene.states(one)} == {1}


async def test_a_draining_provider_repeats_what_is_unclear_and_takes_nothing_new(database_url: str) -> None:
    async with playing(database_url, use="failover(a, b)", **PATIENT) as scene:
        scene.provider.answer("0@x.example", LOST, GOOD)
        (unclear,) = await scene.deliver(1)

        async def once() -> bool:
            return await scene.kinds(unclear) == ["ambiguous"]

        await scene.until(once)
        await scene.database.write(circuits.set_mode, "a", circuits.Mode.DRAINING, now=now())
        await scene.until(lambda: not scene.engine.fleet.standings["a"].clear)
        (new,) = await scene.deliver(1, "new.example")
        await scene.come_due(unclear)
        await scene.until(lambda: scene.settled([unclear, new]))
        assert (scene.taken("a"), scene.taken("b")) == (["0@x.example"], ["0@new.example"])


async def test_a_hanging_provider_starves_nobody(database_url: str) -> None:
    rules = [{"when": {"recipient_domain": "slow.example"}, "use": "a"}]
    async with playing(
        database_url, use="failover(b, a)", routing={"rules": rules}, concurrency=8, urgent_reserve=1
    ) as scene:
        scene.providers["a"].gate.clear()
        slow = await scene.deliver(40, "slow.example")
        await scene.until(lambda: len(scene.providers["a"].sent) >= 6)
        quick = await scene.deliver(40, "quick.example")
        await scene.until(lambda: scene.settled(quick))
        assert scene.taken("a") == []
        assert len(scene.providers["a"].sent) == 6
        scene.providers["a"].gate.set()
        await scene.until(lambda: scene.settled(slow))
        assert len(scene.taken("a")) == 40


async def test_places_for_each_domain(database_url: str) -> None:
    limits = {"a": {"per_domain": 2}}
    async with playing(database_url, use="a", routing={"limits": limits}) as scene:
        scene.provider.gate.clear()
        big = await scene.deliver(10, "big.example")
        other = await scene.deliver(2, "other.example")
        await scene.until(lambda: len(scene.provider.sent) >= 4)
        domains = Counter(one.recipients[0].address.partition("@")[2] for one in scene.provider.sent)
        assert domains == {"big.example": 2, "other.example": 2}
        scene.provider.gate.set()
        await scene.until(lambda: scene.settled(big + other))


async def test_a_quota_spills_to_the_next_and_is_shared(database_url: str) -> None:
    await not_at_midnight()
    limits = {"a": {"quota": "10/month"}}
    async with playing(database_url, use="failover(a, b)", workers=2, routing={"limits": limits}) as scene:
        ids = await scene.deliver(40)
        await scene.until(lambda: scene.settled(ids))
        assert len(scene.taken("a")) + len(scene.taken("b")) == 40
        assert 1 <= len(scene.taken("a")) <= 10
        assert await switches(scene, ids[-1]) == []


async def test_a_rate_spills_to_the_next(database_url: str) -> None:
    limits = {"a": {"rate": "5/day"}}
    async with playing(database_url, use="failover(a, b)", routing={"limits": limits}) as scene:
        ids = await scene.deliver(10)
        await scene.until(lambda: scene.settled(ids))
        assert (len(scene.taken("a")), len(scene.taken("b"))) == (1, 9)


async def test_a_rate_alone_lets_mail_out_in_time(database_url: str) -> None:
    limits = {"a": {"rate": "20/s"}}
    async with playing(database_url, use="a", routing={"limits": limits}) as scene:
        ids = await scene.deliver(50)
        await scene.until(lambda: scene.settled(ids))
        assert {attempts for one in ids for _, _, attempts in await scene.states(one)} == {1}


async def test_what_a_provider_refuses_goes_to_one_that_can(database_url: str, monkeypatch) -> None:
    async with playing(database_url, use="failover(a, b)") as scene:
        picky, broad = (scene.engine.fleet.ways[name] for name in "ab")
        monkeypatch.setattr(picky, "_refuses", lambda mail: "no attachments")
        (one,) = await scene.deliver(1)
        await scene.until(lambda: scene.settled([one]))
        assert (scene.providers["a"].sent, scene.taken("b")) == ([], ["0@x.example"])
        monkeypatch.setattr(broad, "_refuses", lambda mail: "nor here")
        (two,) = await scene.deliver(1, "two.example")
        await scene.until(lambda: scene.settled([two]))
        assert (await scene.states(two))[0][:2] == ("done", "BOUNCED")
        assert "no provider can take the mail; b: nor here" in (await _row(scene, two))["reply"]


async def test_recipients_of_one_mail_may_take_different_ways(database_url: str) -> None:
    rules = [{"when": {"recipient_domain": "b.example"}, "use": "b"}]
    async with playing(database_url, use="failover(a, b)", routing={"rules": rules}) as scene:
        stored = await scene.store("1@a.example", "2@b.example", "3@a.example")
        scene.engine.wake("normal", [stored.id])
        await scene.until(lambda: scene.settled([stored.id]))
        assert (scene.taken("a"), scene.taken("b")) == (["1@a.example", "3@a.example"], ["2@b.example"])
        assert len(scene.providers["a"].sent) == 1


async def test_rules_ask_for_accounts_by_name(database_url: str) -> None:
    rules = [{"when": {"account": "default"}, "use": "b"}]
    async with playing(database_url, use="failover(a, b)", routing={"rules": rules}) as scene:
        (one,) = await scene.deliver(1)
        await scene.until(lambda: scene.settled([one]))
        assert scene.taken("b") == ["0@x.example"]


async def test_swapped_in_mid_flight_the_old_one_finishes_and_is_closed(database_url: str) -> None:
    async with playing(database_url, use="a") as scene:
        old, new = scene.provider, Memory("a", {})
        old.gate.clear()
        before = await scene.deliver(5)
        await scene.until(lambda: len(old.sent) == 5)
        scene.engine.swap(setup_of({"a": new}, "a", changed=["a"]))
        after = await scene.deliver(5, "y.example")
        await scene.until(lambda: scene.settled(after))
        assert (len(new.delivered), old.closed) == (5, False)
        old.gate.set()
        await scene.until(lambda: old.closed)
        await scene.until(lambda: scene.settled(before))
        assert len(old.delivered) == 5


async def test_mail_for_a_provider_that_is_gone_takes_another(database_url: str) -> None:
    async with playing(database_url, use="a") as scene:
        await scene.database.write(circuits.set_mode, "a", circuits.Mode.PAUSED, now=now())
        await scene.until(lambda: not scene.engine.fleet.standings["a"].clear)
        ids = await scene.deliver(5)

        async def waiting() -> bool:
            return await scene.database.read(circuits.waiting) == {"a": 5}

        await scene.until(waiting)
        other = Memory("b", {})
        scene.engine.swap(setup_of({"b": other}, "b"))
        await scene.until(lambda: scene.settled(ids))
        assert len(other.delivered) == 5


async def test_suspects_are_tried_one_at_a_time(database_url: str) -> None:
    async with playing(database_url) as scene:
        scene.provider.gate.clear()
        ids = await scene.abandoned(*(f"{n}@x.example" for n in range(6)))
        scene.wake()
        await scene.until(lambda: scene.provider.sent)
        assert await scene.database.write(deliveries.claim, ids, now=now(), lease=30) == []
        await asyncio.sleep(0.1)
        assert len(scene.provider.sent) == 1
        scene.provider.gate.set()
        await scene.until(lambda: scene.settled(ids))
        assert Counter(scene.taken("out")) == {f"{n}@x.example": 1 for n in range(6)}


async def test_a_suspect_whose_try_came_to_an_end_is_none_any_more(database_url: str) -> None:
    async with playing(database_url, **PATIENT) as scene:
        scene.provider.answer("0@x.example", "retry", "accepted")
        (stored,) = await scene.abandoned("0@x.example")
        scene.wake()

        async def cleared() -> bool:
            (row,) = await scene.database.read(messages.recipients, stored)
            return row["attempts"] == 2 and row["crashes"] == 0

        await scene.until(cleared)
        await scene.come_due(stored)
        await scene.until(lambda: scene.settled([stored]))


async def test_what_takes_everything_down_with_it_is_found_and_parked(database_url: str) -> None:
    """Everything ends at once, again and again, while one mail is in hand; others come and go."""
    async with playing(database_url) as scene:
        scene.stop.set()
        ids = [(await scene.store(f"{n}@x.example")).id for n in range(4)]
        write = scene.database.write
        for _ in range(3):
            await write(deliveries.claim, ids, now=now(), lease=30)
            assert await write(recovery.reclaim, now=now(), poison_after=3) == 4
        assert await write(deliveries.claim, ids, now=now(), lease=30) == []
        deadly, *others = ids
        for _ in range(2):
            while (await write(deliveries.claim_suspect, now=now(), lease=30))[0].id != deadly:
                pass
            for one in others:
                # Their own tries have ended meanwhile.
                await write(ended, one)
            assert await write(recovery.reclaim, now=now(), poison_after=3) == 1
        assert await scene.kinds(deadly) == ["parked"]
        assert await scene.states(deadly) == [("parked", "ACCEPTED", 5)]


def ended(connection: sa.Connection, message_id: int) -> None:
    recipient = tables.recipient
    connection.execute(
        recipient.update().where(recipient.c.message_id == message_id).values(state=State.DONE, due_at=None)
    )


async def test_a_suspect_in_hand_takes_all_the_blame(database_url: str) -> None:
    async with playing(database_url) as scene:
        scene.stop.set()
        ids = [(await scene.store(f"{n}@x.example")).id for n in range(6)]
        write = scene.database.write
        await write(deliveries.claim, ids[:1], now=now(), lease=-1)
        await write(recovery.recover, now=now(), poison_after=3)
        crashes = []
        for _ in range(2):
            await write(deliveries.claim, ids, now=now(), lease=-1)
            await write(deliveries.claim_suspect, now=now(), lease=-1)
            found = await write(recovery.recover, now=now(), poison_after=3)
            crashes.append(sorted((one.crashes, one.parked) for one in found))
        assert crashes == [[(0, False)] * 5 + [(2, False)], [(0, False)] * 5 + [(3, True)]]
