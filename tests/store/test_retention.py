"""Sweeps and erasures on both databases, with a search of the very bytes afterwards."""

import asyncio
import base64
import email
import random
import urllib.parse
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from relay import retention as cleaning
from relay.core.clock import now
from relay.core.errors import NotFound
from relay.core.ids import floor_at, new_id
from relay.core.message import Idempotency
from relay.core.stream import Stream
from relay.core.strip import Stripped
from relay.store import erasure, messages, outbox, retention, streams, suppressions
from relay.store import tables as t
from relay.store.retention import GONE, Part, Rules
from relay.store.suppressions import Reason
from tests.workers.scene import playing

ADDRESS = "Ada.Lovelace@person.example"
MARK = b"ada.lovelace"
DAY = timedelta(days=1)


def found_in_bytes(url: str, mark: bytes) -> list[str]:
    """The database's files in which the bytes still lie: SQLite's own and its journal, or PostgreSQL's tables."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        files = [one for one in path.parent.iterdir() if one.name.startswith(path.name)]
    else:
        parts = urllib.parse.urlsplit(url)
        data = Path(urllib.parse.parse_qs(parts.query)["host"][0])
        (oid,) = asyncio.run(_on_disk(url))
        files = [one for one in (data / "base" / str(oid)).iterdir() if one.is_file()]
        assert len(files) > 100
    return [one.name for one in files if mark in one.read_bytes().lower()]


async def _on_disk(url: str) -> tuple[int, ...]:
    """Have all that was written lie in the files of the database, whose number is returned."""
    engine = create_async_engine(
        url.replace("postgresql", "postgresql+asyncpg", 1), isolation_level="AUTOCOMMIT"
    )
    try:
        async with engine.connect() as connection:
            await connection.execute(sa.text("CHECKPOINT"))
            found = await connection.execute(
                sa.text("SELECT oid FROM pg_database WHERE datname = current_database()")
            )
            return tuple(found.scalars())
    finally:
        await engine.dispose()


async def ended(scene, *ids):
    for one in ids:
        states = await scene.states(one)
        if any(state not in {"done", "cancelled", "parked"} for state, _, _ in states):
            return False
    return True


async def whole(scene, address, **fields):
    """A mail with the address wherever one can be."""
    return await scene.store(
        address,
        "other@x.example",
        body=fields.pop("body", f"Dear {address}, a letter.\r\n".encode() * 3),
        subject=f"For {address}",
        cc=[address.lower()],
        params={"subject": f"For {address}", "body": f"<p>{address}</p>"},
        metadata={"who": address},
        attachments=[{"fileName": f"{address}.pdf"}],
        idempotency=Idempotency(f"key-{new_id()}", "f", lambda _id, _at: (201, address.encode())),
        **fields,
    )


def strew(connection, scene_account, message_id):
    """What others tell, and what is told to others."""
    connection.execute(
        t.inbox.insert(),
        {
            "id": new_id(),
            "kind": "webhook",
            "source": "out",
            "state": "failed",
            "received_at": now(),
            "attempts": 5,
            "payload": f'{{"email":"{ADDRESS}"}}'.encode(),
            "query": "",
        },
    )
    body = f'{{"recipient":"{ADDRESS}"}}'.encode()
    connection.execute(
        t.notice.insert(), outbox.row_of(7, "message.sent", body, now(), message_id=message_id)
    )
    connection.execute(
        t.event.insert(),
        {
            "id": new_id(),
            "message_id": message_id,
            "kind": "unknown",
            "at": now(),
            "reply": f"550 <{ADDRESS}> is somebody",
            "detail": {"original": {"to": [ADDRESS], ADDRESS: 1}},
        },
    )
    connection.execute(
        t.audit.insert(),
        {
            "id": new_id(),
            "who": "x",
            "door": "api",
            "action": "PUT /v1/suppressions",
            "subject": ADDRESS,
            "address": "",
        },
    )


@pytest.mark.anyio
async def test_after_an_erasure_no_byte_of_the_person_is_left(database_url, settings, tmp_path):
    captured = tmp_path / "captured" / "new"
    captured.mkdir(parents=True)
    (captured / "one.eml").write_bytes(b"x" * 2_000_000 + b"<%b>" % ADDRESS.encode())
    (captured / "two.eml").write_bytes(b"To: other@x.example")
    config = settings(
        database={"url": database_url},
        providers={"out": {"type": "capture", "directory": str(captured.parent)}},
    )
    async with playing(database_url) as scene:
        scene.provider.answer("other@x.example", "retry", "accepted")
        sent = await whole(scene, ADDRESS)
        scene.engine.wake("normal", [sent.id])
        await scene.until(lambda: ended(scene, sent.id))
        later = await whole(scene, ADDRESS.upper(), send_at=now() + DAY)
        other = await scene.store("other@x.example", subject="kept", send_at=now() + DAY)
        await scene.database.write(strew, scene.account, sent.id)
        await scene.database.write(
            suppressions.add, scene.account, ADDRESS, reason=Reason.COMPLAINT, source="x"
        )
        assert await asyncio.to_thread(found_in_bytes, database_url, MARK)

        row = await cleaning.erase(scene.database, ADDRESS, "test")
        # Somebody else still waits for a mail that names the person.
        assert (row["state"], row["place"]["waits"]) == (erasure.WAITING, True)
        states = await scene.states(later.id)
        assert states == [("cancelled", "UNSENT", 0), ("queued", "ACCEPTED", 0)]
        assert await scene.database.read(messages.raw, later.id)
        await scene.database.write(
            lambda c: c.execute(
                t.recipient.update().where(t.recipient.c.message_id == later.id).values(state="done")
            )
        )
        while row["state"] != erasure.DONE:
            row = await cleaning.erase_some(scene.database, row, steps=200)
        assert cleaning.erase_files(config, ADDRESS) == 1
        assert row["address"] is None
        counts = row["counts"]
        assert {
            "message",
            "recipient",
            "event",
            "inbox",
            "notice",
            "idempotency",
            "audit",
            "suppressions",
        } <= set(counts)
        assert (counts["redacted"], counts["cancelled"], counts["suppressions"]) == (2, 1, 1)
        assert await scene.database.read(erasure.remains, ADDRESS) == {}

        kept = await scene.database.read(messages.get, None, sent.id)
        assert (kept["status"], kept["subject"], kept["redacted_at"] is None) == ("SENT", "", False)
        assert kept["recipient"].endswith("@erased.invalid")
        assert (await scene.database.read(messages.get, None, other.id))["subject"] == "kept"
        asked = [(scene.account, "", ADDRESS), (scene.account, "", "other@x.example")]
        assert await scene.database.read(suppressions.blocked, asked) == {asked[0]}
        # Asked for again, it is known again, and there is nothing left to do.
        again = await cleaning.erase(scene.database, ADDRESS.lower(), "test")
        assert (again["digest"], again["counts"]) == (row["digest"], {})
    await cleaning.scrub_record(config, full=True)
    assert await asyncio.to_thread(found_in_bytes, database_url, MARK) == []
    assert [one.name for one in captured.iterdir()] == ["two.eml"]


async def aged(scene, *days, **fields):
    """Mails of so many days ago, sent."""
    ids = []
    for age in days:
        mail = await whole(scene, ADDRESS, id=floor_at(now() - age * DAY) + len(ids), **fields)
        ids.append(mail.id)
    scene.engine.wake("normal", ids)
    await scene.until(lambda: ended(scene, *ids))
    return ids


async def rows(scene, table, ids):
    column = table.c.id if table is t.message else table.c.message_id
    query = sa.select(column).distinct().where(column.in_(ids)).order_by(column)
    return await scene.database.read(lambda c: list(c.execute(query).scalars()))


async def sweep(scene, part, known, **more):
    """Whole walks, in the smallest steps."""
    position, count, unsent = 0, 0, 0
    while position is not None:
        step = await scene.database.write(
            retention.sweep, part, known, now=now(), limit=1, position=position, **more
        )
        count, unsent, position = count + step.messages, unsent + step.unsent, step.position
    return count, unsent


@pytest.mark.anyio
async def test_each_part_goes_when_its_time_has_come(database_url):
    async with playing(database_url) as scene:
        ids = await aged(scene, 100, 50, 5)
        waits = await whole(scene, ADDRESS, id=floor_at(now() - 200 * DAY), send_at=now() + DAY)
        days = {Part.BODY: 30, Part.PARAMS: 10, Part.ADDRESSES: 40, Part.EVENTS: 60, Part.MESSAGES: 90}
        known = Rules(days)
        assert await sweep(scene, Part.PARAMS, known, dry_run=True) == (2, 1)
        assert await rows(scene, t.params, ids) == sorted(ids)
        assert await sweep(scene, Part.PARAMS, known) == (2, 1)
        assert await rows(scene, t.params, ids) == [ids[2]]
        assert await sweep(scene, Part.BODY, known) == (2, 1)
        assert await rows(scene, t.body, ids) == [ids[2]]
        redacted = await scene.database.read(messages.get, None, ids[1])
        assert (redacted["subject"], redacted["attachments"], redacted["metadata"]) == ("", None, None)
        assert redacted["redacted_at"] is not None
        assert redacted["status"] == "SENT"
        assert await sweep(scene, Part.ADDRESSES, known) == (2, 1)
        hidden = await scene.database.read(messages.get, None, ids[1])
        assert (hidden["recipient"], hidden["cc"]) == (GONE, None)
        assert [one["address"] for one in await scene.database.read(messages.recipients, ids[1])] == [
            GONE
        ] * 2
        assert await sweep(scene, Part.EVENTS, known) == (1, 0)
        assert await rows(scene, t.event, ids) == ids[1:]
        assert await sweep(scene, Part.MESSAGES, known) == (1, 1)
        assert await rows(scene, t.message, ids) == ids[1:]
        # What was not sent has everything it needs.
        assert await scene.database.read(messages.raw, waits.id)
        assert (await scene.database.read(messages.get, None, waits.id))["subject"]
        assert await sweep(scene, Part.BODY, known) == (0, 1)


FILED = b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
#: longer than one row of `body`, and nothing that PostgreSQL could compress: each end of it would be seen to stay
FILE = base64.encodebytes(random.Random(1).randbytes(780_000)).replace(b"\n", b"\r\n")
PARTS = (
    b"--b\r\n\r\nHello\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    b"Content-Disposition: attachment; filename=plan.pdf\r\n\r\n" + FILE + b"--b--\r\n"
)


@pytest.mark.anyio
async def test_attachments_go_and_the_text_stays(database_url, settings):
    config = settings(database={"url": database_url}, retention={"attachments": 30})
    async with playing(database_url) as scene:
        filed = await aged(scene, 50, 40, 5, head=FILED, body=PARTS)
        plain = await aged(scene, 45)
        waits = await scene.store(
            "a@x.example", head=FILED, body=PARTS, id=floor_at(now() - 60 * DAY), send_at=now() + DAY
        )
        dry = await cleaning.sweep_all(scene.database, config, dry_run=True)
        assert {name: (one.messages, one.unsent) for name, one in dry.items()} == {"attachments": (2, 1)}
        assert (await scene.database.read(messages.raw, filed[0])).endswith(PARTS)
        done = await cleaning.sweep_all(scene.database, config)
        assert done == dry
        for one in filed[:2]:
            raw = await scene.database.read(messages.raw, one)
            mail = email.message_from_bytes(raw)
            assert [part.get_content_type() for part in mail.walk()] == ["multipart/mixed"] + [
                "text/plain"
            ] * 2
            assert (mail.get_payload()[0].get_payload(), len(raw) < 600) == ("Hello", True)
            row = await scene.database.read(messages.get, None, one)
            assert (row["status"], row["redacted_at"], row["stripped_at"] is not None) == ("SENT", None, True)
            # What a client was told of its files at the door it is told now.
            assert row["attachments"] == [{"fileName": f"{ADDRESS}.pdf"}]
        assert (await scene.database.read(messages.raw, filed[2])).endswith(PARTS)
        assert (await scene.database.read(messages.raw, waits.id)).endswith(PARTS)
        assert (await scene.database.read(messages.get, None, plain[0]))["redacted_at"] is None
        # Nothing is looked at twice, and one that waits may go once it has been sent.
        again = await cleaning.sweep_all(scene.database, config)
        assert (again["attachments"].messages, again["attachments"].unsent) == (0, 1)
        assert await cleaning.strip_one(scene.database, None, filed[2])
        with pytest.raises(retention.Refused, match="cancel it first"):
            await cleaning.strip_one(scene.database, None, waits.id)
        assert not await cleaning.strip_one(scene.database, 1, filed[2])
        await scene.database.write(
            lambda c: c.execute(
                t.recipient.update().where(t.recipient.c.message_id == waits.id).values(state="done")
            )
        )
        assert await cleaning.sweep_some(scene.database, config, steps=9) == 1
        # A client that came by SMTP said nothing of files; the mail did.
        row = await scene.database.read(messages.get, None, waits.id)
        assert [(one["fileName"], one["fileSize"]) for one in row["attachments"]] == [("plan.pdf", 780_000)]
        marks = (FILE[:60].lower(), FILE[-60:-2].lower())
        for mark in marks:
            assert await asyncio.to_thread(found_in_bytes, database_url, mark)
    await cleaning.scrub_record(config, full=True)
    for mark in marks:
        assert await asyncio.to_thread(found_in_bytes, database_url, mark) == []


@pytest.mark.anyio
@pytest.mark.parametrize("take", [retention.redact, retention.remove])
async def test_a_mail_that_loses_its_files_while_it_is_taken_away_is_not_left_behind(database_url, take):
    async with playing(database_url) as scene:
        (one,) = await aged(scene, 50, head=FILED, body=PARTS)
        kept = asyncio.Event()
        loop = asyncio.get_running_loop()

        def strip(connection):
            assert retention.keep_stripped(connection, one, Stripped(mail=b"short", files=[]), now())
            loop.call_soon_threadsafe(kept.set)
            if connection.dialect.name == "postgresql":
                # Its transaction is open while the other one begins.
                connection.exec_driver_sql("SELECT pg_sleep(0.5)")

        stripping = asyncio.create_task(scene.database.write(strip))
        await kept.wait()
        await scene.database.write(take, [one], now())
        await stripping
        assert await rows(scene, t.body, [one]) == []


@pytest.mark.anyio
async def test_accounts_and_streams_have_times_of_their_own(database_url):
    async with playing(database_url) as scene:
        plain = await aged(scene, 20)
        news = await aged(scene, 20, options={"stream": "news"})
        work = scene.database.write
        with pytest.raises(NotFound, match="no stream named news"):
            await work(retention.set_rule, scene.account, "news", {"body": 10})
        await work(streams.create, scene.account, Stream("news"))
        await work(retention.set_rule, scene.account, "", {"body": 0})
        await work(retention.set_rule, scene.account, "news", {"body": 10})
        known = await scene.database.read(retention.rules, {"body": 15})
        assert known.shortest(Part.BODY) == 10
        assert await sweep(scene, Part.BODY, known) == (1, 0)
        assert await rows(scene, t.body, plain + news) == plain
        await work(retention.set_rule, scene.account, "", {})
        known = await scene.database.read(retention.rules, {"body": 15})
        assert await sweep(scene, Part.BODY, known) == (1, 0)


@pytest.mark.anyio
async def test_the_clock_walks_on_where_it_was_and_rests_at_the_end(database_url, settings, monkeypatch):
    config = settings(database={"url": database_url}, retention={"body": 1})
    monkeypatch.setattr(cleaning, "STEP", 1)
    async with playing(database_url) as scene:
        ids = await aged(scene, 9, 8, 7, 6)
        assert await cleaning.sweep_some(scene.database, config, steps=1) == 1
        assert await cleaning.sweep_some(scene.database, config, steps=2) == 2
        assert await rows(scene, t.body, ids) == ids[3:]
        assert await cleaning.sweep_some(scene.database, config, steps=9) == 1
        more = await aged(scene, 5)
        assert await cleaning.sweep_some(scene.database, config, steps=9) == 0
        monkeypatch.setattr(retention, "_REST", timedelta(0))
        assert await cleaning.sweep_some(scene.database, config, steps=9) == 1
        assert await rows(scene, t.body, more) == []


@pytest.mark.anyio
async def test_one_message_is_redacted_once_nobody_waits_for_it(sqlite_url):
    async with playing(sqlite_url) as scene:
        (sent,) = await aged(scene, 0)
        waits = await whole(scene, ADDRESS, send_at=now() + DAY)
        redact = retention.redact_one
        with pytest.raises(retention.Refused, match="cancel it first"):
            await scene.database.write(redact, None, waits.id, addresses=False, now=now())
        assert not await scene.database.write(redact, 1, sent, addresses=True, now=now())
        assert await scene.database.write(redact, None, sent, addresses=True, now=now())
        row = await scene.database.read(messages.get, None, sent)
        assert (row["recipient"], row["subject"], row["status"]) == (GONE, "", "SENT")


@pytest.mark.anyio
async def test_others_with_longer_addresses_are_left_alone(database_url):
    async with playing(database_url) as scene:
        longer = [
            "xada@x.example",
            "x.ada@x.example",
            "ada@x.example.org",
            "ada@x.examples",
            "x+ada@x.example",
        ]
        ids = [(await whole(scene, address, send_at=now() + DAY)).id for address in longer]
        named = await scene.store("other@x.example", body=b"mail?to=3Dada@x.example\r\n")
        scene.engine.wake("normal", [named.id])
        await scene.until(lambda: ended(scene, named.id))
        assert await scene.database.read(erasure.remains, "ADA@x.example") == {"body": 1}
        row = await cleaning.erase(scene.database, "ada@x.example", "test")
        assert (row["state"], row["counts"]) == (erasure.DONE, {"redacted": 1})
        for address, identifier in zip(longer, ids, strict=True):
            kept = await scene.database.read(messages.get, None, identifier)
            assert (kept["recipient"], kept["redacted_at"]) == (address, None)
            assert await scene.states(identifier) == [("queued", "ACCEPTED", 0)] * 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"<ada@x.example>", True),
        (b"mailto:Ada@X.example.", True),
        (b'"\\nada@x.example"', True),
        (b"?m%3Dada@x.example&", True),
        (b"ada@x.example-mail.org", False),
        (b"nada@x.example", False),
        (b"ada@x.example.org", False),
    ],
)
def test_what_is_the_address_and_what_is_a_longer_one(tmp_path, text, found):
    for lead in (0, 1_048_570, 1_048_576):
        (tmp_path / "mail").write_bytes(b" " * lead + text)
        assert bool(list(cleaning.files_naming([tmp_path], "ada@x.example"))) == found


@pytest.mark.anyio
async def test_the_audit_log_goes_after_its_days_a_thousand_lines_at_a_time(database_url, settings):
    async with playing(database_url) as scene:

        def made(connection):
            for age, count in ((500, 1500), (100, 3)):
                first = floor_at(now() - age * DAY)
                connection.execute(
                    t.audit.insert(),
                    [
                        {
                            "id": first + place,
                            "who": "x",
                            "door": "cli",
                            "action": "a",
                            "subject": "",
                            "address": "",
                        }
                        for place in range(count)
                    ],
                )

        async def left():
            return await scene.database.read(
                lambda c: c.execute(sa.select(sa.func.count()).select_from(t.audit)).scalar()
            )

        await scene.database.write(made)
        counts = []
        for days in (0, 400, 400, 400):
            config = settings(database={"url": database_url}, retention={"audit": days})
            await cleaning.sweep_some(scene.database, config, steps=1)
            counts.append(await left())
        assert counts == [1503, 503, 3, 3]
