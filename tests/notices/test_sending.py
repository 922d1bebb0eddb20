"""Customers are told what becomes of their mail: signed, in order, for days; on both databases, over real HTTP."""

import asyncio
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest
import structlog
from standardwebhooks.webhooks import WebhookVerificationError
from svix.webhooks import Webhook as SvixWebhook

from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.notice import MAX_PAYLOAD
from relay.core.provider import Report
from relay.notices.post import Post
from relay.store import notices, outbox, search
from relay.store.reports import Line, apply
from tests.notices.receiver import Call, Receiver, Told
from tests.notices.scene import Scene, play

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def down(_: Call) -> Told:
    return Told(503, body=b"down for maintenance")


def test_what_becomes_of_a_mail_is_told_and_signed(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            endpoint, secret = await s.listen(there.url)
            message = await s.mail(
                "a@example.net",
                "b@example.net",
                tag="receipt",
                metadata={"order": 7},
                options={"stream": "shop"},
            )
            await s.settle(message, EventKind.SENT, reply="250 2.0.0 queued as 5")
            assert await s.work() == 4
            for call in there.taken:
                call.verify(secret)
                SvixWebhook(secret).verify(call.body, call.headers)
            assert sorted(there.kinds()) == ["email.accepted"] * 2 + ["email.sent"] * 2
            last = next(call.json for call in there.taken if call.kind == "email.sent")
            told = last["data"]
            assert told["recipient"] in {"a@example.net", "b@example.net"}
            assert {**told, "recipient": "", "recipient_id": "", "event_id": ""} == {
                "event_id": "",
                "message_id": str(message),
                "recipient_id": "",
                "recipient": "",
                "from": "Shop <shop@acme.example>",
                "status": "SENT",
                "tag": "receipt",
                "stream": "shop",
                "metadata": {"order": 7},
                "attempt": 1,
                "provider": "office",
                "reply": "250 2.0.0 queued as 5",
                "bounce": None,
            }
            assert datetime.fromisoformat(last["timestamp"]).tzinfo is not None
            assert {row["state"] for row in await s.notices(endpoint)} == {"delivered"}
            (first, *_rest) = await s.attempts(endpoint)
            assert (first["status"], first["error"]) == (204, None)
            assert there.taken[0].path == "/hooks?x=1"
            assert await s.work() == 0

    play(database_url, scene)


def test_a_changed_body_and_a_wrong_secret_are_found_out(sqlite_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            _, secret = await s.listen(there.url)
            _, other = await s.listen(there.url)
            await s.mail()
            await s.work()
            call = next(one for one in there.taken if _fits(one, secret))
            assert not _fits(call, other)
            assert not _fits(Call(call.path, call.headers, call.body + b" "), secret)

    play(sqlite_url, scene)


def _fits(call: Call, secret: str) -> bool:
    try:
        call.verify(secret)
    except WebhookVerificationError:
        return False
    return True


def test_a_receiver_that_is_down_for_hours_is_told_everything_in_order(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            endpoint, _ = await s.listen(there.url)
            there.answer = down
            sent: list[int] = []
            for _hour in range(6):
                for _ in range(5):
                    sent.append(await s.mail())
                    await s.settle(sent[-1], EventKind.DEFERRED, EventKind.SENT)
                await s.pass_time(10 * MINUTE, 6)
            assert there.taken == []
            row = await s.endpoint(endpoint)
            assert (row["state"], row["failing_since"] is not None) == ("enabled", True)
            # It is not called for every event of the time, only now and then.
            assert len(there.calls) < 100
            there.answer = lambda _: Told()
            await s.pass_time(MINUTE, 3)
            for message in sent:
                kinds = [call.kind for call in there.taken if call.message == str(message)]
                assert kinds == ["email.accepted", "email.deferred", "email.sent"]
            assert len(there.taken) == len(there.ids()) == 3 * len(sent)
            row = await s.endpoint(endpoint)
            assert (row["failures"], row["failing_since"], row["paused_until"]) == (0, None, None)

    play(database_url, scene)


def test_three_days_of_failure_disable_an_endpoint_and_the_others_hear_of_it(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as dead, Receiver() as alive:
            dead.answer = down
            endpoint, _ = await s.listen(dead.url)
            await s.listen(alive.url, kinds=["endpoint.disabled", "email.bounced"])
            await s.mail()
            with structlog.testing.capture_logs() as lines:
                await s.pass_time(HOUR, 70)
                waiting = await s.mail()
                await s.pass_time(HOUR, 1)
                assert (await s.endpoint(endpoint))["state"] == "enabled"
                await s.pass_time(HOUR, 6)
            row = await s.endpoint(endpoint)
            assert row["state"] == "disabled"
            assert "answered 503" in row["reason"]
            (line,) = [line for line in lines if line["event"] == "webhook endpoint disabled"]
            assert line["endpoint"] == endpoint
            assert "?" not in line["url"]
            (told,) = alive.taken
            assert told.kind == "endpoint.disabled"
            assert told.json["data"]["endpoint_id"] == str(endpoint)
            # What it was not told is kept, and told once it is enabled again.
            calls = len(dead.calls)
            await s.pass_time(HOUR, 3)
            assert len(dead.calls) == calls
            dead.answer = lambda _: Told()
            await s.endpoints.change(s.account, endpoint, {"enabled": True})
            await s.work()
            assert str(waiting) in {call.message for call in dead.taken}
            # The other one may have had all of its tries.
            await s.endpoints.replay_failed(s.account, endpoint)
            await s.work()
            assert len(dead.ids()) == 2

    play(database_url, scene)


def test_tries_follow_the_standards_schedule(sqlite_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            # One message is not taken although the endpoint is well, so the endpoint stays enabled.
            stuck = str(await s.mail())
            endpoint, _ = await s.listen(there.url)
            there.answer = lambda call: Told(500 if call.message == stuck else 204)
            await s.settle(int(stuck), EventKind.DEFERRED, EventKind.SENT)
            started = s.now()
            await s.work()
            for _ in range(80):
                await s.mail()
                await s.pass_time(MINUTE * 20, 3)
            tries = [
                (one["at"] - started).total_seconds() / 3600
                for one in await s.attempts(endpoint)
                if one["status"] == 500
            ]
            first, second = (await s.notices(endpoint, message_id=int(stuck)))[:2]
            assert (first["state"], first["attempts"]) == ("failed", len(tries) - second["attempts"])
            # 0 s, 5 s, 5 min, 30 min, then 2, 5, 10, 14, 20 and 24 hours, each a tenth more or less.
            expected = [0, 0, 0.1, 0.6, 2.6, 7.6, 17.6, 31.6, 51.6]
            for at, due in zip(tries, expected, strict=False):
                assert due * 0.9 - 0.01 <= at <= due * 1.1 + 1.4
            # The next event of the message was told only after the one before was given up.
            assert 72 < tries[first["attempts"]] < 78
            assert (await s.endpoint(endpoint))["state"] == "enabled"

    play(sqlite_url, scene)


def test_410_ends_it_at_once(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            there.answer = lambda _: Told(410)
            endpoint, _ = await s.listen(there.url)
            await s.mail()
            await s.work()
            row = await s.endpoint(endpoint)
            assert (row["state"], row["reason"]) == ("disabled", "it answered 410 Gone")
            await s.mail()
            assert await s.pass_time(HOUR, 3) == 0
            assert len(there.calls) == 1

    play(database_url, scene)


@pytest.mark.parametrize("dated", [False, True])
def test_an_endpoint_is_left_alone_for_as_long_as_it_asks(sqlite_url: str, dated: bool) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            wait = format_datetime(datetime.now(UTC) + HOUR, usegmt=True) if dated else "3600"
            there.answer = lambda _: Told(429, (("Retry-After", wait),))
            await s.listen(there.url)
            await s.mail()
            await s.work()
            there.answer = lambda _: Told()
            await s.mail()
            assert await s.pass_time(10 * MINUTE, 5) == 0
            assert await s.pass_time(6 * MINUTE, 2) == 2
            assert len(there.taken) == 2

    play(sqlite_url, scene)


def test_a_slow_receiver_holds_up_nobody_else(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        release = threading.Event()

        def slow(_: Call) -> Told:
            release.wait(100)
            return Told()

        with Receiver() as slug, Receiver() as quick:
            slug.answer = slow
            await s.listen(slug.url)
            await s.listen(quick.url)
            for _ in range(12):
                await s.mail()
            stop = asyncio.Event()
            running = asyncio.create_task(s.new_sender().run(stop))
            await quick.until_taken(12)
            assert slug.taken == []
            assert len(slug.calls) <= 3
            release.set()
            await slug.until_taken(12)
            stop.set()
            await running

    play(database_url, scene, concurrency=3)


def test_a_receiver_that_never_answers_is_given_up_on(sqlite_url: str) -> None:
    async def scene(s: Scene) -> None:
        release = threading.Event()

        def hang(_: Call) -> Told:
            release.wait(100)
            return Told()

        with Receiver() as there:
            there.answer = hang
            endpoint, _ = await s.listen(there.url)
            await s.mail()
            await s.work()
            (one,) = await s.attempts(endpoint)
            assert (one["status"], one["error"]) == (None, "no answer within 0.2 s")
            release.set()

    play(sqlite_url, scene, timeout=0.2)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (Told(hang_up=True), "the connection was lost before an answer came"),
        (Told(302, (("Location", "/elsewhere"),)), "redirects are not followed"),
        (Told(404, body=b"<b>no such page</b>\x00\xff"), "answered 404"),
    ],
)
def test_what_is_no_success_is_tried_again(sqlite_url: str, told: Told, error: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            there.answer = lambda _: told
            endpoint, _ = await s.listen(there.url)
            await s.mail()
            await s.work()
            (one,) = await s.attempts(endpoint)
            assert error in one["error"]
            assert one["answer"] in {None, "", "<b>no such page</b>\ufffd\ufffd"}
            there.answer = lambda _: Told()
            await s.pass_time(10 * MINUTE, 1)
            assert len(there.ids()) == 1
            assert len({call.id for call in there.calls}) == 1

    play(sqlite_url, scene)


def test_an_answer_is_read_so_far_and_no_further(sqlite_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            there.answer = lambda _: Told(200, body=b"x" * 5_000_000)
            endpoint, _ = await s.listen(there.url)
            await s.mail()
            await s.work()
            (one,) = await s.attempts(endpoint)
            assert (one["status"], one["answer"]) == (200, "x" * 1024)

    play(sqlite_url, scene)


def test_a_worker_that_vanishes_leaves_nothing_untold(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            await s.listen(there.url)
            message = await s.mail()
            await s.settle(message, EventKind.SENT)
            # Another worker claims, sends perhaps, and is killed.
            rows = await s.database.read(notices.waiting, now=s.now())
            claimed = await s.database.write(
                notices.claim, {row["id"]: 10 for row in rows}, now=s.now(), lease=40
            )
            assert [one.kind for one in claimed] == ["email.accepted"]
            assert await s.work() == 0
            s.ahead += timedelta(seconds=41)
            assert await s.work() == 2
            assert there.kinds() == ["email.accepted", "email.sent"]
            assert there.taken[0].id == f"msg_{claimed[0].id}"
            # What the dead one says after all changes nothing.
            late = notices.Result(claimed[0], s.now(), 5, delivered=False, error="late", due_at=s.now())
            await s.database.write(notices.settle, [late], now=s.now(), disable_after=9e9)
            assert await s.work() == 0

    play(database_url, scene)


@pytest.mark.parametrize("seed", [1, 2])
def test_each_message_is_told_in_order_whatever_fails(database_url: str, seed: int) -> None:
    chance = random.Random(seed)
    kinds = (EventKind.DEFERRED, EventKind.DEFERRED, EventKind.SENT)

    def moody(_: Call) -> Told:
        busy = Told(429, (("Retry-After", "30"),))
        return chance.choice((Told(), Told(), Told(500), Told(hang_up=True), busy))

    async def scene(s: Scene) -> None:
        with Receiver() as there:
            there.answer = moody
            endpoint, _ = await s.listen(there.url)
            other = s.new_sender()
            messages = []
            for _ in range(12):
                messages.append(await s.mail())
                await s.settle(messages[-1], *kinds[: chance.randint(1, 3)])
                s.ahead += timedelta(seconds=chance.randint(0, 40))
                await asyncio.gather(s.sender.look(), other.look())
            for _ in range(40):
                await s.work(s.sender, other)
                s.ahead += 10 * MINUTE
            there.answer = lambda _: Told()
            for _ in range(60):
                await s.work(s.sender, other)
                s.ahead += HOUR
            await other.aclose()
            for message in messages:
                wanted = [f"msg_{row['id']}" for row in await s.notices(endpoint, message_id=message)]
                assert there.ids(str(message)) == wanted
                assert len(wanted) >= 2

    play(database_url, scene)


def test_filters_say_what_an_endpoint_hears(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as kinds, Receiver() as streams, Receiver() as tags:
            await s.listen(kinds.url, kinds=["email.bounced"])
            await s.listen(streams.url, streams=["shop"])
            await s.listen(tags.url, tags=["a", "b"])
            for tag, stream in (("a", "shop"), ("c", None), (None, "letters"), ("b", None)):
                message = await s.mail(tag=tag, options={"stream": stream} if stream else {})
                await s.settle(message, EventKind.BOUNCED)
            await s.work()
            assert kinds.kinds() == ["email.bounced"] * 4
            assert {call.json["data"]["stream"] for call in streams.taken} == {"shop"}
            assert len(streams.taken) == 2
            assert {call.json["data"]["tag"] for call in tags.taken} == {"a", "b"}
            assert len(tags.taken) == 4

    play(database_url, scene)


def test_what_providers_and_readers_report_is_told(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            await s.listen(there.url)
            message = await s.mail("ada@example.net")
            await s.settle(message, EventKind.SENT)
            at = datetime.now(UTC)
            bounce = Bounce(BounceClass.SOFT, BounceReason.MAILBOX_FULL)
            reports = (
                Report(EventKind.DELIVERED, at, token=str(message), recipient="ada@example.net"),
                Report(EventKind.CLICKED, at, token=str(message), detail={"url": "https://shop.example/"}),
                Report(EventKind.BOUNCED, at, token=str(message), bounce=bounce),
                # The first one again: what is told twice to us is told once to others.
                Report(EventKind.DELIVERED, at, token=str(message), recipient="ada@example.net"),
            )
            for report in reports:
                await s.database.write(apply, [Line("office", report)])
            await s.work()
            told = [(call.kind, call.json["data"]) for call in there.taken][2:]
            assert [kind for kind, _ in told] == ["email.delivered", "email.clicked", "email.bounced"]
            assert [data["status"] for _, data in told] == ["DELIVERED", "OPENED", "BOUNCED"]
            assert {data["recipient"] for _, data in told} == {"ada@example.net"}
            assert told[1][1]["url"] == "https://shop.example/"
            assert told[2][1]["bounce"] == {"class": "soft", "reason": "mailbox_full"}

    play(database_url, scene)


def test_taking_a_mail_back_is_told_and_other_accounts_are_not(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        from relay.store import accounts

        other = await s.database.write(accounts.create_account, "other")
        with Receiver() as there:
            await s.listen(there.url)
            await s.mail(account=other)
            message = await s.mail()
            await s.database.write(search.cancel, s.account, message)
            await s.work()
            assert there.kinds() == ["email.accepted", "email.cancelled"]
            assert there.taken[1].json["data"]["status"] == "UNSENT"

    play(database_url, scene)


def test_a_payload_stays_small(sqlite_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            await s.listen(there.url, kinds=["email.sent"])
            message = await s.mail(metadata={"large": "x" * 30_000})
            await s.settle(message, EventKind.SENT, reply="250 " + "y" * 30_000)
            await s.work()
            (call,) = there.taken
            assert len(call.body) < MAX_PAYLOAD
            assert (call.json["data"]["metadata"], call.json["data"]["truncated"]) == (None, True)

    play(sqlite_url, scene)


@pytest.mark.parametrize("metadata", [{"n": 2**70}, {"half": "\ud800"}, {"no\u0000": "\u0000"}])
def test_what_only_json_can_hold_fails_nothing(metadata: dict[str, object]) -> None:
    body = outbox.encoded("email.sent", datetime.now(UTC), {"metadata": metadata})
    assert b"email.sent" in body
    if "half" not in metadata:
        assert orjson.loads(body)["type"] == "email.sent"


def test_a_rotated_secret_is_valid_for_a_day_with_the_new_one(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            endpoint, old = await s.listen(there.url)
            _, new = await s.endpoints.rotate(s.account, endpoint)
            await s.mail()
            await s.work()
            there.taken[0].verify(old)
            there.taken[0].verify(new)
            s.ahead += timedelta(hours=24, minutes=1)
            await s.mail()
            await s.work()
            assert len(there.taken[0].headers["webhook-signature"].split()) == 2
            assert len(there.taken[1].headers["webhook-signature"].split()) == 1
            row = await s.endpoint(endpoint)
            assert old.encode() not in bytes(row["previous_secret"])
            assert new.encode() not in bytes(row["secret"])

    play(database_url, scene)


Ask = Callable[[Scene, int], object]


def test_replay_of_one_of_failed_and_of_a_time(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            endpoint, _ = await s.listen(there.url)
            # A message's time is that in its id, cut to the millisecond.
            start = datetime.now(UTC) - timedelta(milliseconds=1)
            first = await s.mail()
            await s.settle(first, EventKind.SENT)
            await s.work()
            told = [call.id for call in there.taken]
            one = (await s.notices(endpoint))[0]["id"]
            assert await s.endpoints.replay_one(s.account, endpoint, one) == 1
            await s.work()
            assert [call.id for call in there.taken] == [*told, told[0]]

            await s.endpoints.change(s.account, endpoint, {"enabled": False})
            unheard = await s.mail()
            await s.settle(unheard, EventKind.DEFERRED, EventKind.SENT)
            await s.endpoints.change(s.account, endpoint, {"enabled": True})
            there.taken.clear()
            end = datetime.now(UTC) + timedelta(seconds=2)
            assert await s.endpoints.replay_between(s.account, endpoint, start, end) == 4
            await s.work()
            assert there.ids(str(first)) == told
            unheard_kinds = [call.kind for call in there.taken if call.message == str(unheard)]
            assert unheard_kinds == ["email.deferred", "email.sent"]

    play(database_url, scene)


def test_all_that_was_given_up_is_told_again(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            endpoint, _ = await s.listen(there.url)
            bad = {str(await s.mail()) for _ in range(3)}
            there.answer = lambda call: Told(500 if call.message in bad else 204)
            for _ in range(9):
                await s.mail()
                await s.pass_time(10 * HOUR, 1)
            failed = await s.notices(endpoint, state="failed")
            assert {str(row["message_id"]) for row in failed} == bad
            there.answer = lambda _: Told()
            assert await s.endpoints.replay_failed(s.account, endpoint) == 3
            await s.work()
            assert await s.notices(endpoint, state="failed") == []
            assert bad <= {call.message for call in there.taken}

    play(database_url, scene)


def test_old_notices_and_deleted_endpoints_go_bit_by_bit(database_url: str) -> None:
    async def scene(s: Scene) -> None:
        with Receiver() as there:
            kept, _ = await s.listen(there.url)
            gone, _ = await s.listen(there.url)
            for _ in range(5):
                await s.mail()
            await s.work()
            assert await s.database.write(notices.prune, before=s.now() - HOUR) == 0
            await s.endpoints.remove(s.account, gone)
            rounds = 0
            while await s.database.write(notices.prune, before=s.now() - HOUR, limit=2):
                rounds += 1
            assert rounds > 2
            assert await s.notices(gone) == []
            assert len(await s.notices(kept)) == len(await s.attempts(kept)) == 5
            assert await s.database.write(notices.prune, before=s.now() + HOUR) == 10
            assert await s.notices(kept) == []

    play(database_url, scene)


def test_a_sender_that_is_told_to_stop_finishes_what_it_has_in_hand(sqlite_url: str) -> None:
    async def scene(s: Scene) -> None:
        entered = threading.Event()

        def slow(_: Call) -> Told:
            entered.set()
            return Told()

        with Receiver() as there:
            there.answer = slow
            endpoint, _ = await s.listen(there.url)
            await s.mail()
            sender, stop = s.new_sender(Post(s.settings)), asyncio.Event()
            running = asyncio.create_task(sender.run(stop))
            await asyncio.to_thread(entered.wait, 100)
            stop.set()
            await running
            assert [row["state"] for row in await s.notices(endpoint)] == ["delivered"]

    play(sqlite_url, scene)
