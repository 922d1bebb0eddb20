"""Mail to somebody who is suppressed while it waits, on both databases."""

import pytest

from relay.store import messages, suppressions
from relay.store.withholding import ERROR_CODE
from tests.workers.scene import playing

pytestmark = pytest.mark.usefixtures("quick_looks")


async def suppress(scene, address, **entry):
    await scene.database.write(suppressions.add, scene.account, address, source="test", **entry)


async def stored(scene, identifier):
    row = await scene.database.read(messages.get, None, identifier)
    return row["status"], row["error_code"]


@pytest.mark.anyio
async def test_who_was_suppressed_in_the_meantime_gets_nothing(database_url):
    async with playing(database_url) as scene:
        await suppress(scene, "gone@x.example")
        await suppress(scene, "left@x.example", stream="bulk")
        # Past the doors, as if that had come first.
        mail = await scene.store("Gone@x.example", "here@x.example")
        left = await scene.store("left@x.example", options={"stream": "bulk"})
        other = await scene.store("left@x.example")
        scene.engine.wake("normal", [mail.id, left.id, other.id])
        await scene.until(lambda: scene.settled([other.id]))
        await scene.until(lambda: len(scene.taken("out")) == 2)
        assert sorted(scene.taken("out")) == ["here@x.example", "left@x.example"]
        await scene.until(lambda: _is_done(scene, mail.id))
        assert await scene.states(mail.id) == [("cancelled", "UNSENT", 0), ("done", "SENT", 1)]
        assert await stored(scene, mail.id) == ("UNSENT", ERROR_CODE)
        assert await scene.states(left.id) == [("cancelled", "UNSENT", 0)]
        (event,) = await scene.database.read(messages.timeline, left.id)
        assert (event["kind"], event["detail"]) == ("refused", {"why": "suppressed"})
        assert "suppressed while the mail waited" in event["reply"]


async def _is_done(scene, identifier):
    return all(state in {"done", "cancelled"} for state, _, _ in await scene.states(identifier))


@pytest.mark.anyio
async def test_between_two_tries_too(database_url):
    async with playing(database_url, retry={"delays": (0.2,), "jitter": 0}) as scene:
        scene.provider.answer("busy@x.example", "retry")
        busy = await scene.store("busy@x.example")
        scene.wake()
        await scene.until(lambda: _tried(scene, busy.id))
        await suppress(scene, "busy@x.example")
        await scene.until(lambda: _is_done(scene, busy.id))
        ((state, status, attempts),) = await scene.states(busy.id)
        assert (state, status) == ("cancelled", "UNSENT")
        assert attempts >= 1


async def _tried(scene, identifier):
    return (await scene.states(identifier))[0][2] > 0


@pytest.mark.anyio
async def test_what_may_have_gone_out_is_left_to_a_human(database_url):
    async with playing(database_url, retry={"delays": (0.5,), "jitter": 0}) as scene:
        scene.provider.answer("who@x.example", "ambiguous")
        mail = await scene.store("who@x.example")
        scene.wake()
        await scene.until(lambda: _has(scene, mail.id, "ambiguous"))
        await suppress(scene, "who@x.example")
        await scene.until(lambda: _has(scene, mail.id, "parked"))
        assert (await scene.states(mail.id))[0][:2] == ("parked", "ACCEPTED")


async def _has(scene, identifier, kind):
    return kind in await scene.kinds(identifier)
