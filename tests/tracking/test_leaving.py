"""Unsubscribing, as mail programs and people do it: over HTTP, on both databases."""

import re

import pytest

from relay.core.clock import now
from relay.core.event import EventKind
from relay.core.provider import Report
from relay.store import ingestion
from tests.api.conftest import refused
from tests.tracking.conftest import URL

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def way_out(post, identifier) -> str:
    (url,) = re.findall(r"<(https://[^>]+)>", post.mail(identifier)["List-Unsubscribe"])
    return str(url)


def press(post, url, **rest):
    """As Gmail does it: a form of one field, no cookies, no referrer (RFC 8058 3.2)."""
    return post.request("POST", url.removeprefix(URL), key=None, data=ONE_CLICK, **rest)


def test_bulk_mail_can_be_left_with_one_click(post):
    sent = post.sent(stream="bulk", recipient="Ada@example.net")
    mail = post.mail(sent["id"])
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = way_out(post, sent["id"])
    answer = press(post, url)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    refused(post.send(stream="bulk", recipient="ada@example.net"), 400, "invalid_template")
    # A receipt still comes.
    post.sent(recipient="ada@example.net")
    (left,) = post.events(sent["id"], "unsubscribed")
    assert (left["recipient"], left["detail"]["stream"]) == ("ada@example.net", "bulk")
    listed = post.get("/v1/suppressions").json()["data"]
    assert [(one["address"], one["stream"], one["reason"]) for one in listed] == [
        ("ada@example.net", "bulk", "unsubscribe")
    ]


def test_leaving_twice_changes_nothing(post):
    sent = post.sent(stream="bulk")
    url = way_out(post, sent["id"])
    answers = [press(post, url) for _ in range(3)]
    assert {(one.status_code, one.text) for one in answers} == {(200, answers[0].text)}
    assert len(post.events(sent["id"], "unsubscribed")) == 1
    assert len(post.get("/v1/suppressions").json()["data"]) == 1


def test_looking_at_the_page_changes_nothing_and_its_button_does(sqlite_post):
    sent = sqlite_post.sent(stream="bulk", recipient="o'hara+x@example.net")
    url = way_out(sqlite_post, sent["id"])
    for method in ("GET", "HEAD"):
        page = sqlite_post.visit(url, method)
        assert page.status_code == 200
    page = sqlite_post.visit(url)
    assert "o&#x27;hara+x@example.net" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert sqlite_post.get("/v1/suppressions").json()["data"] == []
    (form,) = re.findall(r"<form method=\"post\">.*?</form>", page.text)
    ((name, value),) = re.findall(r'name="([^"]+)" value="([^"]+)"', form)
    done = sqlite_post.request("POST", url.removeprefix(URL), key=None, data={name: value})
    assert "You have unsubscribed" in done.text
    assert len(sqlite_post.get("/v1/suppressions").json()["data"]) == 1


def test_a_stream_may_be_left_with_all_the_accounts_mail(sqlite_post):
    manager = sqlite_post.work(_manager).secret
    change = {"unsubscribe_from": "account", "title": "<News> & more"}
    assert sqlite_post.request("PATCH", "/v1/streams/bulk", key=manager, json=change).status_code == 200
    url = way_out(sqlite_post, sqlite_post.sent(stream="bulk")["id"])
    assert "&lt;News&gt; &amp; more" in sqlite_post.visit(url).text
    press(sqlite_post, url)
    refused(sqlite_post.send(), 400, "invalid_template", "Recipient email is blacklisted")


def _manager(connection):
    from relay.store import accounts

    return accounts.create_key(connection, "acme", scopes=("send", "read", "manage"))


def test_a_link_works_after_its_stream_is_gone(sqlite_post):
    manager = sqlite_post.work(_manager).secret
    stream = {"name": "news", "unsubscribe": True}
    assert sqlite_post.request("POST", "/v1/streams", key=manager, json=stream).status_code == 201
    url = way_out(sqlite_post, sqlite_post.sent(stream="news")["id"])
    assert sqlite_post.request("DELETE", "/v1/streams/news", key=manager).status_code == 204
    assert press(sqlite_post, url).status_code == 200
    assert sqlite_post.get("/v1/suppressions?stream=news").json()["data"]


@pytest.mark.parametrize("token", ["x", "A" * 100, "A" * 9000, "%2e%2e", "%E2%82%AC"])
def test_a_link_that_was_cut_short_says_so_and_does_nothing(sqlite_post, token):
    for method in ("GET", "POST"):
        answer = sqlite_post.request(method, f"/u/{token}", key=None)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "does not work" in answer.text
    assert sqlite_post.get("/v1/suppressions").json()["data"] == []


def test_what_the_client_wrote_is_left_alone(sqlite_post):
    theirs = {"List-Unsubscribe": "<https://acme.example/leave>"}
    sent = sqlite_post.sent(stream="bulk", headers=theirs)
    mail = sqlite_post.mail(sent["id"])
    assert mail.get_all("List-Unsubscribe") == ["<https://acme.example/leave>"]
    assert mail["List-Unsubscribe-Post"] is None


def test_only_mail_to_one_recipient_can_be_left(sqlite_post):
    assert (
        sqlite_post.mail(sqlite_post.sent(stream="bulk", cc=["b@example.net"])["id"])["List-Unsubscribe"]
        is None
    )
    assert sqlite_post.mail(sqlite_post.sent()["id"])["List-Unsubscribe"] is None


def test_a_mailbox_may_stand_beside_the_page(open_post):
    post = open_post(tracking={"unsubscribe_mailto": "leave@acme.example"})
    header = post.mail(post.sent(stream="bulk")["id"])["List-Unsubscribe"]
    assert header.endswith(", <mailto:leave@acme.example?subject=unsubscribe>")


def test_without_https_there_is_no_one_click(open_post):
    post = open_post(public_url="http://door.example")
    mail = post.mail(post.sent(stream="bulk")["id"])
    assert mail["List-Unsubscribe"].startswith("<http://door.example/u/")
    assert mail["List-Unsubscribe-Post"] is None


def test_how_much_a_complaint_ends_is_the_streams_to_say(post):
    manager = post.work(_manager).secret
    stream = {"name": "news", "complaint_from": "stream"}
    assert post.request("POST", "/v1/streams", key=manager, json=stream).status_code == 201
    for name, address in (("news", "a@example.net"), ("bulk", "b@example.net"), (None, "c@example.net")):
        sent = post.sent(recipient=address, **({"stream": name} if name else {}))
        report = Report(EventKind.COMPLAINED, now(), token=sent["id"], recipient=address)
        post.work(ingestion.record, "test", [report], now=now())
    listed = post.get("/v1/suppressions").json()["data"]
    assert {(one["address"], one["stream"], one["reason"]) for one in listed} == {
        ("a@example.net", "news", "complaint"),
        ("b@example.net", None, "complaint"),
        ("c@example.net", None, "complaint"),
    }
