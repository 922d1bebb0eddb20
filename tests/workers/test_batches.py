"""Recipient lists: what is read of them, what is refused, what goes out, and that nothing goes out twice."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa

from relay import retention as cleaning
from relay.bulk import reading
from relay.config import Settings
from relay.core.clock import now
from relay.core.errors import Conflict, KeyReused, NotFound, Refused, SenderNotAllowed
from relay.core.status import State
from relay.process import Context
from relay.queue import NoQueue
from relay.sections import BatchSettings, RetentionSettings
from relay.store import accounts, batches, erasure, messages, suppressions, templates
from relay.store import tables as t
from relay.store.batches import BatchState, Lost
from relay.store.suppressions import Reason
from relay.store.templates import NewVersion
from tests.workers.batching import batcher, batching, run
from workers import batches as working
from workers.batches import watch

LIST = "recipient,name,sum\nada@x.example,Ada,3\nbob@x.example,Bob,<4>\n"


@pytest.fixture(autouse=True)
def _looks_when_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine takes no mail by itself: of some lists here the mail is to wait until its test has seen to it."""
    monkeypatch.setattr("relay.delivery.engine._LOOK", 3600.0)


def people(count: int) -> str:
    return "recipient,name,sum\n" + "".join(f"{n}@x.example,N{n},{n}\n" for n in range(count))


def test_a_list_goes_out_in_the_bulk_lane_with_a_way_to_leave(database_url: str) -> None:
    async def main() -> None:
        async with batching(database_url) as play:
            identifier = await play.upload(LIST, tag="spring")
            await play.work()
            batch = await play.get(identifier)
            assert (batch["rows"], batch["valid"], batch["refused"], batch["queued"]) == (2, 2, 0, 2)
            first, second = await play.rows(identifier)
            mail = await play.raw(second["message_id"])
            assert b"Subject: Hello Bob\r\n" in mail
            assert b"you owe &lt;4&gt;." in mail
            assert b"Dear Bob" in mail
            assert b"To: bob@x.example\r\n" in mail
            assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in mail
            play.scene.engine.wake("bulk", [first["message_id"], second["message_id"]])
            await play.scene.until(lambda: len(play.scene.provider.delivered) == 2)
            await play.scene.until(lambda: play.scene.settled([first["message_id"], second["message_id"]]))
            lanes = await play.database.read(
                lambda connection: set(connection.execute(sa.select(t.recipient.c.lane)).scalars())
            )
            assert lanes == {"bulk"}
            assert await play.database.read(batches.counts, identifier) == {"SENT": 2}
            assert await play.database.write(batches.finish, identifier)
            assert (await play.get(identifier))["state"] == BatchState.DONE

    run(main())


def test_rows_are_refused_each_for_its_reason_and_the_others_go(database_url: str) -> None:
    async def main() -> None:
        async with batching(database_url) as play:
            await play.scene.database.write(
                suppressions.add,
                play.identity.account_id,
                "gone@x.example",
                reason=Reason.BOUNCE,
                source="test",
            )
            identifier = await play.upload(
                "recipient,name,sum\n"
                "ada@x.example,Ada,1\n"
                "not an address,Bob,1\n"
                "gone@x.example,Carl,1\n"
                "ADA@x.example,Ada again,1\n"
                "dora@x.example,Dora\n"
                "\n"
                'eve@x.example,"Eve\r\nBcc: x@y.example",1\n'
            )
            await play.work()
            reasons = await play.reasons(identifier)
            assert reasons == {
                2: "an email address needs a local part, an @ and a domain",
                3: "the address is suppressed",
                4: "the address was in the list before",
                5: "it has 2 fields, and the header 3",
            }
            batch = await play.get(identifier)
            assert (batch["rows"], batch["valid"], batch["refused"], batch["queued"]) == (6, 2, 4, 2)
            assert await play.mails() == ["ada@x.example", "eve@x.example"]
            mail = await play.raw((await play.rows(identifier))[5]["message_id"])
            head = mail.partition(b"\r\n\r\n")[0]
            assert b"\r\nSubject: Hello Eve Bcc: x@y.example\r\n" in head
            assert not head.count(b"\nBcc")

    run(main())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("recipient,name\nada@x.example,Ada\n", "the template needs what the list has no column for: sum"),
        ("email,name,sum\nada@x.example,Ada,1\n", 'the header has no column "recipient"; it has: email, name, sum'),
        ("", "the list is empty"),
        ("recipient,name,sum\n", "the list has no rows"),
        ("recipient,name,name,sum\n", 'the header has the column "name" twice'),
        (LIST + 'carl@x.example,"Carl,1\n', "row 3 cannot be read: a quote does not end"),
        (LIST.encode() + b"carl@x.example,K\xe4the,1\n", "row 3 is not utf-8: octet 0xe4 at 17 in its line"),
        (LIST.encode("utf-16"), "the list is not CSV, or is UTF-16: save it as CSV UTF-8"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_read_sends_nothing(sqlite_url: str, text: str | bytes, reason: str) -> None:
    async def main() -> None:
        async with batching(sqlite_url) as play:
            # Nothing is stored of an empty upload, so this one has no part at all.
            identifier = await play.upload(text)
            await play.work()
            batch = await play.get(identifier)
            assert batch["state"] == BatchState.FAILED
            assert batch["reason"].startswith(reason)
            assert await play.mails() == []
            # What was mended may be uploaded again, and is another batch.
            assert await play.upload(text) != identifier

    run(main())


def test_the_same_upload_is_the_same_batch(database_url: str) -> None:
    async def main() -> None:
        async with batching(database_url) as play:
            first = await play.upload(LIST)
            assert await play.upload(LIST) == first
            await play.work()
            assert await play.upload(LIST) == first
            assert await play.upload(LIST, tag="another") != first
            keyed = await play.upload(LIST, key="k1")
            assert keyed != first
            assert await play.upload(LIST, key="k1") == keyed
            with pytest.raises(KeyReused):
                await play.upload(LIST + "carl@x.example,Carl,1\n", key="k1")
            both = await asyncio.gather(*(play.upload(LIST, key="k2") for _ in range(4)))
            assert len(set(both)) == 1

    run(main())


def test_what_may_not_be_sent_is_refused_before_anything_is_stored(sqlite_url: str) -> None:
    async def main() -> None:
        async with batching(sqlite_url) as play:
            play.identity = type(play.identity)(
                **{
                    **{name: getattr(play.identity, name) for name in play.identity.__slots__},
                    "senders": ("a.example",),
                }
            )
            with pytest.raises(SenderNotAllowed):
                await play.upload(LIST)
            for wish in ({"template": "none"}, {"stream": "none"}):
                with pytest.raises(Exception, match="There is no"):
                    await play.upload(LIST, **{"from": "x@a.example", **wish})
            with pytest.raises(Refused):
                await play.upload(LIST, **{"from": "x@b.example"})
            assert await play.database.read(batches.page, None, limit=10, before=None) == []

    run(main())


def test_a_list_is_read_by_any_worker_wherever_the_last_one_stopped(database_url: str) -> None:
    """Workers that vanish between two of their steps, in every phase; who was away too long writes nothing."""

    async def main() -> None:
        async with batching(database_url, group=50, max_waiting=100_000) as play:
            identifier = await play.upload(people(700))
            late = await play.database.write(batches.claim, now=batches.now(), lease=0)
            steps = 0
            while True:
                worker = batcher(play.scene, group=50, max_waiting=100_000)
                running = asyncio.create_task(worker.run())
                # Longer and longer, so that a slow machine gets through a step as well.
                await asyncio.sleep(0.02 * (steps + 1))
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                steps += 1
                assert steps < 100
                await play.database.write(expire)
                if (await play.get(identifier))["fed"]:
                    break
            with pytest.raises(Lost):
                await play.database.write(batches.end, late, BatchState.FAILED, "too late")
            mails = Counter(await play.mails())
            assert len(mails) == 700
            assert set(mails.values()) == {1}
            batch = await play.get(identifier)
            assert (batch["rows"], batch["queued"], batch["refused"]) == (700, 700, 0)
            assert {row["state"] for row in await play.rows(identifier)} == {"queued"}

    run(main())


def expire(connection: sa.Connection) -> None:
    connection.execute(t.batch.update().values(lease_until=None))


def test_paused_mail_stops_and_goes_on(database_url: str) -> None:
    async def main() -> None:
        async with batching(database_url, group=20, max_waiting=40) as play:
            play.scene.provider.gate.clear()
            identifier = await play.upload(people(100))
            worker = asyncio.create_task(play.batcher.run())
            await play.scene.until(lambda: queued(play, identifier, 40))
            await play.steering.pause(None, identifier, "owner")
            batch = await play.get(identifier)
            assert batch["state"] == BatchState.PAUSED
            assert batch["queued"] < 100
            assert (
                await play.database.read(
                    batches.waiting_recipients, identifier, [State.QUEUED], after=0, limit=9
                )
                == []
            )
            play.scene.provider.gate.set()
            await play.steering.resume(None, identifier, "owner")
            await play.scene.until(lambda: wake_and_see(play, identifier, 100))
            assert len(await play.mails()) == 100
            await play.batcher.stop(worker)

    run(main())


async def queued(play, identifier: int, count: int) -> bool:
    return (await play.get(identifier))["queued"] >= count


async def fed(play, identifier: int) -> bool:
    return bool((await play.get(identifier))["fed"])


async def wake_and_see(play, identifier: int, count: int) -> bool:
    play.scene.engine.wake("bulk", [])
    counts = await play.database.read(batches.counts, identifier)
    return counts.get("SENT", 0) == count


def test_cancelled_mail_never_goes(database_url: str) -> None:
    async def main() -> None:
        async with batching(database_url, max_waiting=40, group=20) as play:
            play.scene.provider.gate.clear()
            identifier = await play.upload(people(100), start="manual")
            await play.work()
            assert (await play.get(identifier))["state"] == BatchState.READY
            assert await play.mails() == []
            await play.steering.start(None, identifier, "owner")
            worker = asyncio.create_task(play.batcher.run())
            await play.scene.until(lambda: queued(play, identifier, 40))
            await play.steering.cancel(None, identifier, "owner")
            await play.steering.cancel(None, identifier, "owner")
            await play.batcher.stop(worker)
            play.scene.provider.gate.set()
            counts = await play.database.read(batches.counts, identifier)
            assert counts.get("UNSENT", 0) + counts.get("ACCEPTED", 0) + counts.get("SENT", 0) == sum(
                counts.values()
            )
            assert counts["UNSENT"] > 0
            assert not await play.batcher.once()
            with pytest.raises(Conflict, match="cancelled"):
                await play.steering.resume(None, identifier, "owner")

    run(main())


def test_a_list_that_bounces_halts_by_itself_and_its_owner_resumes_it(database_url: str) -> None:
    async def main() -> None:
        async with batching(database_url, group=20, max_waiting=60) as play:
            identifier = await play.upload(people(200))
            worker = asyncio.create_task(play.batcher.run())
            await play.scene.until(lambda: queued(play, identifier, 60))
            bounce = play.database.write(bounced, identifier, 11)
            assert await bounce == 11
            context = watching(play)
            await watch(context)
            batch = await play.get(identifier)
            assert batch["state"] == BatchState.HALTED
            assert batch["reason"].startswith("11 of ")
            assert batch["reason"].endswith(" mails bounced for good")
            left = await play.database.read(
                batches.waiting_recipients, identifier, [State.QUEUED], after=0, limit=9
            )
            assert left == []
            await play.steering.resume(None, identifier, "owner")
            await watch(context)
            assert (await play.get(identifier))["state"] == BatchState.SENDING
            await play.scene.until(lambda: wake_and_see(play, identifier, 189))
            # The worker sees that no row is left only when it looks for more.
            await play.scene.until(lambda: fed(play, identifier))
            await play.batcher.stop(worker)
            await watch(context)
            assert (await play.get(identifier))["state"] == BatchState.DONE

    run(main())


def test_the_list_of_a_disabled_account_stops_and_goes_on_when_it_is_resumed(database_url: str) -> None:
    async def main() -> None:
        async with batching(database_url, group=20, max_waiting=60) as play:
            play.scene.provider.gate.clear()
            identifier = await play.upload(people(100))
            worker = asyncio.create_task(play.batcher.run())
            await play.scene.until(lambda: queued(play, identifier, 60))
            await play.batcher.stop(worker)
            disable = play.database.write
            await disable(accounts.update_account, play.identity.account_id, {"disabled_at": now()})
            # No worker makes further mail of it, even where no clock has come by.
            other = batcher(play.scene, group=20, max_waiting=1000)
            assert not await other.once()
            assert (await play.get(identifier))["queued"] == 60
            context = watching(play)
            await watch(context)
            await watch(context)
            batch = await play.get(identifier)
            assert (batch["state"], batch["reason"]) == (BatchState.PAUSED, "the account is disabled")
            held = await play.database.read(
                batches.waiting_recipients, identifier, [State.QUEUED], after=0, limit=9
            )
            assert held == []
            play.scene.provider.gate.set()
            with pytest.raises(Conflict, match="disabled"):
                await play.steering.resume(None, identifier, "operator")
            await disable(accounts.update_account, play.identity.account_id, {"disabled_at": None})
            await play.steering.resume(None, identifier, "owner")
            worker = asyncio.create_task(other.run())
            await play.scene.until(lambda: wake_and_see(play, identifier, 100))
            await other.stop(worker)
            assert sorted(await play.mails()) == sorted(f"{n}@x.example" for n in range(100))

    run(main())


def test_the_list_of_a_disabled_account_is_read_and_not_sent(sqlite_url: str) -> None:
    async def main() -> None:
        async with batching(sqlite_url) as play:
            identifier = await play.upload(people(10))
            await play.database.write(
                accounts.update_account, play.identity.account_id, {"disabled_at": now()}
            )
            await play.work()
            batch = await play.get(identifier)
            assert (batch["state"], batch["valid"], batch["queued"]) == (BatchState.SENDING, 10, 0)
            await watch(watching(play))
            assert (await play.get(identifier))["state"] == BatchState.PAUSED
            assert await play.mails() == []

    run(main())


def test_a_list_waits_for_its_time_which_may_be_changed_until_it_begins(database_url: str) -> None:
    async def main() -> None:
        async with batching(database_url) as play:
            later, context = now() + timedelta(days=1), watching(play)
            identifier = await play.upload(people(5), send_at=later, expires_at=later + timedelta(hours=1))
            # While it is read, who reads it learns of the other time.
            held = await play.database.write(batches.claim, now=now(), lease=60)
            assert held is not None
            await play.steering.reschedule(None, identifier, later - timedelta(hours=1), "owner")
            with pytest.raises(Lost):
                await play.database.write(batches.show, held, lease=60)
            await play.work()
            await watch(context)
            batch = await play.get(identifier)
            assert (batch["state"], batch["valid"]) == (BatchState.READY, 5)
            assert batch["send_at"] == later - timedelta(hours=1)
            with pytest.raises(Refused, match="later than send_at"):
                await play.steering.reschedule(None, identifier, later + timedelta(hours=2), "owner")
            await play.steering.reschedule(None, identifier, None, "owner")
            await watch(context)
            assert (await play.get(identifier))["state"] == BatchState.SENDING
            with pytest.raises(Conflict, match="waits for no time"):
                await play.steering.reschedule(None, identifier, later, "owner")
            await play.work()
            rows = await play.rows(identifier)
            mail = await play.database.read(messages.get, None, rows[0]["message_id"])
            assert mail["options"]["expires_at"] == (later + timedelta(hours=1)).isoformat()
            # One whose time comes while its account is disabled waits to be resumed.
            other = await play.upload(people(3), send_at=later)
            await play.work()
            await play.steering.reschedule(None, other, None, "owner")
            await play.database.write(
                accounts.update_account, play.identity.account_id, {"disabled_at": now()}
            )
            await watch(context)
            batch = await play.get(other)
            assert (batch["state"], batch["reason"]) == (BatchState.PAUSED, "the account is disabled")

    run(main())


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"send_at": "2030-01-31T12:00:00"}, "with its zone"),
        ({"send_at": "tomorrow"}, "with its zone"),
        ({"send_at": "2030-01-31T12:00:00Z", "start": "manual"}, "starts by itself"),
        ({"send_at": "2030-01-31T12:00:00Z", "validate_only": True}, "starts by itself"),
        ({"send_at": "2999-01-31T12:00:00Z"}, "365 days"),
        ({"expires_at": "2020-01-31T12:00:00Z"}, "in the future"),
    ],
)
def test_times_that_a_list_cannot_have(sqlite_url: str, wish: dict[str, Any], reason: str) -> None:
    async def main() -> None:
        async with batching(sqlite_url) as play:
            with pytest.raises((ValueError, Refused), match=reason):
                await play.upload(people(1), **wish)

    run(main())


def test_large_mail_is_made_a_few_at_a_time_and_slow_rows_too(sqlite_url: str, monkeypatch) -> None:
    """A step that is cut short by what it has made, or by the clock, neither loses nor doubles a row."""

    async def main() -> None:
        async with batching(sqlite_url) as play:
            large = NewVersion("Hello", text="{{ name }} " + "x" * 60_000)
            await play.database.write(templates.create, play.identity.account_id, "large", large)
            monkeypatch.setattr(working, "_OCTETS", 200_000)
            monkeypatch.setattr(reading, "SECONDS", 0.0)
            identifier = await play.upload(people(7), template="large", start="manual")
            await play.work()
            batch = await play.get(identifier)
            assert (batch["rows"], batch["valid"], batch["state"]) == (7, 7, BatchState.READY)
            monkeypatch.setattr(reading, "SECONDS", 60.0)
            await play.steering.start(None, identifier, "owner")
            sizes: list[int] = []
            prepare = messages.prepare
            monkeypatch.setattr(messages, "prepare", lambda some: sizes.append(len(some)) or prepare(some))
            await play.work()
            assert sizes == [4, 3]
            assert await play.mails() == [f"{n}@x.example" for n in range(7)]

    run(main())


def test_an_erased_person_is_taken_off_a_list_of_which_nobody_else_is_lost(database_url: str) -> None:
    async def main() -> None:
        async with batching(database_url, group=1) as play:
            rows = "Ada@x.example,Ada,1\nbob@x.example,for ada@x.example,2\ncarl@x.example,Carl,3\n"
            identifier = await play.upload("recipient,name,sum\n" + rows, start="manual")
            # What is not read yet is waited for, and not changed: it would be cut in other places.
            row = await cleaning.erase(play.database, "ada@x.example", "test")
            assert (row["state"], row["place"]["waits"]) == ("waiting", True)
            await play.work()
            await play.steering.start(None, identifier, "owner")
            held = await play.database.write(batches.claim, now=now(), lease=60)
            assert held is not None
            while not (await play.reasons(identifier)).get(1):
                row = await cleaning.erase_some(play.database, row, steps=1)
            with pytest.raises(Lost):
                await play.database.write(batches.show, held, lease=60)
            await play.work()
            assert await play.mails() == ["bob@x.example", "carl@x.example"]
            play.scene.engine.wake("bulk", [])
            await play.scene.until(lambda: wake_and_see(play, identifier, 2))
            while row["state"] != "done":
                row = await cleaning.erase_some(play.database, row, steps=100)
            assert await play.database.read(erasure.remains, "ada@x.example") == {}
            batch = await play.get(identifier)
            assert (batch["rows"], batch["queued"], batch["refused"], batch["valid"]) == (3, 2, 1, 2)
            first, second, third = await play.rows(identifier)
            assert first["address"].endswith("@erased.invalid")
            assert (first["state"], first["reason"]) == ("refused", "the person was erased")
            assert (second["address"], third["address"]) == ("bob@x.example", "carl@x.example")

    run(main())


def test_what_is_kept_of_a_list_goes_with_its_time_and_nothing_unsent_does(database_url: str) -> None:
    """Rows that became mail, rows that never did, and in the end the list."""

    async def main() -> None:
        async with batching(database_url) as play:
            rows = "ada@x.example,Ada,1\nnobody,Bob,2\nada@x.example,Twice,3\n"
            sent = await play.upload("recipient,name,sum\n" + rows)
            checked = await play.upload("recipient,name,sum\ncarl@x.example,Carl,4\n", validate_only=True)
            waits = await play.upload("recipient,name,sum\ndora@x.example,Dora,5\n", start="manual")
            await play.work()
            await play.scene.until(lambda: wake_and_see(play, sent, 1))
            await watch(watching(play))
            later = now() + timedelta(days=40)

            async def swept(dry_run: bool = False, **days: int) -> dict[str, tuple[int, int]]:
                settings = Settings(retention=RetentionSettings(**days))
                found = await cleaning.sweep_all(play.database, settings, dry_run=dry_run, at=later)
                return {name: (one.messages, one.unsent) for name, one in found.items()}

            assert await swept(params=50) == {"params": (0, 0), "params of lists": (0, 0)}
            assert await swept(True, params=30) == {"params": (0, 0), "params of lists": (3, 1)}
            assert (await swept(params=30))["params of lists"] == (3, 1)
            for identifier, number in ((sent, 1), (checked, 1)):
                row = await play.database.read(batches.row, identifier, number)
                assert (row["variables"], "@x.example" in row["address"]) == (None, True)
            assert (await play.database.read(batches.row, waits, 1))["variables"]["name"] == "Dora"
            # The row of a mail that went is about nobody any more when the mail is.
            found = await swept(addresses=30)
            assert (found["addresses"], found["addresses of lists"]) == ((1, 0), (3, 1))
            left = await play.rows(sent) + await play.rows(checked)
            assert {(row["address"], row["reason"]) for row in left} == {("redacted@invalid", None)}
            assert (await play.rows(waits))[0]["address"] == "dora@x.example"
            await swept(messages=30)
            for identifier in (sent, checked):
                with pytest.raises(NotFound):
                    await play.get(identifier)
            await play.steering.start(None, waits, "owner")
            await play.work()
            assert await play.mails() == ["dora@x.example"]

    run(main())


@pytest.mark.parametrize(("bounces", "share"), [(10, 0.0), (11, 1.0)])
def test_few_bounces_do_not_halt_a_list(sqlite_url: str, bounces: int, share: float) -> None:
    """More than ten, and more than the share: both."""

    async def main() -> None:
        async with batching(sqlite_url, max_waiting=100) as play:
            identifier = await play.upload(people(60))
            await play.work()
            await play.database.write(bounced, identifier, bounces)
            await watch(watching(play, halt_share=share))
            assert (await play.get(identifier))["state"] == BatchState.SENDING

    run(main())


def watching(play, **settings) -> Context:
    """What the clock is given, as far as it looks at batches."""
    made = Settings(batches=BatchSettings(**settings))
    return Context(
        made, play.database, cast("Any", None), cast("Any", NoQueue()), asyncio.Event(), lambda: None
    )


def bounced(connection: sa.Connection, identifier: int, count: int) -> int:
    """As if so many of the mails that wait had been refused for good."""
    waits = sa.select(t.message.c.id).where(
        t.message.c.batch_id == identifier, t.message.c.status == "ACCEPTED"
    )
    ids = list(connection.execute(waits.limit(count)).scalars())
    connection.execute(t.message.update().where(t.message.c.id.in_(ids)).values(status="BOUNCED"))
    values = {"status": "BOUNCED", "state": "done", "due_at": None, "bounce_class": "hard"}
    connection.execute(t.recipient.update().where(t.recipient.c.message_id.in_(ids)).values(**values))
    return len(ids)
