"""The Email object and GET /v1/transactional/email/{id}."""

import email
import email.policy
import json
import re

import pytest
import sqlalchemy as sa

from relay.core.ids import MAX_ID
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door as By
from relay.store import messages
from relay.store import tables as t
from tests.api.conftest import EMAILS, Door, refused

KEYS = [
    "id", "from", "recipient", "params", "attachments_metadata", "status", "error_code", "error_sub_type",
    "accepted_at", "sent_at", "delivered_at", "opened_at", "created_at", "updated_at", "classification", "tag",
    "cc", "bcc",
]  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_the_answer_to_a_send_is_the_contracts_object(door: Door) -> None:
    answer = door.send(
        **{"from": "Nomsa <donotreply@acme.example>"},
        reply_to="donotreply@nomsa.example",
        classification="URGENT",
        tag="string",
        cc=["nomsa@mail.example"],
    )
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    written = json.loads(answer.content)
    assert list(written) == KEYS
    assert list(written["params"]) == ["body", "from", "subject", "reply_to"]
    identifier, at = written["id"], written["accepted_at"]
    assert re.fullmatch(r"\d+", identifier)
    assert TIME.fullmatch(at)
    assert written == {
        "id": identifier,
        "from": "Nomsa <donotreply@acme.example>",
        "recipient": "recipient@example.com",
        "params": {
            "body": "It is 145863",
            "from": "Nomsa <donotreply@acme.example>",
            "subject": "One time OTP",
            "reply_to": "donotreply@nomsa.example",
        },
        "attachments_metadata": None,
        "status": "ACCEPTED",
        "error_code": None,
        "error_sub_type": None,
        "accepted_at": at,
        "sent_at": None,
        "delivered_at": None,
        "opened_at": None,
        "created_at": at,
        "updated_at": at,
        "classification": "URGENT",
        "tag": "string",
        "cc": ["nomsa@mail.example"],
        "bcc": [],
    }


def test_get_and_list_return_the_object_of_the_send(door: Door) -> None:
    sent = door.send(tag="t", cc=["c@example.com"], reply_to="r@example.com").content
    identifier = json.loads(sent)["id"]
    assert door.get(f"{EMAILS}/{identifier}").content == sent
    assert door.get(EMAILS).content == b'{"has_more":false,"data":[' + sent + b"]}"


def test_every_time_and_error_is_written(door: Door) -> None:
    sent = door.sent()
    moments = {
        name: f"2023-10-05T01:37:{second:02d}.{second:03d}Z"
        for second, name in enumerate(
            ("accepted_at", "sent_at", "delivered_at", "opened_at", "updated_at"), start=1
        )
    }
    from datetime import datetime

    def change(connection: sa.Connection) -> None:
        times = {name: datetime.fromisoformat(moment) for name, moment in moments.items()}
        connection.execute(
            t.message.update()
            .where(t.message.c.id == int(sent["id"]))
            .values(
                status="BOUNCED",
                error_code="Hard bounce",
                error_sub_type="NoEmail",
                attachments=[{"hash": "d8", "fileName": "a.csv", "fileSize": 62}],
                **times,
            )
        )

    door.work(change)
    assert door.get(f"{EMAILS}/{sent['id']}").json() == {
        **sent,
        **moments,
        "status": "BOUNCED",
        "error_code": "Hard bounce",
        "error_sub_type": "NoEmail",
        "attachments_metadata": [{"hash": "d8", "fileName": "a.csv", "fileSize": 62}],
    }


@pytest.mark.parametrize(
    "written, message",
    [
        ("abc", '"emailId" must be a number'),
        ("%20", '"emailId" must be a number'),
        ("12x", '"emailId" must be a number'),
        ("%00", '"emailId" must be a number'),
        ("١٢", '"emailId" must be a number'),
        (str(MAX_ID + 1), '"emailId" must be a safe number'),
        ("9" * 400, '"emailId" must be a safe number'),
        ("1e400", '"emailId" must be a safe number'),
    ],
)
def test_what_is_no_id_is_refused(shared_door: Door, written: str, message: str) -> None:
    refused(shared_door.get(f"{EMAILS}/{written}"), 400, "api_validation", message)


@pytest.mark.parametrize("written", ["1", "1.5", "-1", "1e3", "0", str(MAX_ID)])
def test_an_id_of_no_email_is_not_found(shared_door: Door, written: str) -> None:
    refused(
        shared_door.get(f"{EMAILS}/{written}"),
        404,
        "not_found",
        f"Email message with ID {written} not found.",
    )


def test_another_accounts_email_is_not_found(door: Door) -> None:
    identifier = door.sent()["id"]
    other = door.new_account("other")
    for path in (f"{EMAILS}/{identifier}", f"/v1/messages/{identifier}"):
        answer = door.get(path, key=other)
        assert identifier in refused(answer, 404, "not_found")
    assert door.get(EMAILS, key=other).json() == {"has_more": False, "data": []}


def test_two_keys_of_an_account_see_the_same(door: Door) -> None:
    from relay.store import accounts

    identifier = door.sent()["id"]
    second = door.work(accounts.create_key, "acme").secret
    assert door.get(f"{EMAILS}/{identifier}", key=second).status_code == 200


def _mail(door: Door, identifier: str) -> "email.message.EmailMessage":
    raw = door.work(messages.raw, int(identifier))
    assert raw.isascii()
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert not mail.defects
    assert isinstance(mail, email.message.EmailMessage)
    return mail


def test_the_mail_that_goes_out(door: Door) -> None:
    sent = door.sent(
        **{"from": "Ministry of Health, Phnom Penh <noreply@acme.example>"},
        subject="លេខសម្ងាត់ of the day " * 5,
        body="<p>លេខ: <b>145863</b></p>\n.\nFrom here\r\n" + "x" * 3000,
        cc=["one@example.com", "two@example.com"],
        bcc=["hidden@example.com"],
        reply_to="help@acme.example",
    )
    mail = _mail(door, sent["id"])
    assert sorted(mail.keys()) == sorted(
        ["Date", "From", "To", "Cc", "Reply-To", "Subject", "Message-ID", "MIME-Version", "Content-Type",
         "Content-Transfer-Encoding"]
    )  # fmt: skip
    (author,) = mail["From"].addresses
    assert (author.display_name, author.addr_spec) == (
        "Ministry of Health, Phnom Penh",
        "noreply@acme.example",
    )
    assert str(mail["To"]) == "recipient@example.com"
    assert str(mail["Cc"]) == "one@example.com, two@example.com"
    assert str(mail["Reply-To"]) == "help@acme.example"
    assert str(mail["Subject"]) == sent["params"]["subject"]
    assert str(mail["Message-ID"]).endswith("@acme.example>")
    assert mail.get_content_type() == "text/html"
    expected = sent["params"]["body"].replace("\r\n", "\n")
    assert mail.get_content().replace("\r\n", "\n").rstrip("\n") == expected.rstrip("\n")
    assert "hidden@example.com" not in mail.as_string()


def test_answers_go_to_the_account_where_no_reply_to_is_given(door: Door) -> None:
    assert str(_mail(door, door.sent()["id"])["Reply-To"]) == "ops@acme.example"
    key = door.new_account("mute", senders=["*"])
    answer = door.post({"recipient": "a@example.com", "subject": "s", "body": "b"}, key=key)
    assert _mail(door, answer.json()["id"])["Reply-To"] is None


def test_an_international_address_is_marked_for_the_way_out(door: Door) -> None:
    for fields, marked in [
        ({}, False),
        ({"recipient": "ព្រះ@example.com"}, True),
        ({"bcc": ["ព្រះ@example.com"]}, True),
    ]:
        row = door.work(messages.get, None, int(door.sent(**fields)["id"]))
        assert row is not None
        assert row["smtputf8"] is marked


SMTP_MAIL = (
    b"From: Legacy <legacy@acme.example>\r\nTo: b@example.com\r\nReply-To: Help <help@acme.example>\r\n"
    b"Subject: =?utf-8?q?H=C3=A9llo?=\r\nMIME-Version: 1.0\r\n"
)

MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"


@pytest.mark.parametrize(
    "rest, body",
    [
        (b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nCaf\xe9\r\n", "Café\r\n"),
        (
            MIXED + b"Content-Type: text/plain\r\n\r\nplain\r\n--b\r\nContent-Type: text/html\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\nPGI+aHRtbDwvYj4=\r\n--b--\r\n",
            "<b>html</b>",
        ),
        (
            MIXED + b"Content-Type: text/html\r\n"
            b"Content-Disposition: attachment\r\n\r\n<i>file</i>\r\n--b\r\n\r\ntext\r\n--b--\r\n",
            "text",
        ),
        (b"Content-Type: application/pdf\r\n\r\n%PDF", ""),
        (b"Content-Type: text/plain; charset=nonsense\r\n\r\nhi", "hi"),
    ],
)
def test_mail_that_came_by_smtp_has_params(door: Door, rest: bytes, body: str) -> None:
    head, _, tail = (SMTP_MAIL + rest).partition(b"\r\n\r\n")

    def store(connection: sa.Connection) -> int:
        submission = Submission(
            account_id=door.account_id,
            key_id=None,
            door=By.SMTP,
            sender="legacy@acme.example",
            recipients=[EnvelopeRecipient("b@example.com")],
            head=head + b"\r\n\r\n",
            tail=MemoryTail(tail),
            from_="Legacy <legacy@acme.example>",
            subject="Héllo",
        )
        return messages.insert(connection, [submission])[0].id

    identifier = door.work(store)
    email_ = door.get(f"{EMAILS}/{identifier}").json()
    assert list(email_) == KEYS
    assert email_["params"] == {
        "body": body,
        "from": "Legacy <legacy@acme.example>",
        "subject": "Héllo",
        "reply_to": "help@acme.example",
    }
    assert door.get(EMAILS).json()["data"] == [email_]


def test_the_message_endpoint_shows_recipients_and_timeline(door: Door) -> None:
    sent = door.sent(cc=["c@example.com"])
    message = door.get(f"/v1/messages/{sent['id']}").json()
    assert message["door"] == "rest"
    shown = [
        tuple(one[key] for key in ("address", "kind", "status", "state", "attempts"))
        for one in message["recipients"]
    ]
    assert shown == [
        ("recipient@example.com", "to", "ACCEPTED", "queued", 0),
        ("c@example.com", "cc", "ACCEPTED", "queued", 0),
    ]  # fmt: skip
    assert message["events"] == [
        {
            "kind": "accepted",
            "at": sent["accepted_at"],
            "recipient": None,
            "provider": None,
            "attempt": None,
            "reply": None,
            "detail": None,
        }
    ]


def test_the_message_endpoint_shows_what_a_provider_said(door: Door) -> None:
    from datetime import timedelta

    from relay.core.bounce import Bounce, BounceClass
    from relay.core.clock import now
    from relay.core.event import EventKind
    from relay.core.status import State
    from relay.store import deliveries, settling

    sent = door.sent()
    identifier = int(sent["id"])
    at = now() + timedelta(seconds=1)

    def deliver(connection: sa.Connection) -> None:
        (mail,) = deliveries.claim(connection, [identifier], now=at, lease=60)
        settling.settle(
            connection,
            [
                settling.Settlement(
                    claim=mail.claims[0], state=State.DONE, kind=EventKind.BOUNCED,
                    at=at, reply="550 5.1.1 no such user", provider="office", bounce=Bounce(BounceClass.HARD),
                )
            ],
        )  # fmt: skip

    door.work(deliver)
    message = door.get(f"/v1/messages/{identifier}").json()
    assert message["status"] == "BOUNCED"
    (one,) = message["recipients"]
    assert one["reply"] == "550 5.1.1 no such user"
    assert one["provider"] == "office"
    assert [line["kind"] for line in message["events"]] == ["accepted", "bounced"]
    assert message["events"][1]["recipient"] == "recipient@example.com"
    assert message["events"][1]["reply"] == "550 5.1.1 no such user"
    assert door.get(f"{EMAILS}/{identifier}").json()["error_code"] == "Hard bounce"
