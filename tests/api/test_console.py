"""The console's door without a browser: on both databases, by either scheme, for whom it is not."""

import re

import httpx2
import pytest

from api.console import trends
from relay.core.clock import now
from relay.core.errors import Unavailable
from relay.core.inbox import InboxKind, InboxState
from relay.store import accounts, inbox, statistics
from relay.store.inbox import Told
from tests.api.conftest import Door

_PAGES = (
    "", "/live", "/messages", "/queue", "/providers", "/captured", "/suppressions", "/accounts", "/webhooks",
    "/audit", "/reports", "/statistics", "/statistics?span=year&dimension=domain",
    "/statistics?dimension=key&value=1",
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
    told = Told(InboxKind.WEBHOOK, "bygone", b'{"a":1}', now(), {"x": "y"}, state=InboxState.FAILED)
    door.work(inbox.put, [told])
    (aside,) = door.work(inbox.page, limit=1)
    own = (
        f"/reports/{aside['id']}",
        f"/messages/{sent}",
        f"/messages/{sent}/html",
        f"/accounts/{account}",
        "/messages?subject=otp",
    )
    for path in (*_PAGES, *own):
        answer = door.request("GET", f"/console{path}", key=None)
        assert answer.status_code == 200, (path, answer.text)
    missing = door.request("GET", "/console/messages/1", key=None)
    assert missing.status_code == 404
    assert "not found" in missing.text
    nowhere = door.request("GET", "/console/nowhere/at/all", key=None)
    assert (nowhere.status_code, "There is no such page." in nowhere.text) == (404, True)


def test_a_database_that_is_away_has_a_page_and_not_json(sqlite_door: Door, monkeypatch) -> None:
    assert sign_in(sqlite_door, sqlite_door.new_account("operator", scopes=("admin",))).status_code == 303

    async def away(*_args: object, **_more: object) -> None:
        raise Unavailable

    monkeypatch.setattr(type(sqlite_door.database), "read", away)
    for path in ("/console", "/console/messages"):
        answer = sqlite_door.request("GET", path, key=None)
        assert answer.status_code == 503
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert '<p class="told bad" role="alert">' in answer.text
        assert "{" not in re.sub(r"<meta[^>]*>", "", answer.text)


def test_a_fault_is_told_by_its_reference(sqlite_door: Door, monkeypatch) -> None:
    assert sign_in(sqlite_door, sqlite_door.new_account("operator", scopes=("admin",))).status_code == 303

    def broken(*_args: object, **_more: object) -> None:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr(statistics, "read", broken)
    monkeypatch.setattr(trends, "outcomes", broken)
    answer = sqlite_door.request("GET", "/console/statistics", key=None)
    assert answer.status_code == 500
    assert re.search(r"Something went wrong on our side. Reference: [0-9a-f]{12}<", answer.text)
    assert "nobody expected" not in answer.text


def test_a_session_that_has_ended_is_said_to_have(sqlite_door: Door) -> None:
    first = sqlite_door.request("GET", "/console/audit", key=None)
    assert first.headers["location"] == "/console/sign-in?to=%2Fconsole%2Faudit"
    over = sqlite_door.request("GET", "/console/audit", key=None, headers={"Cookie": "pillarbox_console=old"})
    assert over.headers["location"] == "/console/sign-in?to=%2Fconsole%2Faudit&ended=1"
    page = sqlite_door.request("GET", over.headers["location"], key=None)
    assert "Your session has ended." in page.text


def test_a_month_is_taken_away_as_a_file(sqlite_door: Door) -> None:
    assert sign_in(sqlite_door, sqlite_door.new_account("operator", scopes=("admin",))).status_code == 303
    path = "/console/statistics/report?month=2026-05&dimension=tag&account_id="
    answer = sqlite_door.request("GET", path, key=None)
    assert answer.headers["content-disposition"] == 'attachment; filename="tag-2026-05.csv"'
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.startswith("month,tag,messages,accepted")
    wrong = sqlite_door.request("GET", "/console/statistics/report?month=soon", key=None)
    assert (wrong.status_code, "month" in wrong.text) == (400, True)


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
