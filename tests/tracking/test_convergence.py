"""Whatever order things are told in, and however often: the record ends the same. On both databases."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from relay.core.event import EventKind
from relay.core.status import State
from relay.store import deliveries, recovery
from relay.store.database import Database, open_database
from relay.tracking.recorder import Recorder
from tests.tracking.stream import (
    HARD,
    SOFT,
    Fact,
    Mail,
    account_of,
    claimed,
    life,
    outcome,
    snapshot,
    tell,
)

SENT = Fact(EventKind.SENT, 1, settled=State.DONE)
UNCLEAR = Fact(EventKind.AMBIGUOUS, 1, settled=State.QUEUED)
STREAMS = 1000


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ([SENT, Fact(EventKind.SENT, 2), Fact(EventKind.DELIVERED, 3), Fact(EventKind.OPENED, 4)], "OPENED"),
        ([SENT, Fact(EventKind.DELIVERED, 3), Fact(EventKind.BOUNCED, 9, HARD)], "BOUNCED"),
        ([SENT, Fact(EventKind.BOUNCED, 3, SOFT), Fact(EventKind.BOUNCED, 2, HARD)], "BOUNCED"),
        ([SENT, Fact(EventKind.OPENED, 5, machine=True), Fact(EventKind.DEFERRED, 2)], "DELIVERED"),
        (
            [
                UNCLEAR,
                Fact(EventKind.DELIVERED, 3),
                Fact(EventKind.CLICKED, 8),
                Fact(EventKind.COMPLAINED, 9),
            ],
            "COMPLAINT",
        ),
        ([UNCLEAR, Fact(EventKind.SENT, 2), Fact(EventKind.DEFERRED, 3)], "SENT"),
        ([UNCLEAR, Fact(EventKind.DEFERRED, 3)], "ACCEPTED"),
        (
            [
                Fact(EventKind.BOUNCED, 4, SOFT, settled=State.DONE),
                Fact(EventKind.DELIVERED, 3),
                Fact(EventKind.BOUNCED, 2, HARD),
            ],
            "BOUNCED",
        ),
    ],
)
def test_every_order_ends_the_same(database_url: str, facts: list[Fact], status: str) -> None:
    async def scene() -> None:
        database = open_database(database_url)
        recorder = Recorder(database)
        orders = list(itertools.permutations(facts))
        mails = await claimed(database, await account_of(database), len(orders))
        for number in range(len(facts)):
            moment = [(mail, order[number]) for mail, order in zip(mails, orders, strict=True)]
            # Told twice, in one breath and apart.
            again = [(mail, fact) for mail, fact in moment if fact.settled is None]
            await tell(database, recorder.record, [*moment, *again[::2]])
            await tell(database, recorder.record, again[1::2])
        found = await database.read(snapshot, mails)
        assert {one[0][0] for one in found} == {status}
        assert all(one == found[0] for one in found)
        await database.close()

    asyncio.run(scene())


def test_shuffled_and_doubled_streams_end_the_same(database_url: str) -> None:
    """The same lives twice, with other dice for their order, their doubles, their batches and their ways home."""

    async def scene() -> None:
        database = open_database(database_url)
        account = await account_of(database)
        lives = [life(random.Random(number)) for number in range(STREAMS)]
        found = []
        for seed in (1, 2):
            mails = await claimed(database, account, STREAMS)
            for mail, facts in zip(mails, lives, strict=True):
                mail.facts = facts
            await _storm(database, mails, random.Random(seed))
            found.append(await database.read(snapshot, mails))
            statuses = [one[0][0] for one in found[-1]]
            assert statuses == [outcome(facts) for facts in lives]
        assert found[0] == found[1]
        await database.close()

    asyncio.run(scene())


async def _storm(database: Database, mails: Sequence[Mail], dice: random.Random) -> None:
    recorder = Recorder(database)
    once = [(mail, fact) for mail in mails for fact in mail.facts]
    told = once + [(mail, fact) for mail, fact in once if fact.settled is None]
    dice.shuffle(told)
    while told:
        count = dice.randint(1, 900)
        await tell(database, recorder.record, told[:count], how=_way_home)
        del told[:count]


def _way_home(fact: Fact) -> str:
    """Not chance: what is told twice is told in the same words."""
    return "message" if fact.second % 3 == 0 else "token"


def test_what_a_provider_reports_is_no_try_of_ours(sqlite_url: str) -> None:
    """Routing counts tries in vain; a provider that has the mail and is put off by others is not one of them."""

    async def scene() -> None:
        database = open_database(sqlite_url)
        (mail,) = await claimed(database, await account_of(database), 1)
        record = Recorder(database).record
        await tell(database, record, [(mail, Fact(EventKind.DEFERRED, 2)), (mail, UNCLEAR)])
        found = await database.read(deliveries.history, [mail.claim.message_id])
        assert [kind for kind, _, _ in found[mail.claim.id]] == ["ambiguous"]
        await database.close()

    asyncio.run(scene())


def test_what_was_reported_on_is_not_sent_again_when_its_worker_vanished(database_url: str) -> None:
    async def scene() -> None:
        database = open_database(database_url)
        gone, lost = await claimed(database, await account_of(database), 2)
        await Recorder(database).record("vendor", [gone.report(Fact(EventKind.DELIVERED, 3))])
        later = datetime.now(UTC) + timedelta(days=1)
        await database.write(recovery.recover, now=later, poison_after=3)
        states = [one[0][6:8] for one in await database.read(snapshot, [gone, lost])]
        assert states == [("done", None), ("queued", later)]
        await database.close()

    asyncio.run(scene())
