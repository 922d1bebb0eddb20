"""The engine of a worker: what is due is sent once, and what became of it is in the record."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from relay.core.provider import Outcome, OutcomeKind
from relay.core.reply import Reply
from relay.core.status import Classification
from relay.store import circuits, messages
from relay.store import tables as t
from tests.workers.scene import PATIENT, playing

pytestmark = pytest.mark.anyio


async def test_a_wake_up_delivers_what_it_names(database_url: str) -> None:
    async with playing(database_url) as scene:
        stored = await scene.store("a@x.example", "b@x.example")
        scene.engine.wake("normal", [stored.id])
        await scene.until(lambda: len(scene.provider.delivered) == 2)
        scene.stop.set()
    (mail, _), *_ = scene.provider.delivered
    assert mail.raw == b"Subject: x\r\n\r\nbody\r\n"
    assert [one.address for one in mail.recipients] == ["a@x.example", "b@x.example"]


async def test_each_recipient_gets_its_own_outcome(database_url: str) -> None:
    async with playing(database_url, **PATIENT) as scene:
        scene.provider.answer("no@x.example", "rejected")
        scene.provider.answer("later@x.example", "retry", "accepted")
        stored = await scene.store("no@x.example", "later@x.example", "yes@x.example")
        scene.engine.wake("normal", [stored.id])

        async def first_round() -> bool:
            return [state for state, _, _ in await scene.states(stored.id)] == ["done", "queued", "done"]

        await scene.until(first_round)
        assert await scene.states(stored.id) == [
            ("done", "BOUNCED", 1),
            ("queued", "ACCEPTED", 1),
            ("done", "SENT", 1),
        ]
        await scene.come_due(stored.id)

        async def settled() -> bool:
            return (await scene.states(stored.id))[1] == ("done", "SENT", 2)

        await scene.until(settled)
        assert Counter(await scene.kinds(stored.id)) == {"bounced": 1, "deferred": 1, "sent": 2}
        assert [r.address for _, r in scene.provider.delivered] == ["yes@x.example", "later@x.example"]


async def test_many_wake_ups_for_the_same_mail_send_it_once(database_url: str) -> None:
    async with playing(database_url) as scene:
        stored = [await scene.store(f"{n}@x.example") for n in range(50)]
        ids = [one.id for one in stored]
        for _ in range(5):
            scene.engine.wake("normal", ids)
            scene.engine.wake("normal", [])
        await scene.until(lambda: len(scene.provider.delivered) >= 50)
    assert Counter(r.address for _, r in scene.provider.delivered) == {f"{n}@x.example": 1 for n in range(50)}


async def test_mail_is_found_without_any_wake_up(database_url: str) -> None:
    async with playing(database_url) as scene:
        await scene.until(lambda: scene.engine is not None)
        await scene.store("a@x.example")
        await scene.until(lambda: len(scene.provider.delivered) == 1)


async def test_what_does_not_fit_waits_in_the_record_and_is_sent_when_there_is_room(
    database_url: str,
) -> None:
    async with playing(database_url, concurrency=4, urgent_reserve=1) as scene:
        scene.provider.gate.clear()
        stored = [await scene.store(f"{n}@x.example") for n in range(20)]
        scene.engine.wake("normal", [one.id for one in stored])
        await scene.until(lambda: len(scene.provider.sent) == 3)
        urgent = await scene.store("now@x.example", classification=Classification.URGENT)
        scene.engine.wake("urgent", [urgent.id])
        await scene.until(lambda: len(scene.provider.sent) == 4)
        assert scene.provider.sent[3].message_id == urgent.id
        scene.provider.gate.set()
        await scene.until(lambda: len(scene.provider.delivered) == 21)


def _end_of_lease(connection: sa.Connection) -> datetime:
    return connection.execute(sa.select(t.recipient.c.lease_until)).scalar_one()


async def test_a_slow_send_keeps_its_claim(database_url: str) -> None:
    async with playing(database_url, lease=0.6) as scene:
        scene.provider.gate.clear()
        stored = await scene.store("a@x.example")
        scene.engine.wake("normal", [stored.id])
        await scene.until(lambda: len(scene.provider.sent) == 1)
        ends = await scene.database.read(_end_of_lease)

        async def renewed() -> bool:
            return await scene.database.read(_end_of_lease) > ends + 2 * timedelta(seconds=0.6)

        await scene.until(renewed)
        scene.provider.gate.set()
        await scene.until(lambda: len(scene.provider.delivered) == 1)
    assert len(scene.provider.sent) == 1


async def test_a_provider_that_raises_is_our_bug_and_the_mail_is_kept(database_url: str) -> None:
    async with playing(database_url, **PATIENT) as scene:
        scene.provider.answer("a@x.example", ValueError("bug"), "accepted")
        stored = await scene.store("a@x.example")
        scene.engine.wake("normal", [stored.id])

        async def deferred() -> bool:
            return await scene.kinds(stored.id) == ["deferred"]

        await scene.until(deferred)
        await scene.come_due(stored.id)
        await scene.until(lambda: len(scene.provider.delivered) == 1)


@pytest.mark.parametrize("words", ["taken \0 as", "taken \ud800 as"])
async def test_words_that_no_database_takes_make_no_double(database_url: str, words: str) -> None:
    """Whatever a far end says, what it did is recorded; otherwise the mail would go out again."""
    async with playing(database_url, use="failover(out, spare)") as scene:
        strange = Outcome(OutcomeKind.ACCEPTED, Reply(250, "2.0.0", words), ref=words + "x" * 500)
        for number in range(5):
            scene.provider.answer(f"{number}@x.example", strange)
            refusal = Reply(535, "5.7.8", words)
            scene.provider.answer(f"{number}@away.example", Outcome(OutcomeKind.CONFIG, refusal))
        ids = await scene.deliver(5) + await scene.deliver(5, "away.example")
        await scene.until(lambda: scene.settled(ids))
        assert await scene.kinds(ids[0]) == ["sent"]
        shown = await scene.database.read(messages.recipients, ids[0])
        assert shown[0]["reply"] == "250 2.0.0 taken   as"
        assert sorted(scene.taken("out")) == [f"{n}@x.example" for n in range(5)]
        assert sorted(scene.taken("spare")) == [f"{n}@away.example" for n in range(5)]

        async def told() -> bool:
            return (await scene.database.read(circuits.states))["out"].is_open

        await scene.until(told)


async def test_an_unclear_outcome_is_tried_again_or_left_to_a_human(database_url: str) -> None:
    async with playing(database_url, ambiguous="at_most_once") as scene:
        scene.provider.answer("a@x.example", "ambiguous")
        stored = await scene.store("a@x.example")
        scene.engine.wake("normal", [stored.id])

        async def parked() -> bool:
            return await scene.states(stored.id) == [("parked", "ACCEPTED", 1)]

        await scene.until(parked)
        assert await scene.kinds(stored.id) == ["parked"]


async def test_stopping_finishes_what_is_in_hand(database_url: str) -> None:
    async with playing(database_url) as scene:
        scene.provider.gate.clear()
        stored = await scene.store("a@x.example")
        scene.engine.wake("normal", [stored.id])
        await scene.until(lambda: len(scene.provider.sent) == 1)
        scene.stop.set()
        await asyncio.sleep(0.05)
        scene.provider.gate.set()
        await scene.until(lambda: len(scene.provider.delivered) == 1)

        async def settled() -> bool:
            return await scene.states(stored.id) == [("done", "SENT", 1)]

        await scene.until(settled)


async def test_large_bodies_are_read_within_the_memory_budget(database_url: str) -> None:
    async with playing(database_url, memory=3_000_000) as scene:
        scene.provider.gate.clear()
        body = b"x" * 998 + b"\r\n"
        stored = [await scene.store(f"{n}@x.example", body=body * 1000) for n in range(6)]
        scene.engine.wake("normal", [one.id for one in stored])
        await scene.until(lambda: len(scene.provider.sent) == 2)
        await asyncio.sleep(0.2)
        assert len(scene.provider.sent) == 2
        scene.provider.gate.set()
        await scene.until(lambda: len(scene.provider.delivered) == 6)
    assert all(mail.raw.endswith(body * 1000) for mail in scene.provider.sent)
