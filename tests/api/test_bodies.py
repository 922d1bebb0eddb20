"""What goes out for a body, and the fields beyond the contract."""

import email
import email.policy
import time
from typing import Any

import pytest

from api.nomsa.sanitise import sanitise
from relay.store import messages, suppressions
from tests.api.conftest import EMAILS, Door, refused


@pytest.fixture
def shared_door(shared_sqlite_door: Door) -> Door:
    """What is tested here ends before the record, or does not depend on which it is."""
    return shared_sqlite_door


@pytest.mark.parametrize(
    "given, sent",
    [
        ("plain & simple", "plain & simple"),
        ("1 < 2 > 0", "1 &lt; 2 &gt; 0"),
        ("line\nbreak", "line\nbreak"),
        ("<p>Hi <script>alert(1)</script></p>", "<p>Hi alert(1)</p>"),
        ("<style>p{}</style><title>T</title>x", "p{}Tx"),
        ("a<!-- c -->b<!doctype html>c<?php x ?>d", "abcd"),
        ("<center><font color=red>x</font></center><hr>", "x"),
        ("<blockquote><pre><code>x</code></pre></blockquote>", "x"),
        ("<table><thead><tr><th>x</th></tr></thead></table>", "<table><tr><th>x</th></tr></table>"),
        ("<BR/><br>", "<br /><br>"),
        ('<p class="a" id="b" onclick="x()">y</p>', "<p>y</p>"),
        ('<p style="color: red; position: fixed; white-space: pre">y</p>',
         '<p style="color:red; white-space:pre">y</p>'),
        ('<div style="color: red">y</div><mark style="x">z</mark>', "<div>y</div><mark>z</mark>"),
        ('<p style="background: url(javascript:x)">y</p>', "<p>y</p>"),
        ('<p style="width: expression(alert(1))">y</p>', "<p>y</p>"),
        ('<a href="https://example.com/?a=1&amp;b=2" title=t target=_blank rel=x>y</a>',
         '<a href="https://example.com/?a=1&amp;b=2" title="t" target="_blank">y</a>'),
        ('<a href="javascript:alert(1)">y</a>', "<a>y</a>"),
        ('<a href=" java\tscript&colon;alert(1)">y</a>', "<a>y</a>"),
        ('<a href="&#106;avascript:alert(1)">y</a>', "<a>y</a>"),
        ('<a href="data:text/html,x">y</a>', "<a>y</a>"),
        ('<a href=mailto:a@example.com>y</a><a href="/x">z</a>',
         '<a href="mailto:a@example.com">y</a><a href="/x">z</a>'),
        ("<img src='cid:0' alt=x width=5 height=6 data-link=l onerror=z>",
         '<img src="cid:0" alt="x" width="5" height="6" data-link="l">'),
        ('<img src="data:image/png;base64,AA==">', '<img src="data:image/png;base64,AA==">'),
        ('<img src="data:text/html,x">', "<img>"),
        ("<ol start=3 type=a><li>x</li></ol><td colspan=2 rowspan=3>y</td>",
         '<ol start="3" type="a"><li>x</li></ol><td colspan="2" rowspan="3">y</td>'),
        ("<scr<script>ipt>alert(1)</scr</script>ipt>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ('<svg onload="x"><math><b>y</b>', "<b>y</b>"),
        ('<p title="</p><img src=x onerror=alert(1)>">y', "<p>y"),
        ('<p a="x', '&lt;p a="x'),
    ],
)  # fmt: skip
def test_a_body_goes_out_with_the_contracts_tags(given: str, sent: str) -> None:
    assert sanitise(given) == sent


@pytest.mark.parametrize("given", ["<p>x</p>", "<a href='x\"y'>z</a>", "1 < 2 & 3 > 2", "<b><i>x</b></i>"])
def test_sanitising_again_changes_nothing_for_a_reader(given: str) -> None:
    assert sanitise(sanitise(given)) == sanitise(given)


@pytest.mark.parametrize(
    "piece",
    [
        "<div>",
        "<b>",
        '<a "',
        "<!",
        "<!--",
        "<",
        "</",
        "<a ' \"",
        "<a '<b' ",
        "<p style=\"color:('",
        "<a x= ",
        "&#58;",
    ],
)
def test_time_is_in_proportion_to_length(piece: str) -> None:
    def cost(length: int) -> float:
        body = piece * (length // len(piece))
        started = time.process_time()
        sanitise(body)
        return time.process_time() - started

    # Sixteen times the length; anything quadratic would be at 256 times the cost.
    small = min(cost(64 * 1024) for _ in range(3))
    assert cost(1024 * 1024) < max(small, 0.002) * 100


def test_what_goes_out_is_sanitised_and_what_is_read_back_is_not(sqlite_door: Door) -> None:
    door = sqlite_door
    sent = door.sent(subject="1 < 2 & 3", body='<p onclick="x">Hi</p><script>1</script>')
    assert sent["params"]["body"] == '<p onclick="x">Hi</p><script>1</script>'
    parsed = email.message_from_bytes(door.work(messages.raw, int(sent["id"])), policy=email.policy.default)
    assert parsed["Subject"] == "1 < 2 & 3"
    assert parsed.get_content().strip() == "<p>Hi</p>1"


@pytest.mark.parametrize(
    "fields", [{"body": "<script></script>"}, {"body": "<!-- x -->"}, {"body": "  \n"}, {"subject": "  "}]
)
def test_a_mail_that_says_nothing_is_refused_and_kept(sqlite_door: Door, fields: dict[str, str]) -> None:
    door = sqlite_door
    refused(door.send(**fields), 400, "invalid_template")
    (kept,) = door.get(EMAILS).json()["data"]
    assert kept["status"] == "UNSENT"
    assert kept["error_code"] == "Error 400: Email subject and/or body empty after removing invalid HTML tags"


def test_fields_beyond_the_contract(door: Door) -> None:
    sent = door.sent(
        text="Plain",
        metadata={"order": 145863, "vip": True, "note": "ក", "none": None, "price": 1.5},
        headers={"X-Order": "145863", "List-Unsubscribe": "<https://acme.example/leave>", "x-name": "café",
                 "References": "<1@acme.example> <2@acme.example>"},
    )  # fmt: skip
    assert set(sent["params"]) == {"body", "from", "subject"}
    row = door.work(messages.get, door.account_id, int(sent["id"]))
    assert row is not None
    assert row["metadata"] == {"order": 145863, "vip": True, "note": "ក", "none": None, "price": 1.5}
    raw = door.work(messages.raw, int(sent["id"]))
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    assert parsed["X-Order"] == "145863"
    assert parsed["X-Name"] == "café"
    assert parsed["References"] == "<1@acme.example> <2@acme.example>"
    assert parsed["List-Unsubscribe"] == "<https://acme.example/leave>"
    assert parsed.get_content_type() == "multipart/alternative"
    assert [part.get_content().strip() for part in parsed.iter_parts()] == ["Plain", "It is 145863"]


@pytest.mark.parametrize(
    "fields, place",
    [
        ({"text": ""}, "text"),
        ({"text": 5}, "text"),
        ({"text": "a\0"}, "text"),
        ({"text": "x" * (1024 * 1024 + 1)}, "text"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": {}}}, "metadata.a"),
        ({"metadata": {"a": "\0"}}, "metadata.a"),
        ({"metadata": {"": 1}}, "metadata"),
        ({"metadata": {"k" * 65: 1}}, "metadata"),
        ({"metadata": {"a": "x" * 5000}}, "metadata"),
        ({"metadata": {str(n): n for n in range(51)}}, "metadata"),
        ({"headers": 5}, "headers"),
        ({"headers": {"X-A": 5}}, "headers.X-A"),
        ({"headers": {"X-A": ""}}, "headers.X-A"),
        ({"headers": {"X-A": "a\r\nBcc: evil@example.com"}}, "headers.X-A"),
        ({"headers": {"X-A\r\nBcc": "evil@example.com"}}, "headers.X-A"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers.x-a"),
        ({"headers": {f"X-{n}": "1" for n in range(31)}}, "headers"),
        ({"headers": {"References": "<ក>"}}, "headers.References"),
        *(({"headers": {name: "x"}}, f"headers.{name}") for name in (
            "Bcc", "To", "From", "Subject", "Content-Type", "DKIM-Signature", "Received", "Message-ID", "X-SMTPAPI",
            "X-SES-CONFIGURATION-SET", "x-mailgun-variables", "X-PM-Tag", "X-MC-Metadata", "", "X-", "X A",
        )),
    ],
)  # fmt: skip
def test_fields_beyond_the_contract_are_checked(
    shared_door: Door, fields: dict[str, Any], place: str
) -> None:
    message = refused(shared_door.send(**fields), 400, "api_validation")
    assert message.startswith(f'"{place}'), message


def suppress(door: Door, address: str) -> None:
    door.work(suppressions.add, door.account_id, address, source="test")


def test_a_suppressed_recipient_is_refused_and_kept(door: Door) -> None:
    suppress(door, "gone@example.com")
    answer = door.send(recipient="Gone@Example.com")
    refused(answer, 400, "invalid_template", "Recipient email is blacklisted")
    (kept,) = door.get(EMAILS).json()["data"]
    assert (kept["status"], kept["error_code"]) == ("UNSENT", "Error 400: Blacklisted recipient")
    assert door.sent()["status"] == "ACCEPTED"


def test_suppressed_copies_are_left_out(door: Door) -> None:
    suppress(door, "gone@example.com")
    sent = door.sent(cc=["gone@example.com", "a@example.com"], bcc=["GONE@example.com"])
    assert (sent["cc"], sent["bcc"]) == (["a@example.com"], [])
    assert door.get(f"{EMAILS}/{sent['id']}").json() == sent
    rows = door.work(messages.recipients, int(sent["id"]))
    assert [row["address"] for row in rows] == ["recipient@example.com", "a@example.com"]
    assert b"gone" not in door.work(messages.raw, int(sent["id"])).lower()


def test_a_redacted_email_is_gone(door: Door) -> None:
    import sqlalchemy as sa

    from relay.core.clock import now
    from relay.store import tables as t

    sent = door.sent()
    door.work(lambda connection: connection.execute(sa.update(t.message).values(redacted_at=now())))
    refused(door.get(f"{EMAILS}/{sent['id']}"), 410, "redacted")
    (listed,) = door.get(EMAILS).json()["data"]
    assert listed["id"] == sent["id"]
    assert "params" not in listed
