"""/v1/streams, and what a stream's settings do to a send, through HTTP on both databases."""

import pytest

from relay.store import messages
from tests.api.conftest import refused

STREAMS = "/v1/streams"
NEWS = {"name": "news", "title": "Shop news", "lane": "bulk", "unsubscribe": True, "track_opens": True}


def test_two_streams_are_always_there(ask, door):
    status, found = ask(door.key, "GET", STREAMS)
    assert status == 200
    assert not found["has_more"]
    assert [(one["name"], one["built_in"], one["lane"], one["unsubscribe"]) for one in found["data"]] == [
        ("transactional", True, "normal", False),
        ("bulk", True, "bulk", True),
    ]


def test_a_stream_is_made_changed_and_removed(ask, door, manager):
    status, made = ask(manager, "POST", STREAMS, NEWS)
    assert status == 201
    assert made == {
        **NEWS,
        "built_in": False,
        "track_clicks": None,
        "unsubscribe_from": "stream",
        "complaint_from": "account",
        "quiet": None,
        "provider": None,
    }
    assert ask(manager, "POST", STREAMS, NEWS)[0] == 409
    assert ask(door.key, "GET", f"{STREAMS}/news") == (200, made)
    changed = ask(manager, "PATCH", f"{STREAMS}/news", {"lane": "normal", "unsubscribe_from": "account"})[1]
    assert changed == {**made, "lane": "normal", "unsubscribe_from": "account"}
    assert ask(door.key, "GET", f"{STREAMS}/news") == (200, changed)
    assert ask(manager, "DELETE", f"{STREAMS}/news") == (204, None)
    assert ask(door.key, "GET", f"{STREAMS}/news")[0] == 404
    assert ask(manager, "DELETE", f"{STREAMS}/news")[0] == 404


def test_a_built_in_stream_can_be_changed_and_gets_its_first_settings_back(ask, door, manager):
    before = ask(door.key, "GET", f"{STREAMS}/bulk")[1]
    after = ask(manager, "PATCH", f"{STREAMS}/bulk", {"track_clicks": True})[1]
    assert after == {**before, "track_clicks": True}
    assert ask(manager, "POST", STREAMS, {"name": "bulk"})[0] == 409
    assert ask(manager, "DELETE", f"{STREAMS}/bulk")[0] == 204
    assert ask(door.key, "GET", f"{STREAMS}/bulk") == (200, before)


def test_streams_are_ones_own(ask, door, admin, manager):
    ask(manager, "POST", STREAMS, NEWS)
    assert ask(admin, "GET", f"{STREAMS}/news")[0] == 404
    mine = ask(admin, "GET", f"{STREAMS}/news?account_id={door.account_id}")
    assert mine[1]["title"] == "Shop news"
    other = door.identity(admin).account_id
    assert ask(manager, "GET", f"{STREAMS}?account_id={other}")[0] == 403
    assert ask(door.key, "POST", STREAMS, {"name": "more"})[0] == 403
    assert ask(admin, "POST", STREAMS, {"name": "more", "account_id": "77"})[0] == 404


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "Big"},
        {"name": "-x"},
        {"name": "x" * 65},
        {"name": "x", "lane": "urgent"},
        {"name": "x", "unsubscribe_from": "everything"},
        {"name": "x", "complaint_from": None},
        {"name": "x", "title": "a\nb"},
        {"name": "x", "colour": "red"},
        {"name": "x", "provider": "pigeon"},
    ],
)
def test_what_can_be_no_stream_is_refused(refuse, fields):
    status, answer = refuse("manager", "POST", STREAMS, fields)
    assert (status, answer["code"]) == (400, "api_validation")


def test_a_send_names_a_stream_that_there_is(ask, door, manager):
    message = refused(door.send(stream="news"), 400, "api_validation")
    assert message == "There is no stream named news."
    refused(door.send(stream="No Stream"), 400, "api_validation", '"stream" must be the name of a stream')
    refused(door.send(stream=7), 400, "api_validation", '"stream" must be the name of a stream')
    refused(door.send(track={"opens": "yes"}), 400, "api_validation", '"track.opens" must be a boolean')
    refused(door.send(track={"open": True}), 400, "api_validation", '"track.open" is not allowed')
    fields = {"from": "a@acme.example", "to": "b@example.net", "subject": "x", "text": "x", "stream": "news"}
    assert ask(door.key, "POST", "/v1/messages", fields)[0] == 400


def test_the_lane_is_the_streams_unless_the_mail_is_urgent(ask, door, manager):
    lanes = []
    for fields in ({}, {"stream": "bulk"}, {"stream": "bulk", "classification": "URGENT"}):
        sent = door.sent(**fields)
        row = door.work(messages.get, None, int(sent["id"]))
        lanes.append((row["lane"], door.work(messages.recipients, row["id"])[0]["lane"]))
    assert lanes == [("normal", "normal"), ("bulk", "bulk"), ("urgent", "urgent")]


def test_mail_goes_by_the_streams_provider_unless_it_names_one(ask, door, manager):
    from relay.core import routes
    from relay.routing import Router
    from relay.routing.rules import facts_of

    name = "capture"
    made = ask(manager, "POST", STREAMS, {"name": "parcels", "provider": name})
    assert (made[0], made[1]["provider"]) == (201, name)
    row = door.work(messages.get, None, int(door.sent(stream="parcels")["id"]))
    router = Router([], routes.parse(f"failover(first, {name})"))
    assert router.order(facts_of(row, row["recipient"], {}, {}))[0] == name
    plain = door.work(messages.get, None, int(door.sent()["id"]))
    assert router.order(facts_of(plain, plain["recipient"], {}, {}))[0] == "first"
    assert ask(manager, "PATCH", f"{STREAMS}/parcels", {"provider": None})[1]["provider"] is None


def test_who_left_one_stream_gets_the_others(ask, door, manager):
    ask(manager, "POST", "/v1/suppressions", {"address": "recipient@example.com", "stream": "bulk"})
    refused(door.send(stream="bulk"), 400, "invalid_template", "Recipient email is blacklisted")
    door.sent()
    fields = {"from": "a@acme.example", "subject": "x", "text": "x", "stream": "bulk"}
    both = {**fields, "to": ["recipient@example.com", "b@example.net"]}
    assert ask(door.key, "POST", "/v1/messages", both)[1]["suppressed"] == ["recipient@example.com"]
    status, answer = ask(door.key, "POST", "/v1/messages", {**fields, "to": "recipient@example.com"})
    assert (status, answer["code"]) == (400, "suppressed")


def test_a_new_stream_is_known_at_once_and_its_changes_within_seconds(ask, door, manager):
    refused(door.send(stream="news"), 400, "api_validation")
    ask(manager, "POST", STREAMS, NEWS)
    door.sent(stream="news")
