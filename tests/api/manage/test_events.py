"""What happened to all of an account's mail, through HTTP, on both databases."""

from datetime import timedelta

import pytest

from relay.core.clock import now
from relay.core.ids import new_id
from relay.store import happenings, messages, timeline

EVENTS = "/v1/events"
LETTER = {"from": "ada@acme.example", "subject": "Hello", "text": "Plain"}


@pytest.fixture
def send(ask, door):
    """Sends a message and lets one event happen to each of its recipients; returns its id."""

    def call(*to, kind="sent", key=None, **fields):
        status, answer = ask(
            key or door.key, "POST", "/v1/messages", {**LETTER, "to": to or ["bob@example.net"], **fields}
        )
        assert status == 201, answer
        happen(door, int(answer["id"]), kind)
        return answer["id"]

    return call


def happen(door, message_id, kind="sent"):
    def work(connection):
        message = messages.get(connection, None, message_id)
        rows = [
            {
                "id": new_id(),
                "message_id": message_id,
                "recipient_id": one["id"],
                "kind": kind,
                "at": now() - timedelta(minutes=5),
                "provider": "office",
                "attempt": 1,
                "reply": "250 2.0.0 ok",
            }
            for one in messages.recipients(connection, message_id)
        ]
        timeline.add(connection, rows, {message_id: message["account_id"]})

    door.work(work)


@pytest.fixture(params=["of few messages", "walked"])
def read(request, monkeypatch, ask, door):
    """Reads all pages of a query; once by the messages' own events, once by walking over everybody's."""
    if request.param == "walked":
        monkeypatch.setattr(happenings, "_FEW", 0)
        monkeypatch.setattr(happenings, "_STEP", 3)
        monkeypatch.setattr(happenings, "SCAN", 6)

    def call(query="", key=None):
        seen, cursor = [], None
        while True:
            more = f"&cursor={cursor}" if cursor else ""
            status, page = ask(key or door.key, "GET", f"{EVENTS}?{query}{more}")
            assert status == 200, page
            seen += page["data"]
            cursor = page["next_cursor"]
            assert page["has_more"] == (cursor is not None)
            if cursor is None:
                return seen

    return call


def told(events):
    return [(one["kind"], one["message_id"], one["recipient"]) for one in events]


def test_events_come_with_what_they_are_about(read, send, door):
    identifier = send()
    sent, accepted = read()
    assert {
        name: sent[name] for name in ("kind", "message_id", "recipient", "provider", "attempt", "reply")
    } == {
        "kind": "sent",
        "message_id": identifier,
        "recipient": "bob@example.net",
        "provider": "office",
        "attempt": 1,
        "reply": "250 2.0.0 ok",
    }
    assert sent["account_id"] == str(door.account_id)
    # What happened is told at its own time, the order is that of hearing of it.
    assert sent["at"] < accepted["at"] <= sent["recorded_at"]
    assert (accepted["kind"], accepted["id"], accepted["recipient"]) == ("accepted", identifier, None)


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_pages_neither_repeat_nor_leave_out(read, send, limit):
    one, two = send("bob@example.net", "carol@example.net"), send("dan@example.net", kind="bounced")
    expected = [
        ("accepted", one, None),
        ("sent", one, "bob@example.net"),
        ("sent", one, "carol@example.net"),
        ("accepted", two, None),
        ("bounced", two, "dan@example.net"),
    ]
    assert told(read(f"limit={limit}&order=asc")) == expected
    assert told(read(f"limit={limit}")) == expected[::-1]


def test_each_filter_finds_its_own(read, send, door):
    one = send("Bob@example.net", cc=["carol@example.net"])
    two = send("carol@example.net", kind="bounced")
    happen(door, int(one), "opened")
    assert told(read("kind=bounced")) == [("bounced", two, "carol@example.net")]
    assert told(read("kind=accepted")) == [("accepted", two, None), ("accepted", one, None)]
    assert read("kind=refused") == []
    assert [kind for kind, *_ in told(read(f"message_id={two}"))] == ["bounced", "accepted"]
    assert told(read("recipient=Bob@EXAMPLE.net&order=asc")) == [
        ("accepted", one, None),
        ("sent", one, "Bob@example.net"),
        ("opened", one, "Bob@example.net"),
    ]
    assert told(read("recipient=carol@example.net&kind=opened")) == [("opened", one, "carol@example.net")]
    assert read("message_id=1") == read("recipient=nobody@example.net") == []
    later = (now() + timedelta(minutes=1)).isoformat().replace("+", "%2B")
    assert read(f"recorded_from={later}") == []
    assert len(read(f"recorded_from=2020-01-01&recorded_before={later}")) == 7
    bounced = read("kind=bounced")[0]
    assert told(read(f"recorded_before={bounced['recorded_at']}&kind=bounced")) == []


def test_what_a_door_refused_and_what_was_withheld_later_are_both_refused(read, send, door, ask):
    ask(door.key, "POST", "/v1/suppressions", {"address": "gone@example.com"})
    door.send(recipient="gone@example.com")
    withheld = send(kind="refused")
    kinds = told(read("kind=refused"))
    assert kinds[0] == ("refused", withheld, "bob@example.net")


def test_each_account_sees_its_own_and_an_admin_all(read, ask, send, door, admin):
    mine = send()
    other = door.new_account("other", scopes=("send", "read"), senders=["other.example"])
    theirs = send(key=other, **{"from": "x@other.example"})
    assert {one["message_id"] for one in read()} == {mine}
    assert {one["message_id"] for one in read(key=other)} == {theirs}
    assert read(f"message_id={mine}", key=other) == []
    assert read("recipient=bob@example.net", key=other) == read(key=other)
    assert {one["message_id"] for one in read("account_id=all", key=admin)} == {mine, theirs}
    assert {one["message_id"] for one in read(f"account_id={door.account_id}", key=admin)} == {mine}
    for wanted in ("all", str(door.identity(other).account_id)):
        status, answer = ask(door.key, "GET", f"{EVENTS}?account_id={wanted}")
        assert (status, answer["code"]) == (403, "unauthorized")


@pytest.mark.parametrize(
    "query",
    [
        "kind=gone", "limit=0", "limit=1001", "order=up", "cursor=x", "message_id=x", "recorded_from=now",
        "kind=sent&kind=sent", "status=SENT", "recipient=" + "a" * 255,
    ],
)  # fmt: skip
def test_a_wrong_query_is_refused(refuse, query):
    assert refuse("manager", "GET", f"{EVENTS}?{query}")[0] == 400
