"""/v1/accounts and /v1/senders through HTTP, on both databases."""

import pytest

from tests.api.conftest import EMAILS


def test_an_account_is_made_listed_read_and_changed(ask, admin):
    status, made = ask(
        admin,
        "POST",
        "/v1/accounts",
        {"name": "Shop", "email": "Ops@Shop.example", "senders": ["Shop.example"]},
    )
    assert status == 201
    assert {**made, "id": "", "created_at": ""} == {
        "id": "",
        "name": "Shop",
        "email": "Ops@shop.example",
        "created_at": "",
        "disabled_at": None,
    }
    path = f"/v1/accounts/{made['id']}"
    assert ask(admin, "GET", path) == (200, made)
    status, listed = ask(admin, "GET", "/v1/accounts")
    assert (status, listed["data"][0], listed["has_more"], listed["next_cursor"]) == (200, made, False, None)
    assert [one["name"] for one in listed["data"]] == ["Shop", "operator", "acme"]
    status, changed = ask(admin, "PATCH", path, {"name": "Store", "email": None})
    assert (status, changed["name"], changed["email"]) == (200, "Store", None)
    assert ask(admin, "PATCH", path, {}) == (200, changed)
    assert ask(admin, "GET", path) == (200, changed)


def test_the_list_is_read_page_by_page(ask, admin):
    for number in range(5):
        ask(admin, "POST", "/v1/accounts", {"name": f"a{number}"})
    names, cursor, pages = [], "", 0
    while cursor is not None:
        status, page = ask(admin, "GET", f"/v1/accounts?limit=3{'&cursor=' + cursor if cursor else ''}")
        assert status == 200
        assert page["has_more"] == (page["next_cursor"] is not None)
        names += [one["name"] for one in page["data"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert names == ["a4", "a3", "a2", "a1", "a0", "operator", "acme"]
    assert pages == 3


def test_a_disabled_account_cannot_come_in_until_it_is_enabled(ask, door, admin, fresh_key):
    path = f"/v1/accounts/{door.account_id}"
    status, changed = ask(admin, "PATCH", path, {"disabled": True})
    assert status == 200
    assert changed["disabled_at"] is not None
    assert ask(fresh_key(), "GET", EMAILS)[0] == 401
    assert ask(admin, "PATCH", path, {"disabled": False})[1]["disabled_at"] is None
    assert ask(fresh_key(), "GET", EMAILS)[0] == 200


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"name": ""}, 400),
        ({"name": "x" * 65}, 400),
        ({"name": "line\nbreak"}, 400),
        ({"name": 5}, 400),
        ({"name": "n", "colour": "red"}, 400),
        ({"name": "n", "email": "nobody"}, 400),
        ({"name": "n", "senders": ["not a domain"]}, 400),
        ({"name": "n", "senders": "n.example"}, 400),
        ({"name": "acme"}, 409),
        ({"name": "n", "senders": ["n.example", "not a domain"]}, 400),
        ([], 400),
    ],
)
def test_what_is_no_account_is_refused_and_leaves_nothing(refuse, fields, status):
    got, answer = refuse("admin", "POST", "/v1/accounts", fields)
    assert got == status, answer
    assert set(answer) == {"code", "message"}
    names = {one["name"] for one in refuse("admin", "GET", "/v1/accounts?limit=1000")[1]["data"]}
    assert "n" not in names


def test_renaming_to_a_name_that_is_taken_is_a_conflict(ask, door, admin):
    status, answer = ask(admin, "PATCH", f"/v1/accounts/{door.account_id}", {"name": "operator"})
    assert (status, answer["code"]) == (409, "conflict")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"null"])
def test_a_body_that_is_no_json_object_is_refused(refuse, body):
    headers = {"content-type": "application/json"}
    assert refuse("admin", "POST", "/v1/accounts", content=body, headers=headers)[0] == 400
    headers = {"content-type": "text/plain"}
    status, answer = refuse("admin", "POST", "/v1/accounts", content=b"{}", headers=headers)
    assert (status, answer["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("identifier", ["1", "0", "99999999999999999999", "abc", "9223372036854775807", "-1"])
def test_an_account_that_is_not_there_is_not_found(refuse, identifier):
    assert refuse("admin", "GET", f"/v1/accounts/{identifier}")[0] == 404
    assert refuse("admin", "PATCH", f"/v1/accounts/{identifier}", {"name": "n"})[0] == 404


def test_without_an_admin_key_only_ones_own_account_is_there(ask, door, admin, manager):
    assert ask(manager, "POST", "/v1/accounts", {"name": "n"})[0] == 403
    assert ask(manager, "GET", "/v1/accounts")[0] == 403
    assert ask(manager, "PATCH", f"/v1/accounts/{door.account_id}", {"name": "n"})[0] == 403
    assert ask(manager, "GET", f"/v1/accounts/{door.account_id}")[1]["name"] == "acme"
    other = door.identity(admin).account_id
    assert ask(manager, "GET", f"/v1/accounts/{other}")[0] == 404
    assert ask(None, "GET", "/v1/accounts")[0] == 401


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "cursor=x", "offset=3", "limit=1&limit=2", "cursor="]
)
def test_a_query_that_is_none_is_refused(refuse, query):
    status, answer = refuse("admin", "GET", f"/v1/accounts?{query}")
    assert (status, answer["code"]) == (400, "api_validation")


def test_senders_are_added_listed_and_removed(ask, door, manager):
    status, made = ask(manager, "POST", "/v1/senders", {"pattern": "News@Letters.example"})
    assert status == 201
    assert made["pattern"] == "news@letters.example"
    assert made["account_id"] == str(door.account_id)
    status, listed = ask(manager, "GET", "/v1/senders")
    assert [one["pattern"] for one in listed["data"]] == ["news@letters.example", "acme.example"]
    assert ask(manager, "GET", f"/v1/senders/{made['id']}") == (200, made)
    assert ask(manager, "DELETE", f"/v1/senders/{made['id']}") == (204, None)
    assert ask(manager, "DELETE", f"/v1/senders/{made['id']}")[0] == 404
    assert ask(manager, "GET", f"/v1/senders/{made['id']}")[0] == 404


def test_a_new_sender_may_send(ask, manager, fresh_key):
    ask(manager, "POST", "/v1/senders", {"pattern": "letters.example"})
    key = fresh_key()
    fields = {"recipient": "r@example.com", "subject": "s", "body": "b", "from": "news@letters.example"}
    assert ask(key, "POST", f"{EMAILS}/send", fields)[0] == 201


@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        ("acme.example", 409),
        ("rival.example", 409),
        ("someone@rival.example", 409),
        ("boss@chief.example", 409),
        ("chief.example", 409),
        ("*", 403),
        ("", 400),
        ("a b", 400),
        ("@", 400),
        ("a@", 400),
    ],
)
def test_an_account_cannot_have_what_another_has(refuse, rival, pattern, status):
    got, answer = refuse("manager", "POST", "/v1/senders", {"pattern": pattern})
    assert got == status, answer


@pytest.fixture(scope="session")
def rival(shared_door):
    shared_door.new_account("rival", senders=["rival.example", "boss@chief.example"])


def test_an_account_can_have_what_only_looks_like_anothers(ask, door, manager):
    door.new_account("rival", senders=["boss@chief.example", "boss@axb.example"])
    for pattern in ("hief.example", "other@chief.example", "a_b.example"):
        assert ask(manager, "POST", "/v1/senders", {"pattern": pattern})[0] == 201


def test_an_admin_key_looks_after_other_accounts_senders(ask, door, admin, manager):
    account = str(door.account_id)
    status, made = ask(admin, "POST", "/v1/senders", {"pattern": "*", "account_id": account})
    assert (status, made["account_id"]) == (201, account)
    listed = ask(admin, "GET", f"/v1/senders?account_id={account}")[1]["data"]
    assert listed[0] == made
    assert ask(admin, "GET", f"/v1/senders/{made['id']}")[0] == 404
    assert ask(admin, "DELETE", f"/v1/senders/{made['id']}?account_id={account}")[0] == 204
    assert ask(admin, "POST", "/v1/senders", {"pattern": "x.example", "account_id": "1"})[0] == 404
    other = str(door.identity(admin).account_id)
    assert ask(manager, "GET", f"/v1/senders?account_id={other}")[0] == 403
    assert ask(manager, "POST", "/v1/senders", {"pattern": "x.example", "account_id": other})[0] == 403


def test_managing_needs_its_scope(ask, door):
    for path in ("/v1/senders", "/v1/api-keys"):
        assert ask(door.key, "GET", path)[0] == 403
        assert ask(door.key, "POST", path, {})[0] == 403
