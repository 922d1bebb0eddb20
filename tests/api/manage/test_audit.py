"""Every change that is made by a call is written down, with who made it; what is only read or sent is not."""

import pytest


@pytest.fixture
def trail(ask, admin):
    def read(query=""):
        status, found = ask(admin, "GET", f"/v1/audit{query}")
        assert status == 200, found
        return found["data"]

    return read


def test_a_change_is_written_down_with_who_made_it(ask, admin, manager, trail, door):
    made = ask(manager, "POST", "/v1/api-keys", {"label": "till 4", "scopes": ["send"]})[1]
    assert ask(manager, "DELETE", f"/v1/api-keys/{made['id']}")[0] == 204
    removed, created = trail()
    assert (removed["action"], removed["subject"]) == ("DELETE /v1/api-keys/{id}", made["id"])
    assert (created["action"], created["subject"]) == ("POST /v1/api-keys", made["id"])
    assert created["detail"] == {"label": "till 4", "scopes": ["send"]}
    assert created["who"] == "acme"
    assert created["account_id"] == str(door.account_id)
    assert (created["door"], created["address"]) == ("api", "127.0.0.1")
    assert made["key"] not in str(trail())


def test_what_was_refused_or_read_or_sent_is_not(ask, admin, manager, trail, door):
    assert ask(door.key, "POST", "/v1/api-keys", {})[0] == 403
    assert ask(manager, "POST", "/v1/senders", {"pattern": "no domain"})[0] == 400
    assert ask(manager, "GET", "/v1/api-keys")[0] == 200
    letter = {"from": "a@acme.example", "to": "b@example.net", "subject": "Hello", "text": "Hello"}
    assert ask(manager, "POST", "/v1/messages", letter)[0] == 201
    door.sent()
    assert trail() == []


def test_what_may_be_secret_is_left_out(ask, admin, manager, trail):
    url = "https://hooks.example.net/in?token=hush"
    ask(manager, "POST", "/v1/webhook-endpoints", {"url": url, "description": "ours"})
    (line,) = trail("?action=webhook")
    assert line["detail"] == {"url": "********", "description": "ours"}


def test_it_is_for_admins_and_comes_in_pages(ask, admin, manager, trail):
    assert ask(manager, "GET", "/v1/audit")[0] == 403
    for number in range(3):
        ask(manager, "POST", "/v1/suppressions", {"address": f"{number}@example.net"})
    first = ask(admin, "GET", "/v1/audit?limit=2")[1]
    rest = ask(admin, "GET", f"/v1/audit?limit=2&cursor={first['next_cursor']}")[1]
    subjects = [one["subject"] for one in first["data"] + rest["data"]]
    assert len(subjects) == 3
    assert subjects == [one["subject"] for one in trail("?action=suppressions")]
    assert len(trail(f"?subject={subjects[1]}")) == 1
    assert len(trail(f"?key_id={first['data'][0]['key_id']}")) == 3
    assert trail("?key_id=1") == []


def test_a_client_cannot_say_that_it_is_the_console(door):
    """What stands for whoever is signed in there has no way in from the network."""
    names = ("pillarbox.signed_in", "Pillarbox-Signed-In", "X-Pillarbox-Signed-In")
    answer = door.request("GET", "/v1/audit", key=None, headers=dict.fromkeys(names, "admin"))
    assert answer.status_code == 401
