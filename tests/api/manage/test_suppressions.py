"""/v1/suppressions through HTTP, on both databases; what it means at the doors is tested there."""

from datetime import timedelta
from urllib.parse import quote

import pytest

from relay.core.clock import now, wire_time

LIST = "/v1/suppressions"


def test_an_address_is_added_asked_for_listed_and_removed(ask, door, manager):
    status, made = ask(
        manager, "POST", LIST, {"address": "Gone@Example.net", "reason": "bounce", "note": "550"}
    )
    assert status == 201
    assert {**made, "id": "", "created_at": ""} == {
        "id": "",
        "address": "gone@example.net",
        "stream": None,
        "everywhere": False,
        "reason": "bounce",
        "source": "api",
        "note": "550",
        "created_at": "",
        "expires_at": None,
    }
    assert ask(door.key, "GET", f"{LIST}/GONE@example.NET") == (200, made)
    assert ask(door.key, "GET", f"{LIST}/gone%40example.net") == (200, made)
    assert ask(door.key, "GET", LIST)[1]["data"] == [made]
    assert ask(manager, "DELETE", f"{LIST}/Gone@example.net") == (204, None)
    assert ask(manager, "DELETE", f"{LIST}/gone@example.net")[0] == 404
    assert ask(door.key, "GET", f"{LIST}/gone@example.net")[0] == 404


@pytest.mark.parametrize("address", ["a/b@example.net", "a//b?c#d%e@example.net", "/@example.net"])
def test_an_address_may_hold_what_means_something_in_a_path(ask, manager, address):
    made = ask(manager, "POST", LIST, {"address": address})[1]
    one = f"{LIST}/{quote(address, safe='')}"
    assert ask(manager, "GET", one) == (200, made)
    assert ask(manager, "DELETE", one) == (204, None)
    assert ask(manager, "GET", one)[0] == 404


def test_adding_again_changes_the_entry(ask, manager):
    first = ask(manager, "POST", LIST, {"address": "a@example.net"})[1]
    later = wire_time(now() + timedelta(days=1))
    second = ask(
        manager, "POST", LIST, {"address": "A@example.net", "reason": "complaint", "expires_at": later}
    )[1]
    assert second == {**first, "reason": "complaint", "expires_at": later}
    assert ask(manager, "GET", LIST)[1]["data"] == [second]


def test_entries_for_all_are_the_admins(ask, door, admin, manager):
    fields = {"address": "spamtrap@example.net", "everywhere": True}
    assert ask(manager, "POST", LIST, fields)[0] == 403
    status, made = ask(admin, "POST", LIST, fields)
    assert (status, made["everywhere"]) == (201, True)
    assert ask(door.key, "GET", f"{LIST}/spamtrap@example.net") == (200, made)
    assert ask(door.key, "GET", LIST)[1]["data"] == []
    assert ask(door.key, "GET", f"{LIST}?everywhere=true")[1]["data"] == [made]
    assert ask(manager, "DELETE", f"{LIST}/spamtrap@example.net")[0] == 404
    assert ask(manager, "DELETE", f"{LIST}/spamtrap@example.net?everywhere=true")[0] == 403
    assert ask(admin, "POST", LIST, fields)[1]["id"] == made["id"]
    assert ask(admin, "DELETE", f"{LIST}/spamtrap@example.net?everywhere=true")[0] == 204


def test_ones_own_entry_and_the_one_for_all_stand_side_by_side(ask, admin, manager):
    ask(admin, "POST", LIST, {"address": "a@example.net", "everywhere": True})
    ask(manager, "POST", LIST, {"address": "a@example.net"})
    assert ask(manager, "GET", f"{LIST}/a@example.net")[1]["everywhere"] is False
    ask(manager, "DELETE", f"{LIST}/a@example.net")
    assert ask(manager, "GET", f"{LIST}/a@example.net")[1]["everywhere"] is True


def test_accounts_have_lists_of_their_own(ask, door, admin, manager):
    ask(manager, "POST", LIST, {"address": "a@example.net"})
    assert ask(admin, "GET", f"{LIST}/a@example.net")[0] == 404
    assert ask(admin, "GET", LIST)[1]["data"] == []


def test_the_list_is_read_page_by_page_and_by_reason(ask, manager):
    for number in range(5):
        reason = "bounce" if number % 2 else "unsubscribe"
        ask(manager, "POST", LIST, {"address": f"a{number}@example.net", "reason": reason})
    first = ask(manager, "GET", f"{LIST}?limit=3")[1]
    assert first["has_more"] is True
    rest = ask(manager, "GET", f"{LIST}?limit=3&cursor={first['next_cursor']}")[1]
    assert rest["next_cursor"] is None
    found = [one["address"][:2] for one in first["data"] + rest["data"]]
    assert found == ["a4", "a3", "a2", "a1", "a0"]
    bounces = ask(manager, "GET", f"{LIST}?reason=bounce")[1]["data"]
    assert [one["address"][:2] for one in bounces] == ["a3", "a1"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"address": "nobody"},
        {"address": "a@b@c"},
        {"address": "a@example.net", "reason": "dislike"},
        {"address": "a@example.net", "expires_at": "2020-01-01"},
        {"address": "a@example.net", "note": "x" * 1001},
        {"address": "a@example.net", "note": "a\u0000b"},
        {"address": "a@example.net", "everywhere": "yes"},
        {"address": "a@example.net", "colour": 1},
    ],
)
def test_what_is_no_entry_is_refused(refuse, fields):
    assert refuse("manager", "POST", LIST, fields)[0] == 400


def test_writing_needs_more_than_reading(ask, door):
    assert ask(door.key, "POST", LIST, {"address": "a@example.net"})[0] == 403
    assert ask(door.key, "DELETE", f"{LIST}/a@example.net")[0] == 403


def test_asking_for_what_is_no_address_is_refused(ask, door):
    assert ask(door.key, "GET", f"{LIST}/nobody")[0] == 400


def test_entries_for_one_stream_and_for_all_mail_stand_side_by_side(ask, door, manager):
    bulk = ask(manager, "POST", LIST, {"address": "a@example.net", "stream": "bulk"})[1]
    assert bulk["stream"] == "bulk"
    assert ask(door.key, "GET", f"{LIST}/a@example.net") == (200, bulk)
    assert ask(door.key, "GET", f"{LIST}/a@example.net?stream=bulk") == (200, bulk)
    assert ask(door.key, "GET", f"{LIST}/a@example.net?stream=transactional")[0] == 404
    status, answer = ask(manager, "DELETE", f"{LIST}/a@example.net")
    assert (status, answer["message"]) == (404, "a@example.net is not on the list, but on that of bulk.")
    everything = ask(manager, "POST", LIST, {"address": "A@example.net"})[1]
    assert everything["id"] != bulk["id"]
    assert ask(door.key, "GET", f"{LIST}/a@example.net?stream=transactional") == (200, everything)
    assert ask(door.key, "GET", f"{LIST}?stream=bulk")[1]["data"] == [bulk]
    assert ask(manager, "DELETE", f"{LIST}/a@example.net")[0] == 204
    assert ask(manager, "DELETE", f"{LIST}/a@example.net?stream=bulk")[0] == 204
    assert ask(door.key, "GET", LIST)[1]["data"] == []
    assert ask(manager, "POST", LIST, {"address": "a@example.net", "stream": "No Stream"})[0] == 400
