"""Mail that expires, that is to be sent later, and quiet hours, through real engines on both databases."""

from datetime import timedelta

import pytest

from relay.core.clock import now
from relay.core.ids import floor_at
from relay.core.timing import EXPIRES_AT, QUIET, QuietHours
from relay.store import messages
from relay.store import tables as t
from tests.workers.scene import playing

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.usefixtures("quick_looks")


async def shown(scene, identifier):
    row = await scene.database.read(messages.get, None, identifier)
    return row["status"], row["error_code"]


async def ended(scene, identifier):
    return all(state in {"done", "cancelled", "parked"} for state, _, _ in await scene.states(identifier))


async def tried(scene, identifier):
    return "deferred" in await scene.kinds(identifier) or "ambiguous" in await scene.kinds(identifier)


async def expire(scene, identifier):
    """Let the end of a mail that waits be over, and with it the time at which it is looked at again."""
    past = now() - SECOND

    def write(connection):
        mail, waits = t.message.c, t.recipient.c
        options = {EXPIRES_AT: past.isoformat()}
        connection.execute(t.message.update().where(mail.id == identifier).values(options=options))
        connection.execute(t.recipient.update().where(waits.message_id == identifier).values(due_at=past))

    await scene.database.write(write)


@pytest.mark.anyio
async def test_what_has_expired_is_dropped_and_says_so(database_url):
    async with playing(database_url) as scene:
        late = await scene.store("a@x.example", "b@x.example", expires_at=now() - SECOND)
        good = await scene.store("c@x.example", expires_at=now() + timedelta(hours=1))
        scene.engine.wake("normal", [late.id, good.id])
        await scene.until(lambda: ended(scene, late.id))
        await scene.until(lambda: ended(scene, good.id))
        assert scene.taken("out") == ["c@x.example"]
        assert await scene.states(late.id) == [("cancelled", "UNSENT", 0)] * 2
        assert await shown(scene, late.id) == ("UNSENT", "Expired")
        events = await scene.database.read(messages.timeline, late.id)
        assert [(one["kind"], one["detail"]) for one in events] == [("expired", {"why": "expired"})] * 2
        assert "550 5.4.7" in events[0]["reply"]


@pytest.mark.anyio
async def test_tries_end_when_it_expires_and_not_later(database_url):
    """The schedule would wait an hour for the second try."""
    async with playing(database_url, retry={"delays": (3600,), "jitter": 0}) as scene:
        scene.provider.answer("busy@x.example", "retry", "accepted")
        ends = now() + HOUR / 2
        mail = await scene.store("busy@x.example", expires_at=ends)
        scene.wake()
        await scene.until(lambda: tried(scene, mail.id))
        (row,) = await scene.database.read(messages.recipients, mail.id)
        assert row["due_at"] == ends
        await expire(scene, mail.id)
        await scene.until(lambda: ended(scene, mail.id))
        assert await scene.states(mail.id) == [("cancelled", "UNSENT", 1)]
        assert await scene.kinds(mail.id) == ["deferred", "expired"]
        assert scene.taken("out") == []


@pytest.mark.anyio
async def test_what_may_have_gone_out_is_left_to_a_human_when_it_expires(database_url):
    async with playing(database_url, retry={"delays": (3600,), "jitter": 0}) as scene:
        scene.provider.answer("who@x.example", "ambiguous")
        mail = await scene.store("who@x.example", expires_at=now() + HOUR / 2)
        scene.wake()
        await scene.until(lambda: tried(scene, mail.id))
        await expire(scene, mail.id)
        await scene.until(lambda: ended(scene, mail.id))
        assert (await scene.states(mail.id))[0][:2] == ("parked", "ACCEPTED")
        assert await scene.kinds(mail.id) == ["ambiguous", "parked"]


@pytest.mark.anyio
async def test_giving_up_counts_from_the_time_it_was_to_be_sent(database_url):
    """Else what waited for longer than its tries may last would not be tried again."""
    async with playing(database_url, retry={"delays": (0.1,), "jitter": 0, "give_up_after": 3600}) as scene:
        scene.provider.answer("busy@x.example", "retry", "accepted")
        yesterday = floor_at(now() - timedelta(days=1))
        mail = await scene.store("busy@x.example", id=yesterday, send_at=now())
        scene.wake()
        await scene.until(lambda: ended(scene, mail.id))
        assert (await scene.states(mail.id))[0] == ("done", "SENT", 2)


def around(moment, *, starts: int, ends: int) -> list[str]:
    """Quiet hours so many minutes before and after."""
    start, end = moment + timedelta(minutes=starts), moment + timedelta(minutes=ends)
    return QuietHours.parse(f"{start:%H:%M}", f"{end:%H:%M}", "UTC").words()


@pytest.mark.anyio
async def test_in_quiet_hours_it_waits_for_their_end(database_url):
    async with playing(database_url) as scene:
        quiet = await scene.store("a@x.example", options={QUIET: around(now(), starts=-60, ends=60)})
        loud = await scene.store("b@x.example", options={QUIET: around(now(), starts=60, ends=120)})
        scene.engine.wake("normal", [quiet.id, loud.id])
        await scene.until(lambda: ended(scene, loud.id))
        await scene.until(lambda: moved(scene, quiet.id))
        assert scene.taken("out") == ["b@x.example"]
        assert await scene.states(quiet.id) == [("queued", "ACCEPTED", 0)]
        assert await scene.kinds(quiet.id) == []


async def moved(scene, identifier):
    (row,) = await scene.database.read(messages.recipients, identifier)
    return row["state"] == "queued" and row["due_at"] > now() + timedelta(minutes=50)


@pytest.mark.anyio
async def test_tries_are_not_made_in_quiet_hours(database_url):
    async with playing(database_url, retry={"delays": (30 * 60,), "jitter": 0}) as scene:
        scene.provider.answer("busy@x.example", "retry")
        quiet = around(now(), starts=10, ends=90)
        mail = await scene.store("busy@x.example", options={QUIET: quiet})
        scene.wake()
        await scene.until(lambda: tried(scene, mail.id))
        (row,) = await scene.database.read(messages.recipients, mail.id)
        assert row["due_at"].strftime("%H:%M") == quiet[1]


@pytest.mark.anyio
async def test_what_expires_in_quiet_hours_is_dropped_then(database_url):
    async with playing(database_url) as scene:
        options = {QUIET: around(now(), starts=-60, ends=60)}
        mail = await scene.store("a@x.example", options=options, expires_at=now() + SECOND)
        scene.wake()
        await scene.until(lambda: ended(scene, mail.id))
        assert await shown(scene, mail.id) == ("UNSENT", "Expired")
