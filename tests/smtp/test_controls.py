"""Header controls: what each asks for, that it is gone afterwards, and that a repeated mail is one mail."""

from datetime import timedelta
from typing import Any

import pytest

from relay.core.clock import now
from tests.smtp.door import Door

FULL = b"From: app@example.org\r\nTo: rcpt@example.net\r\nSubject: x\r\nDate: y\r\nMessage-ID: <1@x>\r\n"


def _send(door: Door, headers: str, *recipients: str, code: int = 250) -> str:
    lines = headers.strip().replace("\n", "\r\n") + "\r\n"
    with door.ready() as client:
        client.envelope(*recipients)
        return client.mail(FULL + lines.encode() + b"\r\nhi\r\n.\r\n", code)


def _stored(door: Door, headers: str) -> dict[str, Any]:
    _send(door, headers)
    stored = door.stored()[-1]
    assert stored["raw"].endswith(FULL + b"\r\nhi\r\n"), "a control was left"
    return stored


@pytest.mark.parametrize(
    ("headers", "column", "expected"),
    [
        ("X-Pillarbox-Tag: receipt", "tag", "receipt"),
        ("X-Pillarbox-Tag: =?utf-8?q?re=C3=A7u?=", "tag", "reçu"),
        ("X-PM-Tag: receipt", "tag", "receipt"),
        ("X-Mailgun-Tag: one\nX-Mailgun-Tag: two", "tag", "one"),
        ('X-SMTPAPI: {"category": "receipt"}', "tag", "receipt"),
        ('X-SMTPAPI: {"category": ["a", "b"],\n "unique_args": {"order": 7}}', "metadata", {"order": "7"}),
        ("X-PM-Tag: theirs\nX-Pillarbox-Tag: ours", "tag", "ours"),
        ("X-Pillarbox-Classification: urgent", "classification", "URGENT"),
        ('X-Pillarbox-Metadata: {"a": "b", "n": [1, null]}', "metadata", {"a": "b", "n": "[1, null]"}),
        ("X-Pillarbox-Metadata-Order: 17", "metadata", {"order": "17"}),
        ("X-PM-Metadata-color: blue\nX-PM-Metadata-size: 4", "metadata", {"color": "blue", "size": "4"}),
        ("X-SES-MESSAGE-TAGS: a=b, c=d=e", "metadata", {"a": "b", "c": "d=e"}),
        ('X-Mailgun-Variables: {"id": 9}', "metadata", {"id": "9"}),
        ("X-Pillarbox-Track: opens clicks", "options", {"track": {"opens": True, "clicks": True}}),
        ("X-Pillarbox-Track: none", "options", {"track": {"opens": False, "clicks": False}}),
        ("X-PM-TrackOpens: true", "options", {"track": {"opens": True}}),
        ("X-PM-TrackLinks: HtmlAndText", "options", {"track": {"clicks": True}}),
        ("X-Mailgun-Track: no", "options", {"track": {"opens": False, "clicks": False}}),
        ("X-Mailgun-Track-Clicks: htmlonly", "options", {"track": {"clicks": True}}),
        (
            'X-SMTPAPI: {"filters": {"opentrack": {"settings": {"enable": 0}}}}',
            "options",
            {"track": {"opens": False}},
        ),
        ("X-Pillarbox-Provider: capture", "options", {"provider": "capture"}),
        ("X-PM-Message-Stream: outbound", "options", {"stream": "transactional"}),
        ("X-PM-Message-Stream: broadcast", "options", {"stream": "bulk"}),
        ("X-Pillarbox-Stream: news", "options", {"stream": "news"}),
        ("X-Mailgun-Tag: one\nX-Mailgun-Tag: two", "options", {"tags": ["one", "two"]}),
        ("X-SES-CONFIGURATION-SET: main\nX-SES-SOURCE-ARN: arn", "options", None),
    ],
)
def test_a_control_is_read_and_removed(headers: str, column: str, expected: object, door: Door) -> None:
    assert _stored(door, headers)[column] == expected


@pytest.mark.parametrize("form", ["rfc3339", "epoch", "rfc5322", "mailgun", "sendgrid"])
def test_mail_waits_for_its_time(form: str, door: Door) -> None:
    from email.utils import format_datetime

    due = (now() + timedelta(hours=3)).replace(microsecond=0)
    header = {
        "rfc3339": f"X-Pillarbox-Send-At: {due.isoformat()}",
        "epoch": f"X-Pillarbox-Send-At: {int(due.timestamp())}",
        "rfc5322": f"X-Pillarbox-Send-At: {format_datetime(due)}",
        "mailgun": f"X-Mailgun-Deliver-By: {format_datetime(due)}",
        "sendgrid": f'X-SMTPAPI: {{"send_at": {int(due.timestamp())}}}',
    }[form]
    assert _stored(door, header)["recipients"][0]["due_at"] == due


def test_a_time_that_has_come_means_at_once(door: Door) -> None:
    stored = _stored(door, "X-Pillarbox-Send-At: 2001-01-01T00:00:00Z")
    assert stored["recipients"][0]["due_at"] == stored["created_at"]


def test_mail_that_is_of_no_use_after_a_time(door: Door) -> None:
    due = (now() + timedelta(hours=3)).replace(microsecond=0)
    header = f"X-Pillarbox-Expires-At: {(due + timedelta(hours=1)).isoformat()}"
    stored = _stored(door, f"X-Pillarbox-Send-At: {due.isoformat()}\n{header}")
    assert stored["options"]["expires_at"] == (due + timedelta(hours=1)).isoformat()
    assert "later than send_at" in _send(
        door, f"X-Pillarbox-Send-At: {due.isoformat()}\nX-Pillarbox-Expires-At: {due.isoformat()}", code=554
    )
    assert "in the future" in _send(door, "X-Pillarbox-Expires-At: 2001-01-01T00:00:00Z", code=554)


@pytest.mark.parametrize("name", ["X-Pillarbox-Idempotency-Key", "Resend-Idempotency-Key"])
def test_the_same_key_is_the_same_mail(name: str, door: Door) -> None:
    first = _send(door, f"{name}: order-17")
    # A program that tries again writes another date.
    again = _send(door, f"{name}: order-17\nX-Date-Again: later")
    assert first == again
    assert len(door.stored()) == 1
    assert _send(door, f"{name}: order-18") != first


def test_a_key_used_for_another_mail_is_refused(door: Door) -> None:
    _send(door, "X-Pillarbox-Idempotency-Key: order-17")
    _send(door, "X-Pillarbox-Idempotency-Key: order-17", "other@example.net", code=554)
    assert len(door.stored()) == 1


def test_delivery_parameters_reach_the_record(door: Door) -> None:
    with door.ready() as client:
        client.ask("MAIL FROM:<app@example.org> RET=hdrs ENVID=QQ+2B1", 250)
        client.ask("RCPT TO:<a@example.net> NOTIFY=success,delay ORCPT=rfc822;A+2Ba@example.net", 250)
        client.ask("RCPT TO:<b@example.net>", 250)
        client.mail(FULL + b"\r\nhi\r\n.\r\n")
    (stored,) = door.stored()
    assert (stored["ret"], stored["envid"]) == ("HDRS", "QQ+2B1")
    assert [(r["notify"], r["orcpt"]) for r in stored["recipients"]] == [
        ("SUCCESS,DELAY", "rfc822;A+2Ba@example.net"),
        (None, None),
    ]


def test_a_line_that_is_no_field_ends_the_header(door: Door) -> None:
    with door.ready() as client:
        client.envelope()
        client.mail(FULL + b"stray line\r\nX-Later: y\r\n\r\nbody\r\n.\r\n")
        client.envelope()
        client.mail(b"From app@example.org Sun Nov 22 2026\r\n" + FULL + b"\r\nbody\r\n.\r\n")
    stray, mailbox = (mail["raw"] for mail in door.stored())
    assert stray.endswith(FULL + b"\r\nstray line\r\nX-Later: y\r\n\r\nbody\r\n")
    assert b"From app@" not in mailbox
    assert mailbox.endswith(FULL + b"\r\nbody\r\n")
