"""/v1/webhook-endpoints through HTTP, on both databases; what is sent is tested in tests/notices."""

from datetime import timedelta
from functools import partial

import pytest

from relay.core.clock import now, wire_time
from relay.notices.secrets import open_safe
from relay.notices.sender import Sender
from tests.api.conftest import Door
from tests.notices.receiver import Receiver, Told
from tests.notices.scene import LOOSE

BASE = "/v1/webhook-endpoints"
URL = "https://hooks.example.org/mail?token=1"


@pytest.fixture
def open_door(door, settings):
    """The door, where endpoints may be on this machine."""
    tables = {"database": {"url": door.settings.database_url}, "limits": {"sends_per_second": 0}}
    door.reopen(settings(**tables, webhooks=LOOSE))
    return door


def deliver(door: Door) -> None:
    """What a worker does."""

    async def work() -> None:
        sender = Sender(door.database, door.settings.webhooks, partial(open_safe, [], door.database))
        while await sender.look():
            await sender.settled()
        await sender.aclose()

    door.run(work())


def test_an_endpoint_is_made_listed_changed_and_deleted(ask, door, manager):
    status, made = ask(
        manager, "POST", BASE, {"url": URL, "description": "shop", "kinds": ["email.sent", "email.bounced"]}
    )
    assert status == 201
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert {**made, "id": "", "created_at": ""} == {
        "id": "",
        "account_id": str(door.account_id),
        "url": URL,
        "description": "shop",
        "kinds": ["email.bounced", "email.sent"],
        "streams": [],
        "tags": [],
        "enabled": True,
        "disabled_at": None,
        "disabled_because": None,
        "failing_since": None,
        "failures": 0,
        "paused_until": None,
        "previous_secret_until": None,
        "created_at": "",
    }
    one = f"{BASE}/{made['id']}"
    assert ask(door.key, "GET", one) == (200, made)
    assert ask(door.key, "GET", BASE)[1]["data"] == [made]
    status, changed = ask(manager, "PATCH", one, {"kinds": [], "tags": ["a"], "enabled": False})
    assert status == 200
    assert (changed["kinds"], changed["tags"], changed["enabled"]) == ([], ["a"], False)
    assert changed["disabled_because"] == "disabled by its owner"
    assert changed["url"] == URL
    assert ask(manager, "PATCH", one, {"enabled": True})[1]["enabled"] is True
    status, rotated = ask(manager, "POST", f"{one}/rotate-secret")
    assert status == 200
    assert rotated["secret"] not in {secret, None}
    assert rotated["previous_secret_until"] is not None
    assert ask(manager, "DELETE", one) == (204, None)
    assert ask(manager, "GET", one)[0] == 404
    assert ask(manager, "DELETE", one)[0] == 404
    assert ask(manager, "GET", BASE)[1]["data"] == []


def test_a_mail_is_told_pinged_listed_and_told_again(ask, open_door, manager):
    with Receiver() as there:
        made = ask(manager, "POST", BASE, {"url": there.url})[1]
        one = f"{BASE}/{made['id']}"
        status, pinged = ask(manager, "POST", f"{one}/ping")
        assert (status, pinged["delivered"], pinged["status"]) == (200, True, 204)
        there.taken[0].verify(made["secret"])
        assert there.kinds() == ["endpoint.ping"]
        sent = open_door.sent()
        there.answer = lambda _: Told(500, body=b"oh no")
        deliver(open_door)
        (waiting,) = ask(open_door.key, "GET", f"{one}/notices?state=pending&payload=true")[1]["data"]
        assert (waiting["type"], waiting["attempts"], waiting["error"]) == (
            "email.accepted",
            1,
            "answered 500",
        )
        assert waiting["payload"]["data"]["message_id"] == waiting["message_id"] == str(sent["id"])
        attempts = ask(open_door.key, "GET", f"{one}/attempts?notice_id={waiting['webhook_id']}")[1]["data"]
        assert [(a["status"], a["answer"]) for a in attempts] == [(500, "oh no")]
        there.answer = lambda _: Told()
        assert ask(manager, "POST", f"{one}/replay", {"notice_id": waiting["webhook_id"]}) == (
            202,
            {"notices": 1},
        )
        deliver(open_door)
        assert there.ids()[1:] == [waiting["webhook_id"]]
        span = {
            "from": wire_time(now() - timedelta(hours=1)),
            "before": wire_time(now() + timedelta(hours=1)),
        }
        assert ask(manager, "POST", f"{one}/replay", span) == (202, {"notices": 1})
        assert ask(manager, "POST", f"{one}/replay", {"failed": True}) == (202, {"notices": 0})
        deliver(open_door)
        assert [call.id for call in there.taken][1:] == [waiting["webhook_id"]] * 2
        listed = ask(open_door.key, "GET", f"{one}/notices")[1]["data"]
        assert [(row["type"], row["state"]) for row in listed] == [
            ("email.accepted", "delivered"),
            ("endpoint.ping", "delivered"),
        ]
        assert "payload" not in listed[0]


def test_a_ping_that_fails_says_why(ask, open_door, manager):
    with Receiver("127.0.0.2") as forbidden, Receiver() as there:
        there.answer = lambda _: Told(302, (("Location", forbidden.url),))
        made = ask(manager, "POST", BASE, {"url": there.url})[1]
        status, pinged = ask(manager, "POST", f"{BASE}/{made['id']}/ping")
        assert (status, pinged["delivered"], pinged["status"]) == (200, False, 302)
        assert "redirects are not followed" in pinged["error"]
        assert forbidden.connections == 0
        status, refused = ask(manager, "POST", BASE, {"url": forbidden.url})
        assert (status, refused["message"]) == (400, "127.0.0.2 is not allowed: it is this machine")


def test_other_accounts_endpoints_do_not_exist(ask, door, admin, manager):
    made = ask(manager, "POST", BASE, {"url": URL})[1]
    other = door.new_account("other", scopes=("read", "manage"))
    one = f"{BASE}/{made['id']}"
    for method, path in (
        ("GET", one),
        ("DELETE", one),
        ("POST", f"{one}/ping"),
        ("POST", f"{one}/rotate-secret"),
        ("GET", f"{one}/notices"),
        ("GET", f"{one}/attempts"),
    ):
        assert ask(other, method, path)[0] == 404, path
    assert ask(other, "PATCH", one, {"enabled": False})[0] == 404
    assert ask(other, "POST", f"{one}/replay", {"failed": True})[0] == 404
    assert ask(other, "GET", f"{one}?account_id={door.account_id}")[0] == 403
    assert ask(admin, "GET", f"{one}?account_id={door.account_id}")[0] == 200
    assert ask(admin, "POST", BASE, {"url": URL, "account_id": str(door.account_id)})[0] == 201


def test_writing_needs_more_than_reading(ask, door):
    assert ask(door.key, "POST", BASE, {"url": URL})[0] == 403


def test_an_account_has_only_so_many(ask, door, manager, settings):
    tables = {"database": {"url": door.settings.database_url}}
    door.reopen(settings(**tables, webhooks={"max_endpoints": 1}))
    assert ask(manager, "POST", BASE, {"url": URL})[0] == 201
    status, refused = ask(manager, "POST", BASE, {"url": URL})
    assert (status, refused["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, '"url" is required'),
        ({"url": ""}, '"url"'),
        ({"url": "http://hooks.example.org/"}, "must be https"),
        ({"url": "https://10.0.0.1/"}, "10.0.0.1 is not allowed: it is a private network"),
        ({"url": "https://localhost/"}, "this machine"),
        ({"url": URL, "kinds": ["email.lost"]}, "unknown 'email.lost'"),
        ({"url": URL, "kinds": "email.sent"}, '"kinds"'),
        ({"url": URL, "tags": [""]}, '"tags.0"'),
        ({"url": URL, "secret": "mine"}, '"secret" is not allowed'),
        ({"url": URL, "description": "a\nb"}, '"description"'),
    ],
)
def test_what_is_no_endpoint_is_refused(refuse, fields, words):
    status, answer = refuse("manager", "POST", BASE, fields)
    assert status == 400
    assert words in answer["message"]


NO_REPLAYS = (
    {},
    {"failed": False},
    {"failed": True, "notice_id": "1"},
    {"from": "2026-01-01T00:00:00Z"},
    {"from": "2026-01-02T00:00:00Z", "before": "2026-01-01T00:00:00Z"},
    {"from": "2026-01-01T00:00:00Z", "before": "2026-03-01T00:00:00Z"},
    {"notice_id": "first"},
)


def test_what_is_no_replay_is_refused(ask, manager):
    one = f"{BASE}/{ask(manager, 'POST', BASE, {'url': URL})[1]['id']}"
    for fields in NO_REPLAYS:
        assert ask(manager, "POST", f"{one}/replay", fields)[0] == 400, fields
    assert ask(manager, "POST", f"{one}/replay", {"notice_id": "9999"})[0] == 404
    ask(manager, "PATCH", one, {"enabled": False})
    status, refused = ask(manager, "POST", f"{one}/replay", {"failed": True})
    assert (status, refused["message"]) == (409, "The endpoint is disabled; enable it first.")
