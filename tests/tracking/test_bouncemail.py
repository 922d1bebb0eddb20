"""Bounce mail is read for what it says, whoever wrote it and however, and nothing that is sent here does harm."""

import base64
import textwrap
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.core.bounce import BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.return_path import ReturnPaths
from relay.tracking import bouncemail

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PATHS = ReturnPaths(b"r" * 32, "bounce.example.org")
HOME = PATHS.make(7, 8, NOW - timedelta(days=1))
SEVERAL = PATHS.make(7, 0, NOW - timedelta(days=1))


def mail(text, **fields):
    """A mail written flush with the test; `{name}` stands for a keyword."""
    written = textwrap.dedent(text).lstrip("\n")
    for name, value in fields.items():
        written = written.replace("{" + name + "}", value)
    return written.replace("\n", "\r\n").encode()


def read(raw, to=HOME, at=NOW):
    return list(bouncemail.read(raw, envelope_to=to, received_at=at, paths=PATHS))


def only(raw, **more):
    (report,) = read(raw, **more)
    return report


def report_mail(
    *recipients,
    kind="message/delivery-status",
    encoding="7bit",
    human="",
    about="Reporting-MTA: dns; mx.example.net",
):
    status = "\n\n".join([about, *(textwrap.dedent(one).strip() for one in recipients)]) + "\n"
    if encoding == "base64":
        status = base64.encodebytes(status.encode()).decode()
    return mail(
        """
        From: MAILER-DAEMON@mx.example.net
        Subject: Undelivered Mail Returned to Sender
        Auto-Submitted: auto-replied
        Message-ID: <report.1@mx.example.net>
        MIME-Version: 1.0
        Content-Type: multipart/report; report-type=delivery-status; boundary="=_1"

        --=_1
        Content-Type: text/plain

        This is the mail system. {human}

        --=_1
        Content-Type: {kind}
        Content-Transfer-Encoding: {encoding}

        {status}
        --=_1
        Content-Type: text/rfc822-headers

        Return-Path: <someone@example.org>
        Subject: user unknown

        --=_1--
        """,
        human=human,
        kind=kind,
        encoding=encoding,
        status=status,
    )


FAILED = """
    Final-Recipient: rfc822; gone@example.net
    Action: failed
    Status: 5.1.1
    Remote-MTA: dns; mx2.example.net
    Diagnostic-Code: smtp; 550 5.1.1 <gone@example.net>: Recipient address rejected:
     User unknown in local recipient table
"""
FULL = """
    Final-Recipient: rfc822; full@example.net
    Action: failed
    Status: 5.2.2
    Diagnostic-Code: smtp; 552 5.2.2 mailbox full
"""
LATE = """
    Final-Recipient: rfc822; late@example.net
    Action: delayed
    Status: 4.4.1
    Will-Retry-Until: Mon, 2 Mar 2026 12:00:00 +0000
"""


# Delivery reports, RFC 3464.


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        ("message/delivery-status", "7bit"),
        ("message/delivery-status", "base64"),
        ("message/global-delivery-status", "8bit"),
        ("message/global-delivery-status", "base64"),
        ("Message/Delivery-Status; charset=utf-8", "quoted-printable"),
    ],
)
def test_a_report_of_failure(kind, encoding):
    found = only(report_mail(FAILED, kind=kind, encoding=encoding))

    assert found.kind is EventKind.BOUNCED
    assert found.token == "7.8"
    assert found.recipient == "gone@example.net"
    assert found.bounce is not None
    assert (found.bounce.kind, found.bounce.reason) == (BounceClass.HARD, BounceReason.NO_SUCH_USER)
    assert found.reply is not None
    assert (found.reply.code, found.reply.enhanced) == (550, "5.1.1")
    assert found.detail["mta"] == "mx2.example.net"
    assert found.detail["status"] == "5.1.1"


def test_several_recipients_of_one_mail_are_told_apart():
    found = read(report_mail(FAILED, FULL, LATE), to=SEVERAL)

    assert [(one.token, one.recipient, one.kind) for one in found] == [
        ("7", "gone@example.net", EventKind.BOUNCED),
        ("7", "full@example.net", EventKind.BOUNCED),
        ("7", "late@example.net", EventKind.DEFERRED),
    ]
    assert len({one.key for one in found}) == 3


def test_mailboxes_behind_one_address_are_one_recipient():
    assert only(report_mail(FAILED, FULL)).bounce.kind is BounceClass.SOFT
    assert only(report_mail(FAILED, LATE)).bounce.kind is BounceClass.SOFT
    assert only(report_mail(FAILED, FAILED.replace("gone", "also"))).bounce.kind is BounceClass.HARD
    assert only(report_mail(LATE, LATE)).kind is EventKind.DEFERRED


@pytest.mark.parametrize(
    ("action", "status", "kind"),
    [
        ("failed", "5.0.0", EventKind.BOUNCED),
        ("Failed (permanently)", "5.0.0", EventKind.BOUNCED),
        ("error", "5.0.0", EventKind.BOUNCED),
        ("delayed", "4.4.7", EventKind.DEFERRED),
        ("delayed", "5.4.7", EventKind.DEFERRED),
        ("delivered", "2.1.5", EventKind.DELIVERED),
        ("relayed", "2.1.9", EventKind.UNKNOWN),
        ("expanded", "2.1.5", EventKind.UNKNOWN),
        ("nonsense", "5.1.1", EventKind.BOUNCED),
        ("nonsense", "4.1.1", EventKind.DEFERRED),
        ("nonsense", "gibberish", EventKind.UNKNOWN),
    ],
)
def test_actions(action, status, kind):
    found = only(report_mail(f"Final-Recipient: rfc822; a@example.net\nAction: {action}\nStatus: {status}"))

    assert found.kind is kind
    assert (found.bounce is not None) == (kind is EventKind.BOUNCED)


def test_badly_written_reports():
    no_blank_line = report_mail(
        about="Reporting-MTA: dns; x\nFinal-Recipient: rfc822; a@example.net\nAction: failed\nStatus: 5.1.1 (bad)"
    )
    assert only(no_blank_line).bounce.reason is BounceReason.NO_SUCH_USER
    one_too_many = report_mail("Final-Recipient: rfc822; a@example.net\n\nAction: failed\nStatus: 5.2.2")
    assert only(one_too_many).bounce.reason is BounceReason.MAILBOX_FULL
    unfolded = report_mail(
        "Final-Recipient: a@example.net\nAction: failed\nStatus: 5.0.0\n"
        "Diagnostic-Code: smtp; 550 5.0.0\nno such user here"
    )
    assert only(unfolded).bounce.reason is BounceReason.NO_SUCH_USER


def test_the_words_for_people_help_where_the_fields_say_nothing():
    fields = "Final-Recipient: rfc822; a@example.net\nAction: failed\nStatus: 5.0.0"
    assert only(report_mail(fields)).bounce.reason is BounceReason.OTHER
    told = report_mail(fields, human="The recipient's mailbox is full and cannot accept messages.")
    assert only(told).bounce.reason is BounceReason.MAILBOX_FULL


@pytest.mark.parametrize(
    ("said", "action", "status", "kind", "reason", "code"),
    [
        ("550 5.1.1 no such mailbox here", "failed", "5.0.0", "bounced", "no_such_user", 550),
        ("452 4.2.2 mailbox is full", "delayed", "4.0.0", "deferred", None, 452),
        ("Envelope expired", "delayed", "4.4.7", "bounced", "expired", None),
    ],
)
def test_what_opensmtpd_says_beside_the_fields(said, action, status, kind, reason, code):
    fields = f"Final-Recipient: rfc822; a@example.net\nAction: {action}\nStatus: {status}"
    found = only(report_mail(fields, human=f"Hi!\n\na@example.net: {said}\n\n"))

    assert found.kind.value == kind
    assert (found.bounce.reason.value if found.bounce else None) == reason
    assert (found.reply.code if found.reply else None) == code
    assert found.detail["diagnostic"] == said


def test_when_it_was_written_is_believed_within_reason():
    raw = report_mail(FAILED)
    assert only(raw).at == NOW
    dated = b"Date: Sun, 1 Mar 2026 11:58:00 +0000\r\n" + raw
    assert only(dated).at == NOW - timedelta(minutes=2)
    for lie in (
        b"Thu, 1 Jan 2037 00:00:00 +0000",
        b"Thu, 1 Jan 1970 00:00:00 +0000",
        b"Mon, 99 Foo 2026 99:99",
        b"",
    ):
        assert only(b"Date: " + lie + b"\r\n" + raw).at == NOW


def test_told_twice_is_the_same_report():
    assert only(report_mail(FAILED)).key == only(report_mail(FAILED)).key


# Whose it is. Threats: forged, replayed, expired.


def test_without_a_token_of_ours_nothing_is_believed():
    assert read(report_mail(FAILED), to=None) == []
    assert read(report_mail(FAILED), to="someone@bounce.example.org") == []
    forged = ReturnPaths(b"z" * 32, "bounce.example.org").make(7, 8, NOW)
    assert read(report_mail(FAILED), to=forged) == []
    assert read(report_mail(FAILED), to=HOME, at=NOW + timedelta(days=20)) == []


@pytest.mark.parametrize(
    "raw",
    [
        b"Delivered-To: " + HOME.encode() + b"\r\n" + report_mail(FAILED),
        report_mail(FAILED).replace(b"<someone@example.org>", b"<" + HOME.encode() + b">"),
        report_mail(FAILED, about=f"Reporting-MTA: dns; x\nOriginal-Envelope-Id: {PATHS.seal(7, 8, NOW)}"),
        report_mail(FAILED, human=f"Your mail from {HOME} came back."),
    ],
)
def test_in_a_mailbox_the_token_is_found_in_what_came_back(raw):
    assert only(raw, to=None).token == "7.8"
    assert bouncemail.is_ours(raw, received_at=NOW, paths=PATHS)


# Complaints, RFC 5965.

COMPLAINT = """
    From: <fbl@isp.example>
    Subject: FW: hello
    MIME-Version: 1.0
    Content-Type: multipart/report; report-type=feedback-report; boundary="b"

    --b
    Content-Type: text/plain

    This is an email abuse report.

    --b
    Content-Type: message/feedback-report

    Feedback-Type: {type}
    User-Agent: SomeGenerator/1.0
    Version: 1
    Original-Rcpt-To: <user@isp.example>
    Source-IP: 192.0.2.1

    --b
    Content-Type: message/rfc822

    Return-Path: <{home}>
    Subject: hello

    hello
    --b--
    """


@pytest.mark.parametrize(
    ("feedback", "kind"),
    [
        ("abuse", EventKind.COMPLAINED),
        ("Fraud", EventKind.COMPLAINED),
        ("opt-out", EventKind.UNSUBSCRIBED),
        ("not-spam", None),
        ("auth-failure", None),
        ("dmarc", None),
        ("virus", None),
    ],
)
def test_complaints(feedback, kind):
    found = read(mail(COMPLAINT, type=feedback, home=HOME), to=None)

    assert [one.kind for one in found] == ([kind] if kind else [])
    if kind:
        assert found[0].token == "7.8"
        assert found[0].recipient == "user@isp.example"
        assert found[0].detail["feedback_type"] == feedback.lower()


def test_a_complaint_that_is_the_bare_mail():
    raw = mail(
        """
        From: staff@hotmail.com
        Subject: complaint about message from 192.0.2.1
        MIME-Version: 1.0
        Content-Type: multipart/mixed; boundary="b"

        --b
        Content-Type: message/rfc822

        Return-Path: <{home}>
        X-HmXmrOriginalRecipient: <user@hotmail.com>

        hello
        --b--
        """,
        home=HOME,
    )
    assert only(raw, to=None).kind is EventKind.COMPLAINED


# Bounces without form.


@pytest.mark.parametrize(
    ("subject", "text", "kind", "reason"),
    [
        (
            "failure notice",
            """\
Hi. This is the qmail-send program at mx.example.net.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<gone@example.net>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.

Subject: your mailbox is full of spam
""",
            BounceClass.HARD,
            BounceReason.NO_SUCH_USER,
        ),
        (
            "Mail delivery failed: returning message to sender",
            """\
A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  gone@example.net
    host mx.example.net [192.0.2.1]
    SMTP error from remote mail server after RCPT TO:<gone@example.net>:
    550 5.2.2 mailbox is over quota
""",
            BounceClass.SOFT,
            BounceReason.MAILBOX_FULL,
        ),
        (
            "DELIVERY FAILURE: User gone (gone@example.net) not listed in Domino Directory",
            "Not delivered to: gone@example.net because:\n\nUser gone not listed in Domino Directory\n",
            BounceClass.HARD,
            BounceReason.NO_SUCH_USER,
        ),
        (
            "Undeliverable: hello",
            "Delivery has failed to: gone@example.net\n#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##\n",
            BounceClass.HARD,
            BounceReason.NO_SUCH_USER,
        ),
        (
            "Mail delivery failed",
            "Your mail to gone@example.net was blocked by our spam filter.\n",
            BounceClass.BLOCK,
            BounceReason.SPAM,
        ),
        ("Undeliverable mail", "undeliverable to gone@example.net\n", BounceClass.SOFT, BounceReason.OTHER),
        (
            "=?utf-8?q?Nachricht_nicht_zugestellt?=",
            "Die Nachricht an gone@example.net: Empfaenger unbekannt. Der Benutzer existiert nicht.\n",
            BounceClass.HARD,
            BounceReason.NO_SUCH_USER,
        ),
    ],
)
def test_bounces_made_for_people(subject, text, kind, reason):
    raw = f"From: Mail System <MAILER-DAEMON@mx.example.net>\r\nSubject: {subject}\r\n\r\n{text}".encode()
    found = only(raw)

    assert found.kind is EventKind.BOUNCED
    assert (found.bounce.kind, found.bounce.reason) == (kind, reason)
    assert found.recipient == "gone@example.net" or "gone" not in text.partition("@")[0]


def test_html_only_is_read_too():
    raw = mail(
        """
        From: postmaster@example.net
        Subject: Undeliverable: hello
        Content-Type: text/html; charset=utf-8
        Content-Transfer-Encoding: base64

        {html}
        """,
        html=base64.b64encode(
            b"<html><style>p { color: red }</style><p>Your message to <b>gone@example.net</b> failed.</p>"
            b"<p>gone wasn't found.</p><div>550&nbsp;5.1.10&nbsp;RESOLVER.ADR.RecipientNotFound</div></html>"
        ).decode(),
    )
    assert only(raw).bounce.reason is BounceReason.NO_SUCH_USER


def test_a_notice_of_delay_is_no_bounce():
    raw = mail(
        """
        From: MAILER-DAEMON@mx.example.net
        Subject: Warning: message delayed 4 hours

        THIS IS A WARNING MESSAGE ONLY. YOU DO NOT NEED TO RESEND YOUR MESSAGE.
        The message could not be delivered for 4 hours. It will be retried until it is 5 days old.
        """
    )
    assert only(raw).kind is EventKind.DEFERRED


# What must not count.


@pytest.mark.parametrize(
    "head",
    [
        "From: user@example.net\nSubject: Out of Office: hello\nAuto-Submitted: auto-replied",
        "From: user@example.net\nSubject: Re: hello\nAuto-Submitted: auto-replied (vacation)",
        "From: user@example.net\nSubject: Automatische Antwort: hello",
        "From: user@example.net\nSubject: Re: hello\nX-Autoreply: yes",
        "From: user@example.net\nSubject: Re: hello\nPrecedence: auto_reply",
        "From: user@example.net\nSubject: 自動返信",
        "From: user@example.net\nSubject: Please confirm your mail\nX-Note: challenge",
    ],
)
def test_automatic_answers_are_no_bounces(head):
    body = "I am out of the office until Monday. User unknown: click the link below to be allowed.\n"
    assert read(f"{head}\n\n{body}".replace("\n", "\r\n").encode()) == []


def test_read_receipts_are_no_bounces():
    raw = mail(
        """
        From: user@example.net
        Subject: Read: hello
        Content-Type: multipart/report; report-type=disposition-notification; boundary="b"

        --b
        Content-Type: text/plain

        Your message was deleted without being read.
        --b
        Content-Type: message/disposition-notification

        Final-Recipient: rfc822; user@example.net
        Disposition: automatic-action/MDN-sent-automatically; deleted
        --b--
        """
    )
    assert read(raw) == []


def test_a_mail_from_a_person_is_kept_as_unknown():
    raw = b"From: user@example.net\r\nSubject: Re: hello\r\n\r\nThanks, see you on Monday.\r\n"
    found = only(raw)
    assert found.kind is EventKind.UNKNOWN
    assert found.original["subject"] == "Re: hello"


# Whatever comes.


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.binary(max_size=2000))
def test_any_octets(data):
    read(data)
    read(report_mail(FAILED)[:400] + data)
    read(
        b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        + data
    )


def _deep(depth):
    parts = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth)
    )
    return b"From: MAILER-DAEMON@x\r\nMIME-Version: 1.0\r\n" + parts + b"\r\nno such user\r\n"


BOMBS = {
    "deep": _deep(10_000),
    "many parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 100_000,
    "many headers": b"X: y\r\n" * 200_000 + b"\r\n",
    "one long header": b"Subject: " + b"a " * 500_000 + b"\r\n\r\n",
    "many pieces": b"Content-Type: multipart/report"
    + b"".join(b"; boundary*%d=b" % n for n in range(10_000))
    + b"\r\n\r\n",
    "many recipients": report_mail(*["Final-Recipient: rfc822; a@b.example\nAction: failed"] * 20_000),
    "words": b"From: MAILER-DAEMON@x\r\nSubject: failure notice\r\n\r\n" + b"user account mailbox address " * 40_000,
    "numbers": b"From: MAILER-DAEMON@x\r\nSubject: failure notice\r\n\r\n" + b"550 5.1.1 " * 100_000,
    "tokens": b"To: " + b"b+" * 500_000 + b"\r\n\r\n",
    "tags": b"Subject: failure notice\r\nContent-Type: text/html\r\n\r\n" + b"<style><p" * 100_000,
    "encoded words": b"Subject: " + b"=?utf-8?q?a?= " * 50_000 + b"\r\n\r\n",
    "no line ends": b"a" * 1_000_000,
    "blank lines": b"Content-Type: message/delivery-status\r\n\r\n" + b"\n" * 1_000_000,
    "nuls": b"\0" * 1_000_000,
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_do_not_go_off(bomb):
    tracemalloc.start()
    try:
        read(bomb, to=HOME)
        read(bomb, to=None)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
