"""Finding, reading and cancelling messages through HTTP, on both databases."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from relay.core.clock import now
from relay.core.status import Status
from relay.store import deliveries, messages
from relay.store import tables as t
from relay.store.search import Search, search

MESSAGES = "/v1/messages"
LETTER = {"from": "ada@acme.example", "to": ["bob@example.net"], "subject": "Hello", "text": "Plain"}


@pytest.fixture
def send(ask, door):
    def call(**fields):
        status, answer = ask(door.key, "POST", MESSAGES, {**LETTER, **fields})
        assert status == 201, answer
        return answer["id"]

    return call


@pytest.fixture
def find(ask, door):
    def call(query=""):
        status, page = ask(door.key, "GET", f"{MESSAGES}?{query}")
        assert status == 200, page
        return [one["id"] for one in page["data"]]

    return call


def mark(door, identifier, **values):
    door.work(
        lambda c: (
            c.execute(t.message.update().where(t.message.c.id == int(identifier)).values(**values)) and None
        )
    )


def test_each_filter_finds_its_own(door, send, find):
    one = send(to=["Bob@Example.net"], tag="a")
    two = send(to=["carol@example.net"], cc=["dan@example.net"], **{"from": "Desk <desk@ACME.example>"})
    three = send(bcc=["dan@example.net"], tag="a")
    mark(door, two, status=Status.BOUNCED, error_code="550", updated_at=now() + timedelta(hours=1))
    assert find() == [three, two, one]
    assert find("order=asc") == [one, two, three]
    assert find("recipient=dan@example.net") == [three, two]
    # An address is found as it was given, or in lower case.
    assert find("recipient=Bob@EXAMPLE.net") == [three, one]
    assert find("recipient=bob@example.net") == [three]
    assert find("recipient=nobody@example.net") == []
    assert find("from=desk@acme.example") == [two]
    assert find("from=Ada@acme.example") == [three, one]
    assert find("status=bounced") == find("status=BOUNCED") == [two]
    assert find("status=ACCEPTED") == [three, one]
    assert find("tag=a") == [three, one]
    assert find("tag=a&recipient=dan@example.net") == [three]
    assert find("error_code=550") == [two]
    later = (now() + timedelta(minutes=30)).isoformat().replace("+", "%2B")
    assert find(f"updated_from={later}") == [two]
    assert find(f"updated_before={later}") == [three, one]
    assert find(f"created_before={later}") == [three, two, one]
    assert find(f"created_from={later}") == []
    # A plus typed raw into a URL arrives as a blank.
    assert find(f"created_from={later.replace('%2B', '+')}") == []
    assert find("created_from=2020-01-01") == [three, two, one]
    assert find("created_from=0001-01-01&created_before=9999-12-31") == [three, two, one]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_neither_repeat_nor_leave_out_while_mail_comes_in(ask, door, send, order):
    made = [send(subject=str(number)) for number in range(5)]
    seen, cursor = [], None
    while True:
        page = ask(
            door.key, "GET", f"{MESSAGES}?limit=2&order={order}{f'&cursor={cursor}' if cursor else ''}"
        )[1]
        seen += [one["id"] for one in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
        if order == "desc":
            # What is new is ahead of the first page, and no page has it.
            send()
    assert seen == (made if order == "asc" else made[::-1])


@pytest.mark.parametrize(
    "query",
    [
        "status=GONE", "limit=0", "order=up", "created_from=yesterday", "created_from=1700000000", "tag=",
        "offset=1", "cursor=abc", "cursor=99999999999999999999", "recipient=" + "a" * 255, "tag=a&tag=b",
        "tag=%00",
    ],
)  # fmt: skip
def test_a_wrong_query_is_refused(refuse, query):
    assert refuse("manager", "GET", f"{MESSAGES}?{query}")[0] == 400


def test_another_accounts_messages_are_not_there(ask, door, send):
    identifier = send()
    other = door.new_account("other", scopes=("send", "read"))
    assert ask(other, "GET", MESSAGES)[1]["data"] == []
    for method, path in (("GET", ""), ("GET", "/source"), ("POST", "/cancel")):
        assert ask(other, method, f"{MESSAGES}/{identifier}{path}")[0] == 404
        assert ask(door.key, method, f"{MESSAGES}/1{path}")[0] == 404
        assert ask(door.key, method, f"{MESSAGES}/x{path}")[0] == 404


def test_the_source_is_the_mail_itself(door, send):
    identifier = send()
    answer = door.get(f"{MESSAGES}/{identifier}/source")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "message/rfc822"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert f'filename="{identifier}.eml"' in answer.headers["content-disposition"]
    assert answer.content == door.work(messages.raw, int(identifier))
    mark(door, identifier, redacted_at=now())
    gone = door.get(f"{MESSAGES}/{identifier}/source")
    assert gone.status_code == 410


def test_a_waiting_message_is_cancelled_and_never_claimed(ask, door, send):
    identifier = send(cc=["carol@example.net"])
    status, answer = ask(door.key, "POST", f"{MESSAGES}/{identifier}/cancel")
    assert status == 200
    assert answer["cancelled"] == 2
    assert answer["status"] == "UNSENT"
    assert {one["state"] for one in answer["recipients"]} == {"cancelled"}
    assert [event["kind"] for event in answer["events"]] == ["accepted", "cancelled", "cancelled"]
    assert door.work(deliveries.claim, [int(identifier)], now=now(), lease=30) == []
    status, answer = ask(door.key, "POST", f"{MESSAGES}/{identifier}/cancel")
    assert (status, answer["code"]) == (409, "conflict")


def test_what_a_worker_has_in_hand_is_not_cancelled(ask, door, send):
    identifier = send()
    assert len(door.work(deliveries.claim, [int(identifier)], now=now(), lease=30)) == 1
    assert ask(door.key, "POST", f"{MESSAGES}/{identifier}/cancel")[0] == 409
    assert ask(door.key, "GET", f"{MESSAGES}/{identifier}")[1]["status"] == "ACCEPTED"


def test_mail_for_later_can_be_taken_back(ask, door, send):
    later = (now() + timedelta(days=1)).isoformat()
    identifier = send(send_at=later)
    assert ask(door.key, "POST", f"{MESSAGES}/{identifier}/cancel")[1]["cancelled"] == 1


def test_cancelling_needs_the_right_to_send(ask, door, send):
    from relay.store import accounts

    identifier = send()
    reader = door.work(accounts.create_key, "acme", scopes=("read",)).secret
    assert ask(reader, "POST", f"{MESSAGES}/{identifier}/cancel")[0] == 403


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Search(), "ix_message_account_id_id"),
        (Search(recipient="a@example.net"), "ix_recipient_address"),
        (Search(from_="a@example.net"), "ix_message_account_id_from_address"),
        *((Search(status=status), "ix_message_status") for status in Status if status is not Status.SENT),
        (Search(tag="a"), "ix_message_account_id_tag"),
        (Search(error_code="550"), "ix_message_account_id_error_code"),
        (Search(updated_from=now()), "ix_message_account_id_updated_at"),
    ],
)
def test_each_filter_has_an_index(sqlite_url, wanted, index):
    """On SQLite, whose plans do not depend on how many rows there are."""
    engine = sa.create_engine(sqlite_url)
    plans = []

    def explain(connection, _cursor, statement, parameters, _context, _many):
        if statement.startswith("SELECT"):
            plans.append((statement, parameters))

    with engine.connect() as connection:
        sa.event.listen(connection, "before_cursor_execute", explain)
        search(connection, 1, wanted)
        sa.event.remove(connection, "before_cursor_execute", explain)
        statement, parameters = plans[-1]
        steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    engine.dispose()
    assert any(index in step[-1] for step in steps), steps
