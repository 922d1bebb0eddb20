"""Who gets in, for how long, and what a form of somebody else's comes to."""

import re
import sqlite3
import time

import pytest

from tests.console.browser import context, sign_in

#: the first of them may have to install a browser
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def visitor(stage, chrome):
    """Somebody who is not signed in."""
    own = context(chrome)
    yield own
    own.close()


def sessions(stage, change, *values):
    with sqlite3.connect(stage.directory / "data" / "pillarbox.db", timeout=20) as database:
        changed = database.execute(change, values).rowcount
    database.close()
    return changed


def test_every_page_asks_who_is_there_and_leads_on(stage, visitor):
    page = visitor.new_page()
    page.goto(f"{stage.console}/providers")
    assert page.url.endswith("/console/sign-in?to=%2Fconsole%2Fproviders")
    page.get_by_label("API key").fill(stage.key)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Providers").wait_for()


@pytest.mark.parametrize(
    ("scopes", "says"),
    [(None, "not a working key"), (("send", "read", "manage"), "does not have the scope admin")],
    ids=["made up", "not an admin's"],
)
def test_another_key_gets_nobody_in(stage, visitor, scopes, says):
    key = "somebody_v1_AAAA"
    if scopes:
        key = stage.request("/v1/api-keys", {"scopes": list(scopes)})[1]["key"]
    page = visitor.new_page()
    page.goto(stage.console)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    assert says in page.get_by_role("alert").inner_text()
    assert [one["name"] for one in visitor.cookies()] == ["pillarbox_sign_in"]


def test_the_cookie_is_out_of_reach_and_of_no_use_after_signing_out(stage, visitor):
    page = visitor.new_page()
    sign_in(page, stage.console, stage.key)
    (cookie,) = visitor.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/console")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("API key").wait_for()
    visitor.add_cookies([cookie])
    page.goto(stage.console)
    assert "/sign-in" in page.url


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE console_session SET seen_at = seen_at - 3601 * 1000000",
        "UPDATE console_session SET expires_at = seen_at - 1",
    ],
    ids=["an hour without a page", "half a day in all"],
)
def test_a_session_ends(stage, visitor, change):
    page = visitor.new_page()
    sign_in(page, stage.console, stage.key)
    # The overview asks for more by itself: its loading the page again would come between.
    page.goto(f"{stage.console}/providers")
    newest = " WHERE id = (SELECT max(id) FROM console_session)"
    assert sessions(stage, change + newest) == 1
    page.goto(f"{stage.console}/audit")
    assert "/sign-in" in page.url


def test_a_revoked_key_ends_its_sessions(stage, visitor):
    made = stage.request("/v1/api-keys", {"scopes": ["admin"], "label": "passing by"})[1]
    page = visitor.new_page()
    sign_in(page, stage.console, made["key"])
    # The overview would find out by itself, and load the page again in between.
    page.goto(f"{stage.console}/providers")
    revoked = visitor.request.delete(
        f"{stage.console.removesuffix('console')}v1/api-keys/{made['id']}",
        headers={"Authorization": f"Bearer {stage.key}"},
    )
    assert revoked.status == 204
    page.reload()
    assert "/sign-in" in page.url


def test_a_form_needs_the_token_of_its_session(stage, chrome, signed_in):
    own = context(chrome, storage_state=signed_in)
    for form in ({}, {"csrf": "0" * 64}):
        answer = own.request.post(f"{stage.console}/providers/main/pause", form=form, max_redirects=0)
        assert answer.status == 403
    # A cookie alone, as another site's page would bring it, is not enough to sign in by, either.
    answer = own.request.post(f"{stage.console}/sign-in", form={"key": stage.key}, max_redirects=0)
    assert answer.status == 403
    assert stage.request("/v1/providers/main")[1]["mode"] == "active"
    own.close()


def test_guessing_ends(stage, chrome):
    """From an address of its own, so that the other tests can sign in."""
    import http.client
    from urllib.parse import urlencode

    def guess():
        client = http.client.HTTPConnection("127.0.0.1", stage.api_port, source_address=("127.0.0.9", 0))
        client.request("GET", "/console/sign-in")
        answer = client.getresponse()
        token = re.search(r'name="csrf" value="(\w+)"', answer.read().decode())[1]
        headers = {
            "Cookie": answer.headers["set-cookie"].partition(";")[0],
            "Content-Type": "application/x-www-form-urlencoded",
        }
        client.request("POST", "/console/sign-in", urlencode({"csrf": token, "key": "a_v1_b"}), headers)
        status = client.getresponse().status
        client.close()
        return status

    statuses = [guess() for _ in range(22)]
    assert statuses[:20] == [401] * 20
    assert statuses[-1] == 429


def test_every_answer_forbids_what_is_not_needed(stage, chrome, signed_in):
    own = context(chrome, storage_state=signed_in)
    for path in ("", "/messages", "/sign-in", "/static/console.css"):
        headers = own.request.get(f"{stage.console}{path}").headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    own.close()


def test_who_came_and_who_tried_is_written_down(stage, page):
    deadline = time.monotonic() + 60
    while True:
        page.goto(f"{stage.console}/audit?action=sign-in")
        text = page.get_by_role("main").inner_text()
        if "sign-in failed" in text and "default / first key" in text:
            break
        assert time.monotonic() < deadline, text
