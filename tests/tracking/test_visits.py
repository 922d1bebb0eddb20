"""Opens and clicks, from the send to the record: over HTTP, on both databases."""

import dkim as verifier
import pytest

from relay import signing
from relay.core.clock import now
from relay.core.event import EventKind
from relay.core.provider import Report
from relay.store import dkim, ingestion
from tests.tracking.conftest import BROWSER, URL, links_of, pixel_of

HTML = '<html><body><p>Hi <a class="b" href="https://shop.example/a?x=1&amp;y=2">there</a></p></body></html>'
BOTH = {"opens": True, "clicks": True}


def test_nothing_is_tracked_unless_somebody_asks(post):
    sent = post.sent(body=HTML)
    assert URL not in post.raw(sent["id"]).decode()
    events = post.get(f"/v1/messages/{sent['id']}").json()["events"]
    assert events[0]["detail"] is None


def test_an_open_and_a_click_come_back(post):
    sent = post.sent(body=HTML, track=BOTH)
    html = post.html(sent["id"])
    image = post.visit(pixel_of(html))
    assert (image.status_code, image.headers["content-type"]) == (200, "image/gif")
    assert image.content.startswith(b"GIF89a")
    assert "no-store" in image.headers["cache-control"]
    assert "set-cookie" not in image.headers
    assert post.status(sent["id"]) == "OPENED"
    (link,) = links_of(html)
    click = post.visit(link)
    assert (click.status_code, click.headers["location"]) == (302, "https://shop.example/a?x=1&y=2")
    assert "set-cookie" not in click.headers
    opened, clicked = post.events(sent["id"], "opened", "clicked")
    assert opened["recipient"] == clicked["recipient"] == "recipient@example.com"
    assert opened["detail"] == {
        "ip": "127.0.0.0/24",
        "user_agent": BROWSER,
        "machine": False,
        "told_by": "tracking",
    }
    assert clicked["detail"]["url"] == "https://shop.example/a?x=1&y=2"


def test_a_mail_says_what_its_stream_and_key_would_not(post):
    manager = post.work(_key, "manage", track_opens=True).secret
    post.request("PATCH", "/v1/streams/bulk", key=manager, json={"track_opens": False, "track_clicks": True})

    def added(**fields):
        sent = post.post(
            {"recipient": "a@example.net", "subject": "x", "body": HTML, **fields}, key=manager
        ).json()
        html = post.html(sent["id"])
        return "/t/o/" in html, "/t/c/" in html

    # The key's word holds where the stream says nothing.
    assert added() == (True, False)
    assert added(stream="bulk") == (False, True)
    assert added(stream="bulk", track=BOTH) == (True, True)
    assert added(stream="bulk", track={"clicks": False}) == (False, False)
    assert added(stream="bulk", track=BOTH, disable_tracking=True) == (False, False)
    assert added(disable_tracking=False) == (True, False)


def _key(connection, scope, **fields):
    from relay.store import accounts

    return accounts.create_key(connection, "acme", scopes=("send", "read", scope), **fields)


def test_several_recipients_share_a_body_and_nobody_is_named(post):
    fields = {"from": "a@acme.example", "to": ["a@example.net", "b@example.net"], "subject": "x"}
    made = post.request("POST", "/v1/messages", json={**fields, "html": HTML, "track": BOTH}).json()
    post.visit(pixel_of(post.html(made["id"])))
    (opened,) = post.events(made["id"], "opened")
    assert opened["recipient"] is None
    assert "List-Unsubscribe" not in post.mail(made["id"])


@pytest.mark.parametrize("path", ["/t/o/nothing.gif", "/t/o/AAAA", "/t/o/" + "A" * 43 + ".gif", "/t/o/%00"])
def test_unknown_pixels_look_like_any_other(sqlite_post, path):
    answer = sqlite_post.visit(URL + path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")


def test_a_token_that_was_changed_leads_nowhere(sqlite_post):
    sent = sqlite_post.sent(body=HTML, track=BOTH)
    (link,) = links_of(sqlite_post.html(sent["id"]))
    token = link.rpartition("/")[2]
    for place in range(0, len(token), 5):
        other = "A" if token[place] != "A" else "B"
        answer = sqlite_post.visit(link.removesuffix(token) + token[:place] + other + token[place + 1 :])
        assert answer.status_code == 404
        assert "location" not in answer.headers
    for made_up in ("https://evil.example", "aHR0cHM6Ly9ldmlsLmV4YW1wbGU", "A" * 9000):
        assert sqlite_post.visit(f"{URL}/t/c/{made_up.replace('/', '%2F')}").status_code == 404
    pixel = pixel_of(sqlite_post.html(sent["id"])).rpartition("/")[2].removesuffix(".gif")
    # A token of one kind is none of another.
    assert sqlite_post.visit(f"{URL}/t/c/{pixel}").status_code == 404
    assert sqlite_post.visit(f"{URL}/u/{pixel}").status_code == 404
    assert sqlite_post.events(sent["id"], "opened", "clicked") == []


MACHINES = [
    ("GET", {"agent": "Mozilla/5.0"}, True, "Apple Mail Privacy Protection", None),
    ("GET", {"agent": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"},
     False, None, "Gmail"),
    ("GET", {"agent": "YahooMailProxy; https://help.yahoo.com/kb/SLN28749.html"}, False, None, "Yahoo"),
    ("GET", {"agent": "BarracudaCentral/1.0"}, True, "Barracuda", None),
    ("GET", {"agent": "Mimecast-TTP/2"}, True, "Mimecast", None),
    ("GET", {"agent": "Proofpoint URL Defense"}, True, "Proofpoint", None),
    ("GET", {"agent": "Mozilla/5.0 (compatible; Microsoft SafeLinks)"}, True, "Microsoft Safe Links", None),
    ("GET", {"agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}, True, "preview", None),
    ("GET", {"agent": "python-requests/2.32"}, True, "program", None),
    ("GET", {"agent": None}, True, "no User-Agent", None),
    ("GET", {"Sec-Purpose": "prefetch;prerender"}, True, "prefetch", None),
    ("HEAD", {}, True, "not GET", None),
    ("GET", {}, False, None, None),
    ("GET", {"agent": "Mozilla/5.0 (Linux; Android 13; CUBOT X70) AppleWebKit/537.36 Mobile"}, False, None, None),
]  # fmt: skip


def test_machines_are_told_and_open_nothing(sqlite_post):
    found = []
    for method, visit, *_ in MACHINES:
        sent = sqlite_post.sent(body=HTML, track=BOTH)
        answer = sqlite_post.visit(pixel_of(sqlite_post.html(sent["id"])), method, **visit)
        assert answer.status_code == 200
        (opened,) = sqlite_post.events(sent["id"], "opened")
        detail = opened["detail"]
        found.append((method, visit, detail["machine"], detail.get("rule"), detail.get("proxy")))
        assert (sqlite_post.status(sent["id"]) == "OPENED") is not detail["machine"]
    assert found == MACHINES


def test_the_same_visit_over_and_over_is_told_once(sqlite_post, monkeypatch):
    # However long they take.
    monkeypatch.setattr("relay.tracking.visits._AGAIN", 600.0)
    sent = sqlite_post.sent(body=HTML, track=BOTH)
    pixel = pixel_of(sqlite_post.html(sent["id"]))
    for _ in range(20):
        assert sqlite_post.visit(pixel).status_code == 200
    assert sqlite_post.visit(pixel, agent=f"{BROWSER} other").status_code == 200
    assert len(sqlite_post.events(sent["id"], "opened")) == 2


def test_an_open_lowers_no_status(post):
    sent = post.sent(body=HTML, track=BOTH)
    pixel = pixel_of(post.html(sent["id"]))
    token = f"{sent['id']}"
    post.work(ingestion.record, "test", [Report(EventKind.COMPLAINED, now(), token=token)], now=now())
    post.visit(pixel)
    assert [one["kind"] for one in post.events(sent["id"], "opened", "complained")] == [
        "complained",
        "opened",
    ]
    assert post.status(sent["id"]) == "COMPLAINT"


@pytest.mark.parametrize(
    ("tracking", "proxies", "peer", "kept"),
    [
        ({}, [], None, "127.0.0.0/24"),
        ({"client_address": "full"}, [], None, "127.0.0.1"),
        ({"client_address": "none"}, [], None, None),
        ({"client_address": "full"}, [], "198.51.100.7", "127.0.0.1"),
        ({"client_address": "full"}, ["127.0.0.0/8"], "6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ({}, ["127.0.0.0/8", "10.0.0.0/8"], "2001:db8:1:2::7, 10.0.0.9", "2001:db8:1::/48"),
        ({}, ["127.0.0.0/8"], "<script>", None),
    ],
)
def test_how_much_of_an_address_is_kept_is_a_setting(open_post, tracking, proxies, peer, kept):
    post = open_post(tracking=tracking, api={"port": 0, "forwarded_from": proxies})
    sent = post.sent(body=HTML, track=BOTH)
    headers = {"X-Forwarded-For": peer} if peer else {}
    post.visit(pixel_of(post.html(sent["id"])), **headers)
    (opened,) = post.events(sent["id"], "opened")
    assert opened["detail"].get("ip") == kept


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({"public_url": ""}, "public_url is not set, so nobody could come back"),
        ({"tracking": {"opens": False, "clicks": False}}, "tracking is switched off here"),
        ({"tracking": {"max_size": 100}}, "it is larger than 100 octets"),
    ],
)
def test_mail_that_cannot_be_tracked_goes_untouched_and_says_why(open_post, tables, reason):
    post = open_post(**tables)
    sent = post.sent(body=HTML, track=BOTH)
    assert "/t/" not in post.html(sent["id"])
    accepted = post.get(f"/v1/messages/{sent['id']}").json()["events"][0]
    assert accepted["detail"] == {"untracked": reason}


def test_links_may_have_a_host_of_their_own(open_post):
    post = open_post(tracking={"url": "https://links.example/mail/"})
    sent = post.sent(body=HTML, track=BOTH)
    assert "https://links.example/mail/t/c/" in post.html(sent["id"])


def test_the_signature_covers_what_was_added(open_post):
    pem, record = signing.generate("ed25519", "words")
    post = open_post(dkim_passphrase="words")
    post.work(dkim.add, "acme.example", "s1", pem, record)
    fields = {"from": "a@acme.example", "recipient": "a@example.net", "stream": "bulk", "track": BOTH}
    sent = post.sent(body=HTML, **fields)
    raw = post.raw(sent["id"])
    assert b"/t/o/" in raw
    check = verifier.DKIM(raw)
    assert check.verify(dnsfunc=lambda *_, **__: record.encode())
    signed = {one.strip() for one in check.signature_fields[b"h"].lower().split(b":")}
    # RFC 8058 4: both fields must be covered.
    assert {b"list-unsubscribe", b"list-unsubscribe-post"} <= signed
