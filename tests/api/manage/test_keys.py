"""/v1/api-keys through HTTP, on both databases."""

from datetime import timedelta

import pytest

from relay.core.clock import now, wire_time
from relay.store import accounts
from tests.api.conftest import EMAILS

KEYS = "/v1/api-keys"


def make(ask, key, **fields):
    status, made = ask(key, "POST", KEYS, fields)
    assert status == 201, made
    return made


def test_a_key_is_made_shown_once_and_works(ask, door, manager):
    made = make(
        ask, manager, label="shop", networks=["10.1.2.3/8", "2001:DB8::/32"], rate_limit=5, daily_quota=9
    )
    secret = made.pop("key")
    assert secret.split("_")[:2] == ["acme", "v1"]
    assert made["last_five"] == secret[-5:]
    assert made["networks"] == ["10.0.0.0/8", "2001:db8::/32"]
    assert (made["scopes"], made["rate_limit"], made["daily_quota"]) == (["send", "read"], 5, 9)
    assert ask(manager, "GET", f"{KEYS}/{made['id']}") == (200, made)
    assert ask(manager, "GET", KEYS)[1]["data"][0] == made
    identity = door.identity(secret)
    assert (identity.rate_limit, identity.daily_quota) == (5, 9)
    assert [str(network) for network in identity.networks] == made["networks"]


def test_the_secret_and_its_hash_are_nowhere_to_be_read(ask, door, manager):
    made = make(ask, manager)
    _, listed = ask(manager, "GET", KEYS)
    written = str(listed)
    assert made["key"] not in written
    assert accounts.digest(made["key"]) not in written


def test_a_key_is_refused_from_elsewhere(ask, manager):
    near = make(ask, manager, networks=["127.0.0.1"])["key"]
    far = make(ask, manager, networks=["192.0.2.0/24"])["key"]
    assert ask(near, "GET", EMAILS)[0] == 200
    status, answer = ask(far, "GET", EMAILS)
    assert (status, answer["code"]) == (403, "unauthorized")


def test_rotation_leaves_the_old_key_working_for_its_overlap(ask, door, manager):
    old = make(ask, manager, label="shop", networks=["127.0.0.0/8"], rate_limit=5)
    before = now()
    status, new = ask(manager, "POST", f"{KEYS}/{old['id']}/rotate", {"overlap": 3600})
    assert status == 201
    assert {**old, "id": 0, "key": 0, "last_five": 0, "created_at": 0} == {
        **{name: value for name, value in new.items() if name != "replaces"},
        "id": 0,
        "key": 0,
        "last_five": 0,
        "created_at": 0,
    }
    ends = new["replaces"]["expires_at"]
    assert new["replaces"]["id"] == old["id"]
    hour = timedelta(hours=1)
    assert wire_time(before + hour) <= ends <= wire_time(now() + hour)
    assert ask(old["key"], "GET", EMAILS)[0] == 200
    assert ask(new["key"], "GET", EMAILS)[0] == 200


def test_rotation_without_a_body_overlaps_by_a_day_and_without_overlap_ends_the_old_key(ask, manager):
    old = make(ask, manager)
    answer = ask(manager, "POST", f"{KEYS}/{old['id']}/rotate")[1]
    assert answer["replaces"]["expires_at"] > wire_time(now() + timedelta(hours=23))
    again = ask(manager, "POST", f"{KEYS}/{answer['id']}/rotate", {"overlap": 0})[1]
    assert ask(answer["key"], "GET", EMAILS)[0] == 401
    assert ask(again["key"], "GET", EMAILS)[0] == 200
    assert ask(manager, "POST", f"{KEYS}/{answer['id']}/rotate")[0] == 409


def test_rotation_never_lengthens_the_old_keys_life_and_the_new_one_lasts_as_long(ask, manager):
    soon = now() + timedelta(minutes=10)
    old = make(ask, manager, expires_at=wire_time(soon))
    new = ask(manager, "POST", f"{KEYS}/{old['id']}/rotate", {"overlap": 3600})[1]
    assert new["replaces"]["expires_at"] == old["expires_at"]
    assert new["expires_at"] > old["expires_at"]
    assert new["expires_at"] <= wire_time(now() + timedelta(minutes=10))


def test_a_revoked_key_stops_and_stays_to_be_seen(ask, door, manager):
    made = make(ask, manager)
    path = f"{KEYS}/{made['id']}"
    assert ask(manager, "DELETE", path) == (204, None)
    assert ask(made["key"], "GET", EMAILS)[0] == 401
    _, shown = ask(manager, "GET", path)
    assert shown["revoked_at"] is not None
    assert ask(manager, "DELETE", path)[0] == 204
    assert ask(manager, "GET", path) == (200, shown)
    assert ask(manager, "PATCH", path, {"label": "x"})[0] == 409
    assert ask(manager, "POST", f"{path}/rotate")[0] == 409


def test_a_key_is_changed(ask, door, manager):
    made = make(ask, manager, networks=["10.0.0.0/8"], rate_limit=5)
    later = wire_time(now() + timedelta(days=1))
    changes = {"label": "new", "scopes": ["read"], "networks": [], "rate_limit": None, "expires_at": later}
    status, changed = ask(manager, "PATCH", f"{KEYS}/{made['id']}", changes)
    assert status == 200
    assert {name: changed[name] for name in changes} == changes
    assert ask(manager, "GET", f"{KEYS}/{made['id']}") == (200, changed)
    assert ask(manager, "PATCH", f"{KEYS}/{made['id']}", {"label": "x"})[1]["scopes"] == ["read"]


@pytest.mark.parametrize(
    "fields",
    [
        {"label": "x" * 256},
        {"label": "a\nb"},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"scopes": "send"},
        {"networks": ["10.0.0.0/33"]},
        {"networks": ["example.org"]},
        {"networks": "10.0.0.0/8"},
        {"rate_limit": 0},
        {"rate_limit": "5"},
        {"daily_quota": -1},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "tomorrow"},
        {"secret": "mine"},
    ],
)
def test_what_is_no_key_is_refused(refuse, fields):
    status, answer = refuse("manager", "POST", KEYS, fields)
    assert (status, answer["code"]) == (400, "api_validation"), answer
    identifier = refuse("manager", "GET", KEYS)[1]["data"][0]["id"]
    assert refuse("manager", "PATCH", f"{KEYS}/{identifier}", fields)[0] == 400


def test_a_key_cannot_make_or_touch_one_that_may_do_more(ask, door, manager):
    assert ask(manager, "POST", KEYS, {"scopes": ["admin"]})[0] == 403
    strong = door.work(accounts.create_key, "acme", scopes=("admin",))
    path = f"{KEYS}/{strong.id}"
    assert ask(manager, "POST", f"{path}/rotate")[0] == 403
    assert ask(manager, "PATCH", path, {"label": "x"})[0] == 403
    assert ask(manager, "DELETE", path)[0] == 403
    mine = make(ask, manager)
    assert ask(manager, "PATCH", f"{KEYS}/{mine['id']}", {"scopes": ["admin"]})[0] == 403


def test_a_bound_keys_children_are_bound(ask, door):
    bound = door.work(
        accounts.create_key,
        "acme",
        scopes=("manage", "send", "read"),
        networks=["127.0.0.0/8"],
        rate_limit=5,
        daily_quota=100,
    ).secret
    child = make(ask, bound)
    assert (child["networks"], child["rate_limit"], child["daily_quota"]) == (["127.0.0.0/8"], 5, 100)
    assert make(ask, bound, networks=["127.0.0.1"], rate_limit=4)["networks"] == ["127.0.0.1/32"]
    for fields in (
        {"networks": ["0.0.0.0/0"]},
        {"networks": ["::/0"]},
        {"rate_limit": 6},
        {"daily_quota": 101},
    ):
        assert ask(bound, "POST", KEYS, fields)[0] == 403
    for fields in ({"networks": []}, {"rate_limit": None}):
        assert ask(bound, "PATCH", f"{KEYS}/{child['id']}", fields)[0] == 403


def test_another_accounts_keys_are_not_there(ask, door, admin, manager):
    foreign = door.work(accounts.create_key, "operator")
    path = f"{KEYS}/{foreign.id}"
    for method, fields in (("GET", None), ("PATCH", {"label": "x"}), ("DELETE", None)):
        assert ask(manager, method, path, fields)[0] == 404
    account = str(door.identity(admin).account_id)
    assert ask(manager, "GET", f"{path}?account_id={account}")[0] == 403
    assert ask(manager, "POST", KEYS, {"account_id": account})[0] == 403


def test_an_admin_key_makes_keys_for_any_account(ask, door, admin):
    account = str(door.account_id)
    made = make(ask, admin, account_id=account, scopes=["manage"])
    assert made["account_id"] == account
    assert door.identity(made["key"]).account == "acme"
    assert ask(admin, "GET", f"{KEYS}?account_id={account}")[1]["data"][0]["id"] == made["id"]
    assert ask(admin, "DELETE", f"{KEYS}/{made['id']}?account_id={account}")[0] == 204
    assert ask(admin, "POST", KEYS, {"account_id": "1"})[0] == 404


def test_keys_are_listed_page_by_page(ask, manager):
    made = [make(ask, manager)["id"] for _ in range(3)]
    first = ask(manager, "GET", f"{KEYS}?limit=2")[1]
    rest = ask(manager, "GET", f"{KEYS}?limit=2&cursor={first['next_cursor']}")[1]
    assert [one["id"] for one in first["data"] + rest["data"]][:3] == made[::-1]
