"""The queue in the record: claims, fences, settlements, recovery; the same on both databases."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.message import EnvelopeRecipient, MemoryTail, RecipientKind
from relay.core.status import Classification, State
from relay.store import accounts, circuits, deliveries, messages, recovery, settling, watch
from relay.store import tables as t
from relay.store.database import Database, Unexpected, open_database
from relay.store.deliveries import ClaimedMail
from relay.store.fairness import Turn
from relay.store.settling import Settlement
from tests.submissions import submission

LEASE = 30.0


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def settlement(mail: ClaimedMail, index: int = 0, **fields: Any) -> Settlement:
    values: dict[str, Any] = {
        "state": State.DONE,
        "kind": EventKind.SENT,
        "at": later(0),
        "reply": "250 2.0.0 ok",
        "provider": "office",
    }
    return Settlement(mail.claims[index], **(values | fields))


Scene = Callable[[Database, int], Coroutine[Any, Any, None]]


@pytest.fixture
def play(database_url: str) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        async def main() -> None:
            database = open_database(database_url)
            try:
                account = await database.write(accounts.create_account, "default", senders=["*"])
                await scene(database, account)
            finally:
                await database.close()

        asyncio.run(main())

    return run


def test_a_claim_takes_each_recipient_once(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        stored = await database.write(
            messages.insert, [submission(account, "a@x.example", "b@x.example"), submission(account)]
        )
        ids = [one.id for one in stored]
        first, second = await asyncio.gather(
            database.write(deliveries.claim, ids, now=later(1), lease=LEASE),
            database.write(deliveries.claim, ids, now=later(1), lease=LEASE),
        )
        claims = [claim for mail in first + second for claim in mail.claims]
        assert sorted(claim.address for claim in claims) == ["a@x.example", "b@x.example", "to@example.net"]
        assert {claim.attempts for claim in claims} == {1}
        assert await database.write(deliveries.claim, ids, now=later(1), lease=LEASE) == []
        assert await database.read(deliveries.bodies, ids) == dict.fromkeys(
            ids, b"Subject: x\r\n\r\nbody\r\n"
        )

    play(scene)


def test_settling_writes_status_event_and_message(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        (stored,) = await database.write(messages.insert, [submission(account, "a@x.example", "b@x.example")])
        (mail,) = await database.write(deliveries.claim, [stored.id], now=later(1), lease=LEASE)
        at = later(1)
        stale = await settling.record(
            database,
            [
                settlement(mail, 0, at=at, ref="r1"),
                settlement(
                    mail,
                    1,
                    kind=EventKind.BOUNCED,
                    reply="550 5.1.1 no",
                    bounce=Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER),
                ),
            ],
        )
        assert stale == []
        row = await database.read(messages.get, account, stored.id)
        assert row is not None
        assert (row["status"], row["sent_at"], row["error_code"]) == ("SENT", at, None)
        first, second = await database.read(messages.recipients, stored.id)
        assert (first["status"], first["provider_ref"], first["state"]) == ("SENT", "r1", "done")
        assert (second["status"], second["reply"]) == ("BOUNCED", "550 5.1.1 no")
        assert first["lease_until"] is None
        timeline = await database.read(messages.timeline, stored.id)
        assert sorted((line["kind"], line["reply"]) for line in timeline) == [
            ("bounced", "550 5.1.1 no"),
            ("sent", "250 2.0.0 ok"),
        ]

    play(scene)


def test_a_deferred_recipient_is_claimed_again_when_it_is_due(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        (stored,) = await database.write(messages.insert, [submission(account)])
        (mail,) = await database.write(deliveries.claim, [stored.id], now=later(1), lease=LEASE)
        due = later(60)
        before, after = due - timedelta(seconds=1), due + timedelta(seconds=1)
        await settling.record(
            database,
            [settlement(mail, state=State.QUEUED, kind=EventKind.DEFERRED, due_at=due, reply="451 x")],
        )
        assert await database.write(deliveries.claim, [stored.id], now=before, lease=LEASE) == []
        assert await database.read(deliveries.due_lanes, now=before) == []
        assert await database.read(deliveries.due_lanes, now=after) == ["normal"]
        (mail,) = await database.write(deliveries.claim_due, "normal", limit=10, now=after, lease=LEASE)
        assert mail.claims[0].attempts == 2
        row = await database.read(messages.get, account, stored.id)
        assert row is not None
        assert row["status"] == "ACCEPTED"

    play(scene)


def test_a_report_that_comes_before_the_result_is_not_overwritten(play: Callable[[Scene], None]) -> None:
    """Nor is the result of another mail lost that is written with it."""

    async def scene(database: Database, account: int) -> None:
        mails = [submission(account, "early@x.example"), submission(account, "plain@x.example")]
        stored = await database.write(messages.insert, mails)
        claimed = await database.write(
            deliveries.claim, [one.id for one in stored], now=later(1), lease=LEASE
        )
        delivered = {"status": "DELIVERED"}
        await database.write(
            lambda connection: connection.execute(
                t.recipient.update().where(t.recipient.c.id == claimed[0].claims[0].id).values(delivered)
            )
        )
        deferred = settlement(claimed[0], state=State.QUEUED, kind=EventKind.DEFERRED, due_at=later(9))
        prepared = settling.prepare([deferred, settlement(claimed[1])], database.dialect)
        with pytest.raises(Unexpected):
            await database.write(settling.settle_as_claimed, prepared)
        for one in stored:
            assert await database.read(messages.timeline, one.id) == []
        assert await settling.record(database, [deferred, settlement(claimed[1])]) == []
        seen = [await database.read(messages.recipients, one.id) for one in stored]
        # What has arrived is not tried again.
        assert [(row["status"], row["state"]) for rows in seen for row in rows] == [
            ("DELIVERED", "done"),
            ("SENT", "done"),
        ]
        timelines = [await database.read(messages.timeline, one.id) for one in stored]
        assert [[line["kind"] for line in lines] for lines in timelines] == [["deferred"], ["sent"]]

    play(scene)


def test_what_was_looked_at_before_is_claimed_as_it_is_now(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        stored = await database.write(messages.insert, [submission(account), submission(account)])
        first, second = (one.id for one in stored)
        assert await database.write(deliveries.claim, [first], now=later(1), lease=LEASE)

        def work(connection: sa.Connection, seen: dict[int, ClaimedMail]) -> list[ClaimedMail]:
            assert set(seen) == {first}
            return deliveries.claim(connection, [first, second], now=later(1), lease=LEASE, seen=seen)

        mails = await database.look_and_write_soon(
            lambda connection: deliveries.look(connection, [first]), work
        )
        # One is in somebody's hands already, the other was not looked at.
        assert [(mail.id, len(mail.claims), mail.body is not None) for mail in mails] == [(second, 1, True)]

    play(scene)


def test_a_worker_that_was_away_cannot_overwrite(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        (stored,) = await database.write(messages.insert, [submission(account)])
        began = later(1)
        (away,) = await database.write(deliveries.claim, [stored.id], now=began, lease=LEASE)
        soon = began + timedelta(seconds=LEASE - 1)
        assert await database.read(recovery.any_expired, now=soon) is False
        assert await database.read(recovery.any_expired, now=later(LEASE + 2)) is True
        (recovered,) = await database.write(recovery.recover, now=later(LEASE + 2), poison_after=3)
        assert (recovered.message_id, recovered.parked) == (stored.id, False)
        early = settlement(away)
        assert await settling.record(database, [early]) == [early]
        (again,) = await database.write(deliveries.claim_suspect, now=later(LEASE + 3), lease=LEASE)
        late = settlement(away, kind=EventKind.BOUNCED)
        assert await settling.record(database, [late]) == [late]
        assert await settling.record(database, [settlement(again)]) == []
        row = await database.read(messages.get, account, stored.id)
        assert row is not None
        assert row["status"] == "SENT"

    play(scene)


def test_renewing_keeps_a_claim_and_handing_back_undoes_it(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        stored = await database.write(messages.insert, [submission(account), submission(account)])
        ids = [one.id for one in stored]
        kept, returned = await database.write(deliveries.claim, ids, now=later(1), lease=LEASE)
        await database.write(deliveries.renew, kept.claims, until=later(LEASE * 3))
        await database.write(
            deliveries.hand_back, [deliveries.HandBack(one, later(0)) for one in returned.claims]
        )
        assert await database.write(recovery.recover, now=later(LEASE * 2), poison_after=3) == []
        (again,) = await database.write(deliveries.claim, ids, now=later(1), lease=LEASE)
        assert again.id == returned.id
        assert again.claims[0].attempts == 1

    play(scene)


def test_a_mail_that_outlives_its_workers_is_parked(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        (stored,) = await database.write(messages.insert, [submission(account)])
        outcomes = []
        for round_ in range(3):
            moment = later(1 + round_ * 100)
            # Once under suspicion, it is claimed by itself only.
            taken = await database.write(deliveries.claim, [stored.id], now=moment, lease=LEASE)
            alone = await database.write(deliveries.claim_suspect, now=moment, lease=LEASE)
            assert (len(taken), len(alone)) == ((0, 1) if round_ else (1, 0))
            expired = moment + timedelta(seconds=LEASE + 1)
            (recovered,) = await database.write(recovery.recover, now=expired, poison_after=3)
            outcomes.append((recovered.crashes, recovered.parked))
        assert outcomes == [(1, False), (2, False), (3, True)]
        assert await database.read(deliveries.due_lanes, now=later(10_000)) == []
        timeline = await database.read(messages.timeline, stored.id)
        assert [line["kind"] for line in timeline] == ["recovered", "recovered", "parked"]

    play(scene)


def test_urgent_mail_has_a_lane_of_its_own(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        await database.write(
            messages.insert, [submission(account), submission(account, classification=Classification.URGENT)]
        )
        assert await database.read(deliveries.due_lanes, now=later(1)) == ["urgent", "normal"]
        (urgent,) = await database.write(deliveries.claim_due, "urgent", limit=10, now=later(1), lease=LEASE)
        assert urgent.row["classification"] == "URGENT"

    play(scene)


def test_large_mail_is_stored_in_pieces_and_comes_back_whole(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        large = submission(account)
        large.tail = MemoryTail(bytes(range(256)) * 8192)
        small = submission(account)
        big, _ = await database.write(messages.insert, [large, small])
        raw = await database.read(messages.raw, big.id)
        assert raw == large.head + bytes(range(256)) * 8192

    play(scene)


def test_listing_is_stable_and_knows_whether_there_is_more(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        other = await database.write(accounts.create_account, "other", senders=["x.example"])
        stored = await database.write(
            messages.insert,
            [submission(account, tag="a" if n % 2 else None) for n in range(5)] + [submission(other)],
        )
        mine = [one.id for one in stored[:5]]
        page, more = await database.read(messages.listing, account, messages.Query(limit=3))
        assert ([row["id"] for row in page], more) == (mine[:1:-1], True)
        page, more = await database.read(messages.listing, account, messages.Query(limit=3, offset=3))
        assert ([row["id"] for row in page], more) == (mine[1::-1], False)
        page, _ = await database.read(messages.listing, account, messages.Query(tag="a", ascending=True))
        assert [row["id"] for row in page] == mine[1::2]
        at = stored[2].at
        page, _ = await database.read(
            messages.listing, account, messages.Query(created_lte=at, created_gte=at)
        )
        assert stored[2].id in [row["id"] for row in page]
        assert all(row["created_at"] == at for row in page)
        assert await database.read(messages.get, other, mine[0]) is None
        assert await database.read(messages.listing, None, messages.Query(limit=6)) != ([], False)

    play(scene)


def test_recipient_kinds_are_kept_for_the_wire(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database, account: int) -> None:
        mail = submission(account)
        mail.recipients += [
            EnvelopeRecipient("c@x.example", RecipientKind.CC),
            EnvelopeRecipient("b@x.example", RecipientKind.BCC),
        ]
        (stored,) = await database.write(messages.insert, [mail])
        row = await database.read(messages.get, account, stored.id)
        assert row is not None
        assert (row["recipient"], row["cc"], row["bcc"]) == (
            "to@example.net",
            ["c@x.example"],
            ["b@x.example"],
        )

    play(scene)


def test_a_claim_is_fair_to_accounts(play):
    async def scene(database: Database, account: int) -> None:
        others = [await database.write(accounts.create_account, f"other{n}") for n in range(2)]
        await database.write(messages.insert, [submission(account) for _ in range(50)])
        for other in others:
            await database.write(messages.insert, [submission(other) for _ in range(3)])
        turn = Turn()

        async def claimed(limit: int) -> Counter[int]:
            mails = await database.write(
                deliveries.claim_due, "normal", limit=limit, now=later(0), lease=LEASE, last=turn
            )
            return Counter(mail.row["account_id"] for mail in mails)

        # One place free at a time: each has its turn.
        singly = [await claimed(1) for _ in range(3)]
        assert {next(iter(one)) for one in singly} == {account, *others}
        # Two of each are left of the others, and what they do not need goes to the one that has most.
        assert await claimed(15) == {account: 11, others[0]: 2, others[1]: 2}
        assert await claimed(100) == {account: 38}
        assert await claimed(100) == {}

    play(scene)


def test_a_waiting_room_lets_urgent_mail_in_first_and_each_account_in_its_turn(play):
    async def scene(database: Database, account: int) -> None:
        other = await database.write(accounts.create_account, "other")
        await database.write(
            messages.insert, [submission(account, options={"lane": "bulk"}) for _ in range(40)]
        )
        await database.write(messages.insert, [submission(account) for _ in range(20)])
        await database.write(messages.insert, [submission(other)])
        urgent = submission(other, classification=Classification.URGENT)
        await database.write(messages.insert, [urgent])

        def put_back(connection: Any) -> None:
            connection.execute(t.recipient.update().values(waiting_for="p", due_at=later(300)))

        await database.write(put_back)
        assert await database.read(deliveries.due_lanes, now=later(0)) == []
        lanes = await database.write(circuits.release, "p", limit=9, now=later(0))
        assert Counter(lanes) == {"urgent": 1, "normal": 6, "bulk": 2}
        assert await database.read(deliveries.due_lanes, now=later(0)) == ["urgent", "normal", "bulk"]
        mails = await database.write(deliveries.claim_due, "normal", limit=9, now=later(0), lease=LEASE)
        assert Counter(mail.row["account_id"] for mail in mails) == {account: 5, other: 1}
        rest = await database.write(circuits.release, "p", limit=100, now=later(0))
        assert Counter(rest) == {"normal": 15, "bulk": 38}
        assert await database.write(circuits.release, "p", limit=100, now=later(0)) == []

    play(scene)


def test_mail_for_later_is_not_late_before_its_time(play):
    async def scene(database: Database, account: int) -> None:
        began = later(0)

        async def oldest(after: float) -> float:
            moment = began + timedelta(seconds=after)
            return (await database.read(watch.look, now=moment, alive_since=began)).lanes["normal"].oldest

        await database.write(messages.insert, [submission(account, send_at=began + timedelta(hours=10))])
        assert await oldest(9 * 3600) == 0
        assert await oldest(11 * 3600) == 3600
        await database.write(messages.insert, [submission(account)])
        assert 8 * 3600 < await oldest(9 * 3600) <= 9 * 3600
        assert 10 * 3600 < await oldest(11 * 3600) <= 11 * 3600

    play(scene)


def test_those_who_watch_see_what_a_person_is_to_see_to(play):
    async def scene(database: Database, account: int) -> None:
        for state in ("held", "parked", "parked", "queued"):
            await database.write(messages.insert, [submission(account)])

            def stop(connection: Any, state: str = state) -> None:
                last = sa.select(sa.func.max(t.recipient.c.id)).scalar_subquery()
                connection.execute(t.recipient.update().where(t.recipient.c.id == last).values(state=state))

            await database.write(stop)
        found = await database.read(watch.look, now=later(60), alive_since=later(0))
        assert found.lanes["normal"].recipients == {"queued": 1, "held": 1, "parked": 2}
        assert found.lanes["normal"].overdue >= 59
        assert found.lanes["bulk"].overdue == 0

    play(scene)
