"""From SMTP to the record: bytes, trace, recipients, controls."""

import re
import smtplib
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import pytest

from relay.core.errors import Unavailable
from tests.smtp.door import Door, Gate

TRACE = re.compile(
    rb"Received: from client\.example\.org \(\[127\.0\.0\.1\]\)\r\n"
    rb"\tby mx\.example\.org with (?P<with>\w+)(?:\r\n\tfor <(?P<for>[^>]+)>)?;\r\n"
    rb"\t\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n"
)
FULL = (
    b"From: App <app@example.org>\r\nTo: Rcpt <rcpt@example.net>\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n"
    b"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
)


def _submit(door: Door, mail: bytes, *recipients: str, mail_options: str = "") -> dict[str, Any]:
    with door.ready() as client:
        client.ask(f"MAIL FROM:<app@example.org>{mail_options}", 250)
        for recipient in recipients or ("rcpt@example.net",):
            client.ask(f"RCPT TO:<{recipient}>", 250)
        reply = client.mail(mail.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    stored = door.stored()[-1]
    assert reply == f"250 2.0.0 queued as {stored['id']}"
    return stored


def _trace(raw: bytes) -> tuple[re.Match[bytes], bytes]:
    found = TRACE.match(raw)
    assert found, raw[:300]
    return found, raw[found.end() :]


def test_bytes_are_kept_apart_from_one_trace_field(door: Door) -> None:
    odd = b"X-Odd:no blank\r\nX-Fold: a\r\n\tb\r\n  c\r\nx-twice: 1\r\nX-Twice: 2\r\n"
    mail = FULL + odd + b"\r\n.dot\r\n..dots\r\n" + b"l" * 5000 + b"\r\n\r\ntrailing blank \r\n\r\n"
    stored = _submit(door, mail)
    found, rest = _trace(stored["raw"])
    assert rest == mail
    assert found["with"] == b"ESMTPA"
    assert found["for"] == b"rcpt@example.net"
    assert stored["size"] == len(stored["raw"])
    assert stored["subject"] == "café"
    assert stored["from"] == "App <app@example.org>"
    assert stored["sender"] == "app@example.org"
    assert not stored["eight_bit"]
    assert not stored["smtputf8"]


def test_octets_above_127_are_kept_and_noted(door: Door) -> None:
    mail = FULL + b"X-Latin: caf\xe9\r\n\r\n" + bytes(range(128, 256)) + b"\r\n"
    stored = _submit(door, mail)
    assert _trace(stored["raw"])[1] == mail
    assert stored["eight_bit"]
    assert not stored["smtputf8"]


def test_an_international_mail_is_noted_as_such(door: Door) -> None:
    mail = "From: Jörg <jörg@ünï.example>\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\nhi\r\n".encode()
    stored = _submit(door, mail, "ψ@example.net", mail_options=" SMTPUTF8")
    found, rest = _trace(stored["raw"])
    assert found["with"] == b"UTF8SMTPA"
    assert rest == mail
    assert stored["smtputf8"]
    plain = _submit(door, FULL + b"\r\nhi\r\n", mail_options=" SMTPUTF8")
    assert not plain["smtputf8"]


def test_date_and_message_id_are_added_only_where_missing(door: Door) -> None:
    stored = _submit(door, b"From: app@example.org\r\n\r\nhi\r\n")
    rest = _trace(stored["raw"])[1]
    added = re.fullmatch(
        rb"Message-ID: <[\d.]+@mx\.example\.org>\r\n"
        rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n"
        rb"From: app@example\.org\r\n\r\nhi\r\n",
        rest,
    )
    assert added, rest


def test_a_mail_without_a_body_gets_its_blank_line(door: Door) -> None:
    stored = _submit(door, FULL)
    assert _trace(stored["raw"])[1] == FULL + b"\r\n"


def test_bcc_is_removed_and_recipients_are_told_apart(door: Door) -> None:
    mail = FULL + b"Cc: Copy <COPY@example.net>\r\nBcc: hidden@example.net,\r\n b2@example.net\r\n\r\nhi\r\n"
    stored = _submit(
        door, mail, "rcpt@example.net", "copy@example.net", "hidden@example.net", "y@example.net"
    )
    found, rest = _trace(stored["raw"])
    assert found["for"] is None
    assert rest == FULL + b"Cc: Copy <COPY@example.net>\r\n\r\nhi\r\n"
    kinds = {r["address"]: r["kind"] for r in stored["recipients"]}
    assert kinds == {
        "rcpt@example.net": "to",
        "copy@example.net": "cc",
        "hidden@example.net": "bcc",
        "y@example.net": "bcc",
    }
    assert stored["recipient"] == "rcpt@example.net"
    assert stored["cc"] == ["copy@example.net"]
    assert stored["bcc"] == ["hidden@example.net", "y@example.net"]


def test_an_address_inside_a_longer_one_does_not_count(door: Door) -> None:
    mail = b"From: app@example.org\r\nTo: jimbob@example.net, bob@example.net.au\r\n\r\nhi\r\n"
    stored = _submit(door, mail, "bob@example.net")
    assert stored["recipients"][0]["kind"] == "bcc"


def test_controls_are_read_and_removed(door: Door) -> None:
    mail = (
        FULL
        + b"X-Pillarbox-Tag: receipt\r\nx-pillarbox-classification: urgent\r\nReply-To: r@example.org\r\n\r\n"
    )
    stored = _submit(door, mail)
    assert (stored["tag"], stored["classification"], stored["lane"]) == ("receipt", "URGENT", "urgent")
    assert b"pillarbox-" not in stored["raw"].lower()


def test_a_subject_cannot_upset_the_database(door: Door) -> None:
    stored = _submit(door, b"From: app@example.org\r\nSubject: =?utf-8?q?a=00b=0D=0Ac?= \xff\r\n\r\nhi\r\n")
    assert stored["subject"] == "a b  c \ufffd"
    mixed = (
        "From: app@example.org\r\nSubject: \u0416 =?utf-8?q?=D0=96?= =?utf-8?q?=D0=96?= \u0416\r\n\r\nhi\r\n"
    )
    assert _submit(door, mixed.encode())["subject"] == "\u0416 \u0416\u0416 \u0416"


def test_the_null_sender_still_needs_an_allowed_author(door: Door) -> None:
    with door.ready() as client:
        client.envelope(sender="")
        client.mail(b"From: ceo@bank.example\r\n\r\nhi\r\n.\r\n", 550)
        client.envelope(sender="")
        client.mail(FULL + b"\r\nhi\r\n.\r\n", 250)
    (stored,) = door.stored()
    assert stored["sender"] == ""


@pytest.mark.parametrize("failure", [Unavailable(), RuntimeError("password is hunter2")])
def test_a_failure_is_temporary_and_tells_nothing(failure: Exception, open_door: Callable[..., Door]) -> None:
    gates: list[Gate] = []

    def wrap(intake: Any) -> Gate:
        gates.append(Gate(intake))
        gates[0].error = failure
        return gates[0]

    door = open_door(wrap)
    with door.ready() as client:
        client.envelope()
        reply = client.mail(FULL + b"\r\nhi\r\n.\r\n", 451)
        assert reply.startswith("451 4.3.0 ")
        assert "hunter2" not in reply
        client.ask("NOOP", 250)
    assert door.stored() == []


def test_the_commonest_python_snippet_is_taken(door: Door) -> None:
    message = EmailMessage()
    message["From"] = "app@example.org"
    message["To"] = "rcpt@example.net"
    message["Subject"] = "snippet"
    message.set_content("one\n.two\n..three\n\n")
    with smtplib.SMTP("127.0.0.1", door.port, local_hostname="client.example.org") as client:
        client.login("anybody", door.key)
        assert b"\r\n" not in message.as_bytes()
        client.sendmail("app@example.org", ["rcpt@example.net"], message.as_bytes())
        client.send_message(message)
    bare, proper = (_trace(mail["raw"])[1] for mail in door.stored())
    # smtplib itself adds a line end to what does not end in CRLF.
    assert bare.partition(b"\r\n\r\n")[2] == b"one\r\n.two\r\n..three\r\n\r\n\r\n"
    assert proper.partition(b"\r\n\r\n")[2] == b"one\r\n.two\r\n..three\r\n\r\n"
