"""The last hour by minute, and what the configuration file would change."""

from datetime import timedelta

from relay.core.clock import now
from relay.core.event import EventKind
from relay.core.ids import floor_at
from relay.store import pulse
from relay.store import tables as t
from tests.api.manage.test_messages import MESSAGES


def test_an_hour_of_minutes(ask, admin, door):
    door.sent()
    found = ask(admin, "GET", "/v1/overview")[1]
    assert len(found["minutes"]) == 60
    assert sum(one["accepted"] for one in found["minutes"]) == 1
    assert found["workers"] == 0
    assert [one["lane"] for one in found["lanes"]] == ["urgent", "normal", "bulk"]
    assert found["lanes"][1]["recipients"] == {"queued": 1}
    assert ask(door.key, "GET", "/v1/overview")[0] == 403


def test_a_minute_counts_what_its_ids_say(door):
    at = (now() - timedelta(minutes=20)).replace(second=0, microsecond=0)
    message = int(door.sent()["id"])

    def write(connection):
        for place, (seconds, kind, took) in enumerate(
            (
                (5, EventKind.SENT, 2),
                (59, EventKind.SENT, 4),
                (60, EventKind.SENT, 9),
                (30, EventKind.BOUNCED, 1),
            )
        ):
            identifier = floor_at(at + timedelta(seconds=seconds)) + place
            own = floor_at(at + timedelta(seconds=seconds - took))
            connection.execute(
                t.message.insert().from_select(
                    [c.name for c in t.message.c],
                    t.message.select()
                    .with_only_columns(
                        *(c if c.name != "id" else (own + t.message.c.id * 0) for c in t.message.c)
                    )
                    .where(t.message.c.id == message),
                )
            )
            connection.execute(
                t.event.insert(),
                {"id": identifier, "message_id": own, "kind": kind, "at": at + timedelta(seconds=seconds)},
            )

    door.work(write)
    counted = door.work(pulse.minute, at)
    assert counted.events == {"sent": 2, "bounced": 1}
    assert counted.accepted == 4
    assert (counted.median, counted.p95) == (4.0, 4.0)


def test_the_configuration_without_a_file_differs_in_nothing(ask, admin):
    found = ask(admin, "GET", "/v1/configuration")[1]
    assert found == {"file": None, "fault": None, "workers": 0, "workers_current": 0, "changes": []}


def test_all_accounts_mail_is_for_admins(ask, admin, door, manager):
    first = door.sent(tag="spring")["id"]
    other = door.new_account("other", scopes=("send", "read"), senders=["acme.example"])
    second = door.request(
        "POST",
        MESSAGES,
        key=other,
        json={"from": "a@acme.example", "to": "b@example.net", "subject": "100% Spring_Sale", "text": "x"},
    ).json()["id"]

    def found(query):
        status, page = ask(admin, "GET", f"{MESSAGES}?account_id=all{query}")
        assert status == 200, page
        return [one["id"] for one in page["data"]]

    assert found("") == [second, first]
    assert found("&order=asc") == [first, second]
    assert found("&tag=spring") == [first]
    assert found("&from=a@acme.example") == [second]
    assert found("&recipient=b@example.net") == [second]
    assert found("&subject=spring_s") == [second]
    assert found("&subject=0% s") == [second]
    assert found("&subject=springXs") == []
    assert found("&door=rest&limit=1") == [second]
    assert found("&provider=capture") == []
    assert found("&status=bounced") == []
    assert ask(manager, "GET", f"{MESSAGES}?account_id=all")[0] == 403
    assert ask(manager, "GET", f"{MESSAGES}/{second}")[0] == 404
    assert ask(admin, "GET", f"{MESSAGES}/{second}")[1]["subject"] == "100% Spring_Sale"


def test_what_no_index_knows_is_looked_for_a_stretch_at_a_time(ask, admin, door, monkeypatch):
    from relay.store import search

    monkeypatch.setattr(search, "SCAN", 2)
    ids = [door.sent(subject=f"Number {n}")["id"] for n in range(5)]
    path, pages = f"{MESSAGES}?account_id=all&subject=number 0", []
    cursor = ""
    while cursor is not None:
        page = ask(admin, "GET", path + (f"&cursor={cursor}" if cursor else ""))[1]
        pages.append([one["id"] for one in page["data"]])
        cursor = page["next_cursor"]
    assert pages == [[], [], [ids[0]]]


def test_a_mail_is_sent_again_under_a_new_id(ask, admin, door, manager):
    sent = door.sent(subject="Once more", tag="spring")["id"]
    status, made = ask(manager, "POST", f"{MESSAGES}/{sent}/resend", {})
    assert status == 201, made
    assert made["recipients"] == [{"address": "recipient@example.com", "kind": "to"}]
    copy = ask(manager, "GET", f"{MESSAGES}/{made['id']}")[1]
    assert (copy["subject"], copy["tag"], copy["status"]) == ("Once more", "spring", "ACCEPTED")
    raw = [door.request("GET", f"{MESSAGES}/{one}/source", key=manager).content for one in (sent, made["id"])]
    assert raw[0] == raw[1]
    events = ask(manager, "GET", f"{MESSAGES}/{sent}")[1]["events"]
    assert events[-1]["kind"] == "resent"
    assert events[-1]["detail"] == {"as": made["id"]}


def test_a_mail_is_sent_again_to_others_but_not_to_the_suppressed(ask, admin, door, manager):
    sent = door.sent()["id"]
    ask(manager, "POST", "/v1/suppressions", {"address": "gone@example.net"})
    to = {"recipients": ["gone@example.net", "new@example.net"]}
    made = ask(manager, "POST", f"{MESSAGES}/{sent}/resend", to)[1]
    assert [one["address"] for one in made["recipients"]] == ["new@example.net"]
    assert made["suppressed"] == ["gone@example.net"]
    refused = ask(manager, "POST", f"{MESSAGES}/{sent}/resend", {"recipients": ["gone@example.net"]})
    assert (refused[0], "all are suppressed" in refused[1]["message"]) == (409, True)
    assert ask(manager, "POST", f"{MESSAGES}/1/resend", {})[0] == 404
    assert ask(manager, "POST", f"{MESSAGES}/{sent}/resend", {"recipients": ["nobody"]})[0] == 400


def test_an_admin_manages_another_accounts_suppressions(ask, admin, door, manager):
    fields = {"address": "x@example.net", "account_id": str(door.account_id)}
    assert ask(admin, "POST", "/v1/suppressions", fields)[0] == 201
    assert ask(manager, "GET", "/v1/suppressions/x@example.net")[0] == 200
    assert ask(admin, "GET", f"/v1/suppressions?account_id={door.account_id}")[1]["data"]
    assert ask(admin, "GET", "/v1/suppressions")[1]["data"] == []
    assert ask(admin, "POST", "/v1/suppressions", {**fields, "account_id": "1"})[0] == 404
    assert ask(manager, "POST", "/v1/suppressions", {**fields, "account_id": "1"})[0] == 403
