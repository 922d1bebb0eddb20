"""Mail for later through HTTP: both sends, the list, other times; quiet hours of streams. On both databases."""

from datetime import timedelta

import pytest

from relay.core.clock import now, wire_time
from relay.store import deliveries

MESSAGES = "/v1/messages"
LETTER = {"from": "ada@acme.example", "to": ["bob@example.net"], "subject": "Hello", "text": "Plain"}


def later(**span):
    return wire_time(now() + timedelta(**span))


@pytest.fixture
def send(ask, door):
    def call(**fields):
        status, answer = ask(door.key, "POST", MESSAGES, {**LETTER, **fields})
        assert status == 201, answer
        return answer["id"]

    return call


@pytest.fixture
def get(ask, door):
    return lambda identifier: ask(door.key, "GET", f"{MESSAGES}/{identifier}")[1]


def due_of(shown):
    return [one["due_at"] for one in shown["recipients"]]


def test_the_list_has_what_waits_in_the_order_of_its_times(ask, door, send):
    send()
    times = [later(hours=hours) for hours in (5, 1, 3, 3)]
    ids = [send(send_at=moment, to=["a@example.net", "b@example.net"]) for moment in times]
    urgent = send(send_at=later(hours=2), classification="URGENT")
    wanted = [ids[1], urgent, ids[2], ids[3], ids[0]]
    answer = ask(door.key, "GET", "/v1/scheduled")[1]
    assert [one["id"] for one in answer["data"]] == wanted
    assert answer["data"][0]["due_at"] == times[1]
    assert (answer["has_more"], answer["next_cursor"]) == (False, None)
    found, cursor = [], ""
    while cursor is not None:
        page = ask(door.key, "GET", f"/v1/scheduled?limit=2{cursor and '&cursor=' + cursor}")[1]
        found += [one["id"] for one in page["data"]]
        cursor = page["next_cursor"]
    assert found == wanted
    status, error = ask(door.key, "GET", "/v1/scheduled?cursor=x")
    assert (status, error["code"]) == (400, "api_validation")


def test_others_do_not_see_it(ask, door, send, admin):
    send(send_at=later(hours=1))
    stranger = door.new_account("other", scopes=("read",))
    assert ask(stranger, "GET", "/v1/scheduled")[1]["data"] == []
    mine = f"/v1/scheduled?account_id={door.account_id}"
    assert ask(stranger, "GET", mine)[0] == 403
    assert len(ask(admin, "GET", mine)[1]["data"]) == 1


def test_another_time(ask, door, send, get):
    identifier = send(send_at=later(hours=1), to=["a@example.net", "b@example.net"])
    moment, end = later(hours=7), later(hours=8)
    status, changed = ask(
        door.key, "PATCH", f"{MESSAGES}/{identifier}", {"send_at": moment, "expires_at": end}
    )
    assert (status, changed["due_at"], changed["expires_at"]) == (200, moment, end)
    shown = get(identifier)
    assert due_of(shown) == [moment, moment]
    assert (shown["send_at"], shown["expires_at"]) == (moment, end)
    status, changed = ask(door.key, "PATCH", f"{MESSAGES}/{identifier}", {"expires_at": None})
    assert (changed["due_at"], changed["expires_at"]) == (moment, None)
    status, changed = ask(door.key, "PATCH", f"{MESSAGES}/{identifier}", {"send_at": None})
    assert status == 200
    assert get(identifier)["send_at"] is None
    claimed = door.work(deliveries.claim, [int(identifier)], now=now(), lease=30)
    assert len(claimed[0].claims) == 2
    status, error = ask(door.key, "PATCH", f"{MESSAGES}/{identifier}", {"send_at": moment})
    assert (status, error["code"]) == (409, "conflict")


def test_what_was_cancelled_gets_no_other_time(ask, door, send):
    identifier = send(send_at=later(hours=1))
    ask(door.key, "POST", f"{MESSAGES}/{identifier}/cancel")
    assert ask(door.key, "PATCH", f"{MESSAGES}/{identifier}", {"send_at": later(hours=2)})[0] == 409
    assert ask(door.key, "GET", "/v1/scheduled")[1]["data"] == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "send_at"),
        ({"send_at": timedelta(days=400)}, "365 days"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "in the future"),
        ({"expires_at": timedelta(minutes=30)}, "later than send_at"),
        ({"send_at": "soon"}, "send_at"),
    ],
)
def test_times_that_cannot_be(ask, door, send, fields, said):
    # From now, not from when the tests were collected: that may be most of an hour ago.
    fields = {name: wire_time(now() + at) if isinstance(at, timedelta) else at for name, at in fields.items()}
    identifier = send(send_at=later(hours=1))
    status, error = ask(door.key, "PATCH", f"{MESSAGES}/{identifier}", fields)
    assert (status, error["code"]) == (400, "api_validation")
    assert said in error["message"]
    if fields:
        status, error = ask(door.key, "POST", MESSAGES, {**LETTER, "send_at": later(hours=1), **fields})
        assert status == 400
        assert said in error["message"]


def test_nobody_elses_mail_gets_another_time(ask, door, send):
    identifier = send(send_at=later(hours=1))
    stranger = door.new_account("other", scopes=("send", "read"))
    assert ask(stranger, "PATCH", f"{MESSAGES}/{identifier}", {"send_at": None})[0] == 404


def test_the_contracts_send_knows_both_times(door, get):
    moment, end = later(hours=1), later(hours=2)
    shown = get(door.sent(send_at=moment, expires_at=end)["id"])
    assert (shown["send_at"], shown["expires_at"], due_of(shown)) == (moment, end, [moment])
    shown = get(door.sent(send_at="2020-01-01T00:00:00+08:00")["id"])
    assert shown["send_at"] is None
    for fields, said in (
        ({"send_at": "2030-01-01T00:00:00"}, '"send_at" must be a time with its zone'),
        ({"send_at": 1893456000}, '"send_at" must be a time with its zone'),
        ({"expires_at": "2020-01-01T00:00:00Z"}, '"expires_at" must be in the future'),
    ):
        answer = door.send(**fields)
        assert answer.status_code == 400
        assert said in answer.json()["message"]


def quiet_now():
    start, end = now() - timedelta(hours=1), now() + timedelta(hours=1)
    return {"from": f"{start:%H:%M}", "to": f"{end:%H:%M}", "timezone": "UTC"}


def test_mail_of_a_quiet_stream_waits_unless_it_is_urgent(ask, door, manager, send, get):
    quiet = quiet_now()
    status, made = ask(manager, "POST", "/v1/streams", {"name": "news", "quiet": quiet})
    assert (status, made["quiet"]) == (201, quiet)
    shown = get(send(stream="news"))
    assert shown["send_at"][11:16] == quiet["to"]
    assert due_of(shown) == [shown["send_at"]]
    assert get(send(stream="news", classification="URGENT"))["send_at"] is None
    after = later(hours=5)
    assert get(send(stream="news", send_at=after))["send_at"] == after
    # Another time is minded in the same way.
    identifier = send(stream="news", send_at=after)
    changed = ask(door.key, "PATCH", f"{MESSAGES}/{identifier}", {"send_at": None})[1]
    assert changed["due_at"][11:16] == quiet["to"]
    assert ask(manager, "PATCH", "/v1/streams/news", {"title": "News"})[1]["quiet"] == quiet
    assert ask(manager, "PATCH", "/v1/streams/news", {"quiet": None})[1]["quiet"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"timezone": "Mars/Olympus"}, "not a time zone"),
        ({"to": "25:00"}, "not a time of day"),
        ({"to": "22:00"}, "same time"),
        ({"days": []}, "days"),
    ],
)
def test_what_are_no_quiet_hours(ask, manager, change, said):
    quiet = {"from": "22:00", "to": "07:00", "timezone": "Asia/Singapore", **change}
    status, error = ask(manager, "POST", "/v1/streams", {"name": "news", "quiet": quiet})
    assert (status, error["code"]) == (400, "api_validation")
    assert said in error["message"]
