"""The console's door without a browser: on both databases, by either scheme, for whom it is not."""

import re

import httpx2
import pytest

from relay.store import accounts
from tests.api.conftest import Door

_PAGES = (
    "", "/live", "/messages", "/queue", "/providers", "/captured", "/suppressions", "/accounts", "/webhooks",
    "/audit",
)  # fmt: skip


def sign_in(door: Door, key: str, base: str = "http://door.example") -> httpx2.Response:
    page = door.request("GET", f"{base}/console/sign-in", key=None)
    token = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert token is not None
    form = {"csrf": token[1], "key": key}
    return door.request("POST", f"{base}/console/sign-in", key=None, data=form)


def test_every_page_on_either_database(door: Door) -> None:
    sent = door.sent()["id"]
    admin = door.new_account("operator", scopes=("admin",), senders=["*"])
    assert sign_in(door, admin).status_code == 303
    account = door.identity(admin).account_id
    own = (f"/messages/{sent}", f"/messages/{sent}/html", f"/accounts/{account}", "/messages?subject=otp")
    for path in (*_PAGES, *own):
        answer = door.request("GET", f"/console{path}", key=None)
        assert answer.status_code == 200, (path, answer.text)
    missing = door.request("GET", "/console/messages/1", key=None)
    assert missing.status_code == 404
    assert "not found" in missing.text


def test_a_key_of_one_network_signs_nobody_in_from_another(door: Door) -> None:
    admin = door.new_account("operator", scopes=("admin",))
    bound = door.work(accounts.create_key, "operator", scopes=("admin",), networks=["192.0.2.0/24"]).secret
    answer = sign_in(door, bound)
    assert answer.status_code == 401
    assert "may not be used from this address" in answer.text
    assert sign_in(door, admin).status_code == 303


@pytest.mark.parametrize(("base", "secure"), [("https://door.example", True), ("http://door.example", False)])
def test_under_tls_the_cookie_never_goes_without_it(sqlite_door: Door, base: str, secure: bool) -> None:
    admin = sqlite_door.new_account("operator", scopes=("admin",))
    answer = sign_in(sqlite_door, admin, base)
    cookies = [one for one in answer.headers.get_list("set-cookie") if one.startswith("pillarbox_console=")]
    assert len(cookies) == 1
    assert ("Secure" in cookies[0]) is secure


def test_a_piece_of_a_page_has_the_page_loaded_when_the_session_is_over(sqlite_door: Door) -> None:
    answer = sqlite_door.request("GET", "/console/live", key=None, headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-refresh"] == "true"


@pytest.mark.parametrize(
    "to", ["https://elsewhere.example", "//elsewhere.example", "/console/..//x\\y", "/v1/audit"]
)
def test_signing_in_leads_nowhere_else(sqlite_door: Door, to: str) -> None:
    page = sqlite_door.request("GET", "/console/sign-in", key=None, params={"to": to})
    assert 'name="to" value="/console"' in page.text


def test_it_can_be_left_out(sqlite_door: Door) -> None:
    api = sqlite_door.settings.api.model_copy(update={"console": False})
    sqlite_door.reopen(sqlite_door.settings.model_copy(update={"api": api}))
    assert sqlite_door.request("GET", "/console", key=None).status_code == 404
