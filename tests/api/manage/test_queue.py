"""/v1/queue through HTTP, on both databases: what waits and why, and what operators do to it."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from relay.core.clock import now, wire_time
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door as DoorKind
from relay.store import circuits, deliveries, interventions, messages
from relay.store import tables as t
from relay.store.circuits import Mode
from tests.api.conftest import Door

QUEUE = "/v1/queue"
R = t.recipient.c


@pytest.fixture
def store(door: Door):
    """Puts mail into the record: `store(3, "example.net", sender="a@b.example", options={...})`; returns ids."""

    def put(count=1, domain="example.net", *, account_id=None, sender="ops@acme.example", **fields):
        mails = [
            Submission(
                account_id=account_id or door.account_id,
                key_id=None,
                door=DoorKind.SMTP,
                sender=sender,
                recipients=[EnvelopeRecipient(f"{number}@{domain}")],
                head=b"Subject: x\r\n\r\n",
                tail=MemoryTail(b"hello\r\n"),
                from_=sender,
                subject="x",
                **fields,
            )
            for number in range(count)
        ]
        return [str(one.id) for one in door.work(messages.insert, mails)]

    return put


@pytest.fixture
def known(door: Door):
    """`known(ids)`: state, status, route and so on of these messages' recipients, in order."""

    def look(ids):
        def work(connection):
            rows = connection.execute(
                sa.select(t.recipient).where(R.message_id.in_(map(int, ids))).order_by(R.id)
            ).mappings()
            return [SimpleNamespace(**row) for row in rows]

        return door.work(work)

    return look


def settle(door, **values):
    """As a worker leaves the whole queue."""
    door.work(lambda connection: connection.execute(t.recipient.update().values(**values)))


def kinds(door, message_id):
    return [row["kind"] for row in door.work(messages.timeline, int(message_id))]


def why(listed):
    return [one["why"]["reason"] for one in listed["data"]]


def test_the_list_says_why_each_waits(ask, door, manager, store):
    assert ask(manager, "GET", QUEUE) == (200, {"has_more": False, "next_cursor": None, "data": []})
    (identifier,) = store(tag="otp")
    _, found = ask(manager, "GET", QUEUE)
    (one,) = found["data"]
    assert (one["message_id"], one["recipient"], one["lane"], one["state"], one["tag"]) == (
        identifier,
        "0@example.net",
        "normal",
        "queued",
        "otp",
    )
    assert one["why"]["reason"] == "no_workers"
    assert "no worker is alive" in one["why"]["message"]
    door.work(circuits.beat, "w1", now=now(), in_hand={}, providers=["capture"], config="x")
    assert why(ask(manager, "GET", QUEUE)[1]) == ["due"]
    later = now() + timedelta(minutes=5)
    settle(door, due_at=later)
    (one,) = ask(manager, "GET", QUEUE)[1]["data"]
    assert one["why"] == {
        "reason": "scheduled",
        "message": f"to be sent at {wire_time(later)}",
        "until": wire_time(later),
    }
    settle(door, fence=2, attempts=2, provider="capture", reply="451 4.7.1 greylisted")
    (one,) = ask(manager, "GET", QUEUE)[1]["data"]
    assert one["why"]["reason"] == "deferred"
    assert one["why"]["message"] == "2 tries by capture, the last answer: 451 4.7.1 greylisted"
    settle(door, waiting_for="capture")
    assert why(ask(manager, "GET", QUEUE)[1]) == ["rate"]
    settle(door, waiting_for="capture/example.net")
    assert why(ask(manager, "GET", QUEUE)[1]) == ["domain"]
    settle(door, waiting_for="gone")
    assert why(ask(manager, "GET", QUEUE)[1]) == ["removed"]
    settle(door, waiting_for="capture")
    door.work(circuits.open_circuit, "capture", owner="w1", now=now(), pauses=(60,), reason="421 no")
    (one,) = ask(manager, "GET", QUEUE)[1]["data"]
    assert (one["why"]["reason"], one["waiting_for"]) == ("circuit", {"provider": "capture", "domain": None})
    assert "421 no" in one["why"]["message"]
    door.work(circuits.set_mode, "capture", Mode.PAUSED, now=now())
    assert why(ask(manager, "GET", QUEUE)[1]) == ["paused"]
    settle(door, waiting_for=None, due_at=now(), crashes=1)
    assert why(ask(manager, "GET", QUEUE)[1]) == ["suspect"]
    settle(door, state="sending", lease_until=later)
    assert why(ask(manager, "GET", QUEUE)[1]) == ["sending"]


def test_hold_and_release(ask, door, manager, store, known):
    ids = store(3)
    status, answer = ask(manager, "POST", f"{QUEUE}/hold", {"message_ids": ids[:2], "note": "wrong template"})
    assert (status, answer) == (
        200,
        {
            "action": "hold",
            "dry_run": False,
            "changed": 2,
            "unchanged": 0,
            "complete": True,
            "next_cursor": None,
        },
    )
    claimed = door.work(deliveries.claim_due, "normal", limit=10, now=now(), lease=30)
    assert [str(mail.id) for mail in claimed] == ids[2:]
    assert door.work(deliveries.claim, [int(one) for one in ids], now=now(), lease=30) == []
    held = ask(manager, "GET", f"{QUEUE}?state=held")[1]["data"]
    assert [one["message_id"] for one in held] == ids[:2]
    assert held[0]["why"]["reason"] == "held"
    assert "by acme since" in held[0]["why"]["message"]
    assert held[0]["why"]["message"].endswith(": wrong template")
    again = ask(manager, "POST", f"{QUEUE}/hold", {"message_ids": ids})[1]
    assert (again["changed"], again["unchanged"]) == (0, 3)
    released = ask(manager, "POST", f"{QUEUE}/release", {"filter": {"state": "held"}})[1]
    assert (released["changed"], released["complete"]) == (2, True)
    assert len(door.work(deliveries.claim_due, "normal", limit=10, now=now(), lease=30)) == 2
    assert kinds(door, ids[0]) == ["held", "released"]


def test_what_is_to_go_at_its_own_time_keeps_it(ask, door, manager, store, known):
    later = now() + timedelta(hours=1)
    (identifier,) = store(send_at=later)
    nothing = ask(manager, "POST", f"{QUEUE}/retry", {"filter": {"lane": "normal"}})[1]
    assert nothing["changed"] == 0
    for word in ("hold", "release"):
        assert ask(manager, "POST", f"{QUEUE}/{word}", {"message_ids": [identifier]})[1]["changed"] == 1
    assert known([identifier])[0].due_at == later
    # By name it is meant.
    assert ask(manager, "POST", f"{QUEUE}/retry", {"message_ids": [identifier]})[1]["changed"] == 1
    assert known([identifier])[0].due_at <= now()


def test_retry_makes_deferred_and_waiting_mail_due(ask, door, manager, store, known):
    ids = store(4)
    settle(door, due_at=now() + timedelta(hours=1), fence=1, attempts=1, waiting_for="capture")
    store()
    answer = ask(manager, "POST", f"{QUEUE}/retry", {"filter": {"provider": "capture"}})[1]
    assert answer["changed"] == 4
    assert all(one.due_at <= now() and one.waiting_for is None for one in known(ids))
    assert kinds(door, ids[0]) == ["resent"]


def test_parked_mail_is_released_with_its_past(ask, door, manager, store, known):
    (identifier,) = store()
    settle(door, state="parked", crashes=3, due_at=None)
    one = ask(manager, "GET", f"{QUEUE}?state=parked")[1]["data"][0]
    assert one["why"]["reason"] == "parked"
    assert ask(manager, "POST", f"{QUEUE}/release", {"recipient_ids": [one["id"]]})[1]["changed"] == 1
    (released,) = known([identifier])
    assert (released.state, released.crashes) == ("queued", 3)


def test_reroute_is_the_admins(ask, door, admin, manager, store, known):
    ids = store(2)
    settle(door, due_at=now() + timedelta(hours=1), fence=1, waiting_for="elsewhere")
    fields = {"filter": {"provider": "elsewhere"}, "provider": "capture"}
    assert ask(manager, "POST", f"{QUEUE}/reroute", fields)[0] == 403
    assert ask(admin, "POST", f"{QUEUE}/reroute", {**fields, "provider": "nobody"})[0] == 404
    assert ask(admin, "POST", f"{QUEUE}/reroute", fields)[1]["changed"] == 2
    assert [(one.route, one.waiting_for) for one in known(ids)] == [("capture", None)] * 2
    assert all(one.due_at <= now() for one in known(ids))
    claimed = door.work(deliveries.claim_due, "normal", limit=10, now=now(), lease=30)
    assert [mail.claims[0].route for mail in claimed] == ["capture"] * 2
    again = {"message_ids": ids, "provider": None}
    assert ask(admin, "POST", f"{QUEUE}/reroute", again)[1]["changed"] == 0  # a worker has them


def test_cancel_and_purge(ask, door, manager, store, known):
    gone, wiped = store(2)
    assert ask(manager, "POST", f"{QUEUE}/cancel", {"message_ids": [gone]})[1]["changed"] == 1
    assert [(one.state, one.status) for one in known([gone])] == [("cancelled", "UNSENT")]
    assert ask(manager, "GET", f"/v1/messages/{gone}")[1]["status"] == "UNSENT"
    assert door.work(messages.raw, int(gone)) != b""
    assert ask(manager, "POST", f"{QUEUE}/purge", {"message_ids": [wiped], "note": "spam"})[1]["changed"] == 1
    assert door.work(messages.raw, int(wiped)) == b""
    assert ask(manager, "GET", f"/v1/transactional/email/{wiped}")[0] == 410
    assert kinds(door, wiped) == ["cancelled"]


def test_a_purge_keeps_what_somebody_is_still_to_get(ask, door, manager, store):
    (identifier,) = store()
    (other,) = ask(manager, "GET", QUEUE)[1]["data"]
    door.work(
        lambda connection: connection.execute(
            t.recipient.insert().values(
                {
                    **dict(
                        connection.execute(sa.select(t.recipient)).mappings().one(),
                    ),
                    "id": int(other["id"]) + 1,
                    "address": "second@example.net",
                    "position": 1,
                }
            )
        )
    )
    assert ask(manager, "POST", f"{QUEUE}/purge", {"recipient_ids": [other["id"]]})[1]["changed"] == 1
    assert door.work(messages.raw, int(identifier)) != b""


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("lane=urgent", 0),
        ("recipient_domain=EXAMPLE.net", 3),
        ("recipient_domain=xample.net", 0),
        ("sender_domain=other.example", 2),
        ("tag=news", 2),
        ("stream=digest", 2),
        ("stream=transactional", 3),
        ("provider=slow", 3),
        ("state=held", 0),
        ("accepted_before=2020-01-01T00:00:00Z", 0),
        ("tag=news&recipient_domain=example.org", 2),
    ],
)
def test_filters(ask, door, manager, store, query, found):
    store(3)
    settle(door, provider="slow")
    store(2, "example.org", sender="news@other.example", tag="news", options={"stream": "digest"})
    assert len(ask(manager, "GET", f"{QUEUE}?{query}")[1]["data"]) == found


def test_pages_go_through_everything_once(ask, door, admin, manager, store):
    ids = store(7)
    hers = door.new_account("other")
    others = store(2, account_id=door.identity(hers).account_id)
    ask(manager, "POST", f"{QUEUE}/hold", {"message_ids": ids[:2]})
    for key, expected in ((manager, set(ids)), (admin, {*ids, *others})):
        seen, cursor, rounds = [], "", 0
        while cursor is not None:
            _, answer = ask(key, "GET", f"{QUEUE}?limit=2{cursor and f'&cursor={cursor}'}")
            seen += [one["message_id"] for one in answer["data"]]
            cursor = answer["next_cursor"]
            rounds += 1
            assert rounds < 20
        assert len(seen) == len(expected)
        assert set(seen) == expected


def test_keys_see_and_change_their_own_accounts_mail(ask, door, admin, manager, store, known):
    other = door.new_account("other", scopes=("manage",))
    ids = store(2, account_id=door.identity(other).account_id)
    assert ask(manager, "GET", QUEUE)[1]["data"] == []
    assert ask(manager, "POST", f"{QUEUE}/cancel", {"message_ids": ids})[1]["changed"] == 0
    account = str(door.identity(other).account_id)
    assert ask(manager, "GET", f"{QUEUE}?account_id={account}")[0] == 403
    assert ask(manager, "POST", f"{QUEUE}/hold", {"filter": {"account_id": account}})[0] == 403
    assert ask(door.key, "GET", QUEUE)[0] == 403
    assert len(ask(admin, "GET", f"{QUEUE}?account_id={account}")[1]["data"]) == 2
    assert ask(admin, "POST", f"{QUEUE}/hold", {"filter": {"account_id": account}})[1]["changed"] == 2
    assert {one.state for one in known(ids)} == {"held"}


def test_a_dry_run_only_counts_and_a_limit_ends_early(ask, door, manager, store, known, monkeypatch):
    monkeypatch.setattr("relay.store.backlog.STEP", 10)
    ids = store(35)
    about = {"filter": {"recipient_domain": "example.net"}}
    assert ask(manager, "POST", f"{QUEUE}/hold", {**about, "dry_run": True})[1]["changed"] == 35
    assert {one.state for one in known(ids)} == {"queued"}
    first = ask(manager, "POST", f"{QUEUE}/hold", {**about, "limit": 20})[1]
    assert (first["changed"], first["complete"]) == (20, False)
    rest = ask(manager, "POST", f"{QUEUE}/hold", {**about, "cursor": first["next_cursor"]})[1]
    assert (rest["changed"], rest["complete"]) == (15, True)
    assert {one.state for one in known(ids)} == {"held"}


def test_the_summary_counts_by_lane_and_by_what_is_waited_for(ask, door, admin, manager, store):
    store(3)
    settle(door, waiting_for="capture", due_at=now() + timedelta(minutes=1))
    ids = store(2, options={"lane": "bulk"})
    ask(manager, "POST", f"{QUEUE}/hold", {"message_ids": ids[:1]})
    status, found = ask(admin, "GET", f"{QUEUE}/summary")
    assert status == 200
    lanes = {one.pop("lane"): one for one in found["lanes"]}
    empty = {"due": 0, "later": 0, "sending": 0, "held": 0, "parked": 0}
    assert lanes == {
        "urgent": empty,
        "normal": {**empty, "later": 3},
        "bulk": {**empty, "due": 1, "held": 1},
    }
    assert found["waiting_for"] == [
        {
            "provider": "capture",
            "domain": None,
            "recipients": 3,
            "reason": "rate",
            "message": "all places at capture are taken; it goes as they come free",
        }
    ]
    own = ask(manager, "GET", f"{QUEUE}/summary")[1]
    assert own["waiting_for"] == []
    assert [one["due"] + one["later"] for one in own["lanes"]] == [0, 3, 1]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "message_ids"),
        ({"filter": {}}, "message_ids"),
        ({"filter": {"colour": "red"}}, "filter.colour"),
        ({"filter": {"state": "done"}}, "filter.state"),
        ({"message_ids": ["x"]}, "message_ids"),
        ({"message_ids": ["1"], "limit": 0}, "limit"),
        ({"message_ids": ["1"], "cursor": "99.0.0.0"}, "cursor"),
        ({"message_ids": ["1"], "cursor": "1"}, "cursor"),
    ],
)
def test_what_is_unclear_is_refused(refuse, fields, says):
    status, answer = refuse("manager", "POST", f"{QUEUE}/hold", fields)
    assert status == 400
    assert says in answer["message"]


def test_workers_are_woken(ask, door, manager, store):
    woken = []
    door.context.queue.deliver = lambda lane, ids: woken.append((lane, list(ids)))
    ids = store(2, options={"lane": "bulk"})
    ask(manager, "POST", f"{QUEUE}/hold", {"message_ids": ids})
    assert woken == []
    ask(manager, "POST", f"{QUEUE}/release", {"message_ids": ids})
    assert woken == [("bulk", [])]


def test_every_action_is_told_to_nobody_twice(door, store):
    """A step that is repeated, as after a lost answer, changes nothing."""
    store(2)
    for action in interventions.Action:
        order = interventions.Order(action, "me", provider="capture")
        wanted = interventions.Selection()
        start = interventions.Position()
        door.work(interventions.step, order, wanted, start, now=now(), limit=10)
        again = door.work(interventions.step, order, wanted, start, now=now(), limit=10)
        assert again.changed == 0, action
