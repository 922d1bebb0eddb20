"""From the inbox to the timelines: early reports, bad ones among good ones, workers that vanish."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from relay.core.errors import Conflict
from relay.core.event import EventKind
from relay.core.inbox import InboxKind, InboxState
from relay.core.provider import Report
from relay.core.status import State
from relay.queue import NoQueue
from relay.sections import IngestSettings
from relay.store import inbox, ingestion, messages, suppressions
from relay.store.database import Database
from relay.store.inbox import Taken
from relay.store.reports import decode_reports
from relay.tracking.inbox import Inbox
from relay.tracking.recorder import Recorded, Recorder
from tests import records
from tests.tracking.stream import HARD, PROVIDER, START, Fact, Mail, account_of, claimed, tell
from workers.ingest import Ingest, Unreadable, reports_reader

SENT = Fact(EventKind.SENT, 1, settled=State.DONE)
DELIVERED = Fact(EventKind.DELIVERED, 3)

Scene = Callable[[Database], Awaitable[None]]


@pytest.fixture
def play(database_url: str) -> Callable[[Scene], None]:
    return partial(records.play, database_url)


@pytest.fixture
def play_on_sqlite(sqlite_url: str) -> Callable[[Scene], None]:
    return partial(records.play, sqlite_url)


def worker(database: Database, read: Any = reports_reader, **settings: Any) -> Ingest:
    readers = {InboxKind.REPORTS: reports_reader, InboxKind.WEBHOOK: read}
    return Ingest(database, readers, IngestSettings(**settings))


async def drained(ingest: Ingest) -> None:
    while await ingest.once():
        pass


async def status(database: Database, mail: Mail) -> str:
    (row,) = await database.read(messages.recipients, mail.claim.message_id)
    return str(row["status"])


async def kinds(database: Database, mail: Mail) -> list[str]:
    return [line["kind"] for line in await database.read(messages.timeline, mail.claim.message_id)]


async def rows(database: Database, state: InboxState | None = None) -> list[dict[str, Any]]:
    return await database.read(inbox.page, limit=100, state=state)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves what a worker takes for the present so many seconds on."""
    ahead = timedelta()

    def forward(seconds: float) -> None:
        nonlocal ahead
        ahead += timedelta(seconds=seconds)

    monkeypatch.setattr("workers.ingest.now", lambda: datetime.now(UTC) + ahead)
    return forward


def test_a_report_finds_its_recipient_by_every_way(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database) -> None:
        mails = await claimed(database, await account_of(database), 3)
        record = Recorder(database).record
        await tell(database, record, [(mail, SENT) for mail in mails])
        for mail, how in zip(mails, ("token", "message", "ref"), strict=True):
            assert await record(PROVIDER, [mail.report(DELIVERED, how)]) == Recorded(applied=1)
            assert await status(database, mail) == "DELIVERED"
        # Another provider's id is another id.
        assert (await record("other", [mails[2].report(DELIVERED, "ref")])).early == 1

    play(scene)


def test_what_comes_before_its_mail_waits_for_it(
    play: Callable[[Scene], None], clock: Callable[[float], None]
) -> None:
    async def scene(database: Database) -> None:
        (mail,) = await claimed(database, await account_of(database), 1)
        record, ingest = Recorder(database).record, worker(database)
        # The same is told twice, and something else beside.
        early = [mail.report(DELIVERED, "ref"), mail.report(Fact(EventKind.OPENED, 9), "ref")]
        assert await record(PROVIDER, early) == Recorded(early=2)
        assert await record(PROVIDER, early[:1]) == Recorded(early=1)
        assert await status(database, mail) == "ACCEPTED"
        for _ in range(4):
            clock(60)
            await drained(ingest)
        (row,) = await rows(database, InboxState.EARLY)
        assert row["source"] == PROVIDER
        await tell(database, record, [(mail, SENT)])
        clock(1000)
        await drained(ingest)
        assert await status(database, mail) == "OPENED"
        assert sorted(await kinds(database, mail)) == ["delivered", "opened", "sent"]
        assert await rows(database, InboxState.EARLY) == []

    play(scene)


def test_what_waits_in_vain_is_kept_for_looking_at_and_then_dropped(
    play: Callable[[Scene], None], clock: Callable[[float], None]
) -> None:
    async def scene(database: Database) -> None:
        record, ingest = Recorder(database).record, worker(database)
        lost = [Report(EventKind.DELIVERED, START, ref=f"nobody-{n}") for n in range(3)]
        await record(PROVIDER, lost)
        for _ in range(12):
            clock(900)
            await drained(ingest)
        (row,) = await rows(database)
        assert (row["state"], row["due_at"], row["source"]) == ("orphan", None, PROVIDER)
        whole = await database.read(inbox.get, row["id"])
        assert decode_reports(whole["payload"]) == lost
        # It can be tried by hand, and is as lost as before.
        assert await database.write(inbox.replay, row["id"]) == 1
        clock(1)
        await drained(ingest)
        assert [one["state"] for one in await rows(database)] == ["orphan"]
        soon = datetime.now(UTC) + timedelta(seconds=5)
        for before, count in ((soon - timedelta(days=1), 0), (soon, 1)):
            dropped = await database.write(inbox.prune, failed_before=before, orphans_before=before)
            assert dropped == count

    play(scene)


def test_a_token_that_is_nobodys_is_kept_for_looking_at(play_on_sqlite: Callable[[Scene], None]) -> None:
    async def scene(database: Database) -> None:
        (mail,) = await claimed(database, await account_of(database), 1)
        record = Recorder(database).record
        strange = [
            Report(EventKind.DELIVERED, START, token=token)
            for token in (
                "1.2",
                f"{mail.claim.message_id + 1}.{mail.claim.id}",
                "9" * 19 + "." + "9" * 19,
                "9" * 400,
                "x",
                "",
                "-1.-1",
                "1²",
            )
        ]
        assert await record(PROVIDER, strange) == Recorded(unknown=len(strange))
        assert [row["state"] for row in await rows(database)] == ["orphan"]
        assert await status(database, mail) == "ACCEPTED"

    play_on_sqlite(scene)


def test_several_recipients_of_one_id_are_told_apart_by_address(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database) -> None:
        from tests.store.test_deliveries import submission

        account = await account_of(database)
        (stored,) = await database.write(messages.insert, [submission(account, "a@x.example", "B@x.example")])
        record, token = Recorder(database).record, str(stored.id)
        told = [
            Report(EventKind.DELIVERED, START, token=token, recipient="b@X.example"),
            Report(EventKind.BOUNCED, START, token=token, recipient="<a@x.example>", bounce=HARD),
            Report(EventKind.OPENED, START, token=token),
            Report(EventKind.BOUNCED, START, token=token, recipient="else@x.example", bounce=HARD),
        ]
        assert await record(PROVIDER, told) == Recorded(applied=4)
        first, second = await database.read(messages.recipients, stored.id)
        assert (first["status"], second["status"]) == ("BOUNCED", "DELIVERED")
        lines = await database.read(messages.timeline, stored.id)
        assert sorted((line["kind"], line["recipient_id"]) for line in lines if line["recipient_id"]) == [
            ("bounced", first["id"]),
            ("delivered", second["id"]),
        ]
        assert len(lines) == 4
        assert await database.read(suppressions.suppressed, account, ["a@x.example", "b@x.example"]) == {
            "a@x.example"
        }

    play(scene)


def test_only_hard_bounces_complaints_and_leaving_suppress(play_on_sqlite: Callable[[Scene], None]) -> None:
    async def scene(database: Database) -> None:
        from tests.tracking.stream import SOFT

        account = await account_of(database)
        mails = await claimed(database, account, 5)
        facts = [
            Fact(EventKind.BOUNCED, 1, SOFT),
            Fact(EventKind.DEFERRED, 1),
            Fact(EventKind.BOUNCED, 1, HARD),
            Fact(EventKind.COMPLAINED, 1),
            Fact(EventKind.UNSUBSCRIBED, 1),
        ]
        await tell(database, Recorder(database).record, list(zip(mails, facts, strict=True)))
        held = [await database.read(suppressions.holding, account, mail.claim.address) for mail in mails]
        assert [[(one["reason"], one["stream"]) for one in entries] for entries in held] == [
            [],
            [],
            [("bounce", None)],
            [("complaint", None)],
            [("unsubscribe", "transactional")],
        ]

    play_on_sqlite(scene)


def test_a_bad_row_among_good_ones_holds_up_nobody(
    play: Callable[[Scene], None], clock: Callable[[float], None]
) -> None:
    def read(taken: Taken) -> Sequence[Report]:
        if taken.payload == b"bad":
            raise ValueError("no sense in it")
        return reports_reader(taken)

    async def scene(database: Database) -> None:
        mails = await claimed(database, await account_of(database), 20)
        door, ingest = Inbox(database, NoQueue()), worker(database, read, tries=3)
        for mail in mails:
            await door.put(PROVIDER, InboxKind.WEBHOOK, b"bad")
            await door.report(PROVIDER, [mail.report(DELIVERED)])
        began = datetime.now(UTC)
        await ingest.once()
        assert {await status(database, mail) for mail in mails} == {"DELIVERED"}
        waiting = await rows(database, InboxState.RETRY)
        assert len(waiting) == 20
        assert all(row["due_at"] > began for row in waiting)
        for _ in range(40):
            clock(3600)
            await drained(ingest)
        failed = await rows(database)
        assert {(row["state"], row["attempts"], row["due_at"]) for row in failed} == {("failed", 3, None)}
        assert failed[0]["reason"] == "ValueError: no sense in it"
        assert (await database.read(inbox.get, failed[0]["id"]))["payload"] == b"bad"
        # Once the cause is mended it is read again.
        assert await database.write(inbox.replay, source=PROVIDER) == 20
        with pytest.raises(Conflict):
            await database.write(inbox.replay, failed[0]["id"])
        clock(1)
        await drained(worker(database, lambda _taken: ()))
        assert await rows(database) == await rows(database, InboxState.RETRY) == []

    play(scene)


def test_what_nobody_reads_says_so(
    play_on_sqlite: Callable[[Scene], None], clock: Callable[[float], None]
) -> None:
    def read(_taken: Taken) -> Sequence[Report]:
        raise Unreadable("no provider is called 'gone' now")

    async def scene(database: Database) -> None:
        door = Inbox(database, NoQueue())
        await door.put("gone", InboxKind.WEBHOOK, b"{}")
        await door.put("bounce-mail", InboxKind.MAIL, b"x")
        ingest = worker(database, read, tries=1)
        await drained(ingest)
        assert {row["reason"] for row in await rows(database)} == {
            "no provider is called 'gone' now",
            "nothing here reads mail",
        }

    play_on_sqlite(scene)


_HOSTILE = {
    "nul": "a\0b",
    "half": "\ud800",
    "deep": [[[[[[]]]]]],
    "number": 10**30,
    "no number": float("nan"),
    "\0": {"\udfff": None},
    5: "x",
}


def test_what_strangers_say_is_kept_as_far_as_it_can_be(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database) -> None:
        mails = await claimed(database, await account_of(database), 2)
        deep: Any = []
        for _ in range(400):
            deep = [deep]
        hostile = [
            Report(
                EventKind.COMPLAINED,
                datetime(2026, 1, 2),
                token=f"{mail.claim.message_id}.{mail.claim.id}",
                recipient="\0",
                detail={"feedback_type": "ab\0use" + "x" * 300, **extra},
                original=extra,
            )
            for mail, extra in zip(mails, (_HOSTILE, {"deep": deep}), strict=True)
        ]
        assert await Recorder(database).record(PROVIDER, hostile) == Recorded(applied=2)
        assert [await status(database, mail) for mail in mails] == ["COMPLAINT", "COMPLAINT"]
        lost = [Report(EventKind.DELIVERED, START, ref=f"\0{n}\ud800", original=_HOSTILE) for n in range(2)]
        assert await Recorder(database).record(PROVIDER, lost) == Recorded(early=2)
        (row,) = await rows(database, InboxState.EARLY)
        assert len(decode_reports((await database.read(inbox.get, row["id"]))["payload"])) == 2

    play(scene)


def test_two_workers_share_the_inbox(play: Callable[[Scene], None]) -> None:
    async def scene(database: Database) -> None:
        mails = await claimed(database, await account_of(database), 300)
        door = Inbox(database, NoQueue())
        told = [mail.report(fact) for fact in (DELIVERED, Fact(EventKind.OPENED, 5)) for mail in mails]
        puts = [door.report(PROVIDER, told[start : start + 3]) for start in range(0, len(told), 3)]
        await asyncio.gather(*puts, *(door.report(PROVIDER, [one]) for one in told[::2]))
        await asyncio.gather(*(drained(worker(database)) for _ in range(3)))
        assert {await status(database, mail) for mail in mails[::20]} == {"OPENED"}
        for mail in mails[::20]:
            assert sorted(await kinds(database, mail)) == ["delivered", "opened"]
        assert await rows(database, InboxState.NEW) == []

    play(scene)


def test_what_a_worker_had_in_hand_is_taken_by_another(
    play: Callable[[Scene], None], clock: Callable[[float], None]
) -> None:
    async def scene(database: Database) -> None:
        (mail,) = await claimed(database, await account_of(database), 1)
        await Inbox(database, NoQueue()).report(PROVIDER, [mail.report(DELIVERED)])
        due = await database.read(inbox.due, limit=10, now=datetime.now(UTC))
        (lost,) = await database.write(inbox.take, [due[0].id], now=datetime.now(UTC), lease=60)
        # While the lease holds nobody else gets it.
        assert not await worker(database).once()
        clock(61)
        await drained(worker(database))
        assert await status(database, mail) == "DELIVERED"
        # The first one comes back, and changes nothing.
        late = [ingestion.Read(lost, [mail.report(Fact(EventKind.OPENED, 5))])]
        recorded = await database.write(
            ingestion.finish, late, now=datetime.now(UTC), patience=timedelta(hours=1)
        )
        assert recorded == Recorded()
        assert await status(database, mail) == "DELIVERED"

    play(scene)


def test_a_row_that_ends_its_workers_is_taken_alone_and_in_the_end_set_aside(
    play: Callable[[Scene], None], clock: Callable[[float], None]
) -> None:
    async def scene(database: Database) -> None:
        (mail,) = await claimed(database, await account_of(database), 1)
        door = Inbox(database, NoQueue())
        await door.put(PROVIDER, InboxKind.WEBHOOK, b"poison")
        read: list[bytes] = []
        ingest = worker(database, lambda taken: read.append(taken.payload) or (), tries=3)  # type: ignore[func-returns-value]
        for day in range(3):
            # A worker takes it and is gone.
            moment = datetime.now(UTC) + timedelta(days=day)
            (due,) = await database.read(inbox.due, limit=10, now=moment)
            await database.write(inbox.take, [due.id], now=moment, lease=1)
        await door.report(PROVIDER, [mail.report(DELIVERED)])
        clock(3 * 86400)
        assert await ingest.once()
        # The good one went first, by itself.
        assert await status(database, mail) == "DELIVERED"
        assert read == []
        assert await ingest.once()
        (row,) = await rows(database)
        assert (row["state"], row["reason"]) == (
            "failed",
            "the workers that read it vanished, one after the other",
        )

    play(scene)
