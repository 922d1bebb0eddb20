"""Who goes next, as the engine does it: urgent mail before bulk, one account beside another, an operator's word."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from providers.memory import Memory
from relay.core.clock import now
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.provider import Outgoing, Receipt
from relay.core.status import Classification, Door
from relay.store import accounts, circuits, interventions, messages
from relay.store.backlog import Position, Selection
from relay.store.circuits import Mode
from relay.store.interventions import Action, Order
from tests.workers.scene import Scene, playing

pytestmark = pytest.mark.anyio


def mail(account: int, address: str, **fields: Any) -> Submission:
    return Submission(
        account_id=account,
        key_id=None,
        door=Door.REST,
        sender="news@example.org",
        recipients=[EnvelopeRecipient(address)],
        head=b"Subject: news\r\n\r\n",
        tail=MemoryTail(b"x\r\n"),
        from_="news@example.org",
        **fields,
    )


async def flood(scene: Scene, count: int, *, lane: str = "bulk", account: int | None = None) -> list[int]:
    """So many mails at once, and no wake-up."""
    mails = [
        mail(account or scene.account, f"{number}@flood.example", options={"lane": lane})
        for number in range(count)
    ]
    return [one.id for one in await scene.database.write(messages.insert, mails)]


class Stuck(Memory):
    """Answers for everything at once, but for the flood, which waits until it is `opened`."""

    def __init__(self, name: str) -> None:
        super().__init__(name, {})
        self.held = 0
        self.opened = asyncio.Event()

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        if any(one.address.endswith("@flood.example") for mail in batch for one in mail.recipients):
            self.held += len(batch)
            await self.opened.wait()
        return await super().send(batch)


@pytest.mark.parametrize("use", ["a", "failover(a, b)"])
async def test_an_urgent_mail_finds_a_place_whatever_bulk_holds(database_url: str, use: str) -> None:
    async with playing(database_url, use=use, concurrency=64, urgent_reserve=8) as scene:
        stuck = Stuck("a")
        scene.engine.fleet.ways["a"].provider = stuck
        if "b" in scene.providers:
            await scene.database.write(circuits.set_mode, "b", Mode.PAUSED, now=now())
            await scene.until(lambda: not scene.engine.fleet.standings["b"].clear)
        await flood(scene, 5000)
        scene.engine.wake("bulk", [])
        # All the places that bulk mail may have: less than all of the worker's, and of the provider's.
        most = 56 if use == "a" else 42
        await scene.until(lambda: stuck.held >= most)
        for number in range(3):
            otp = await scene.store(f"{number}@otp.example", classification=Classification.URGENT)
            scene.engine.wake("urgent", [otp.id])
            await scene.until(lambda otp=otp: scene.settled([otp.id]))
        assert len(stuck.delivered) == 3
        assert stuck.held == most
        scene.stop.set()
        stuck.opened.set()


async def test_a_reached_rate_lets_urgent_mail_by(database_url: str) -> None:
    async with playing(database_url, routing={"limits": {"out": {"rate": "20/s"}}}) as scene:
        await flood(scene, 2000)
        scene.engine.wake("bulk", [])
        await scene.until(lambda: len(scene.provider.delivered) >= 20)
        otp = await scene.store("1@otp.example", classification=Classification.URGENT)
        scene.engine.wake("urgent", [otp.id])
        await scene.until(lambda: scene.settled([otp.id]))
        # All of the flood would take a hundred seconds.
        assert len(scene.provider.delivered) < 1500


async def test_one_accounts_flood_leaves_another_its_share(database_url: str) -> None:
    async with playing(database_url, concurrency=16, urgent_reserve=0) as scene:
        other = await scene.database.write(accounts.create_account, "other", senders=["*"])
        scene.provider.gate.clear()
        ids = await flood(scene, 3000, lane="normal")
        # As its door asks for it: more than is remembered, so that the rest is left to the record.
        for start in range(0, len(ids), 100):
            scene.engine.wake("normal", ids[start : start + 100])
        await scene.until(lambda: len(scene.provider.sent) >= 14)
        (single,) = await scene.database.write(messages.insert, [mail(other, "single@x.example")])
        scene.engine.wake("normal", [single.id])
        scene.provider.gate.set()
        await scene.until(lambda: scene.settled([single.id]))
        # What wake-ups named has gone before it, and not all the flood.
        assert scene.taken("out").index("single@x.example") < 1500


@pytest.mark.usefixtures("quick_looks")
async def test_mail_goes_by_the_provider_an_operator_names(database_url: str) -> None:
    async with playing(database_url, use="failover(a, b)") as scene:
        extra = Memory("c", {})
        setup = scene.engine.fleet.setup
        scene.engine.swap(_with(setup, extra))
        for name in "ab":
            await scene.database.write(circuits.set_mode, name, Mode.PAUSED, now=now())
        await scene.until(lambda: not any(scene.engine.fleet.standings[n].clear for n in "ab"))
        ids = await scene.deliver(3)

        async def waiting() -> bool:
            return sum((await scene.database.read(circuits.waiting)).values()) == 3

        await scene.until(waiting)
        assert await act(scene, Action.REROUTE, provider="c") == 3
        scene.wake()
        await scene.until(lambda: scene.settled(ids))
        assert len(extra.delivered) == 3
        assert "switched" in await scene.kinds(ids[0])


def _with(setup, provider):
    from dataclasses import replace

    return replace(setup, providers={**setup.providers, provider.name: provider})


async def act(scene: Scene, action: Action, **order) -> int:
    done = await scene.database.write(
        interventions.step,
        Order(action, "operator", **order),
        Selection(),
        Position(),
        now=now() + timedelta(seconds=1),
        limit=1000,
    )
    return done.changed


@pytest.mark.usefixtures("quick_looks")
async def test_held_mail_is_not_sent_until_it_is_released(database_url: str) -> None:
    async with playing(database_url) as scene:

        def store_held(connection: sa.Connection) -> list[int]:
            """At once, so that the engine's own look at the record does not come between."""
            stored = messages.insert(connection, [mail(scene.account, f"{n}@x.example") for n in range(3)])
            order = Order(Action.HOLD, "operator")
            moment = now() + timedelta(seconds=1)
            done = interventions.step(connection, order, Selection(), Position(), now=moment, limit=10)
            assert done.changed == 3
            return [one.id for one in stored]

        ids = await scene.database.write(store_held)
        scene.engine.wake("normal", ids)
        scene.wake()
        await asyncio.sleep(0.2)
        assert scene.provider.sent == []
        assert await act(scene, Action.RELEASE) == 3
        scene.wake()
        await scene.until(lambda: scene.settled(ids))


@pytest.mark.usefixtures("quick_looks")
async def test_what_may_have_gone_is_left_to_a_human_by_provider(database_url: str) -> None:
    limits = {"a": {"ambiguous": "at_most_once"}}
    async with playing(database_url, use="failover(a, b)", routing={"limits": limits}) as scene:
        scene.providers["a"].answer("1@x.example", "ambiguous", "accepted")
        stored = await scene.store("1@x.example")
        scene.engine.wake("normal", [stored.id])

        async def parked() -> bool:
            return await scene.states(stored.id) == [("parked", "ACCEPTED", 1)]

        await scene.until(parked)
        assert await act(scene, Action.RELEASE) == 1
        # Only the one it may have gone by can recognise a repeat.
        await scene.database.write(circuits.set_mode, "a", Mode.DRAINING, now=now())
        await scene.until(lambda: not scene.engine.fleet.standings["a"].clear)
        scene.wake()
        await scene.until(lambda: scene.settled([stored.id]))
        assert (len(scene.taken("a")), scene.taken("b")) == (1, [])
        assert await scene.kinds(stored.id) == ["parked", "released", "sent"]
