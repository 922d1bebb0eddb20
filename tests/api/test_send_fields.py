"""The field table of POST /v1/transactional/email/send, row by row, for JSON."""

from email import message_from_bytes, policy
from typing import Any

import pytest

from relay.store import messages
from tests.api.conftest import Door, refused

BODY_MESSAGE = "body is a required string whose size must be less than or equal to 1MB in UTF-8 encoding"


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"recipient": None}, '"recipient" must be a string'),
        ({"recipient": ["a@example.com"]}, '"recipient" must be a string'),
        ({"recipient": ""}, '"recipient" is not allowed to be empty'),
        ({"recipient": " a@example.com"}, '"recipient" must be a valid email'),
        ({"recipient": "a@example.com "}, '"recipient" must be a valid email'),
        ({"recipient": "Ann <a@example.com>"}, '"recipient" must be a valid email'),
        ({"recipient": "a@example.com,b@example.com"}, '"recipient" must be a valid email'),
        ({"recipient": "a@example.com\r\nRCPT TO:<b@example.com>"}, '"recipient" must be a valid email'),
        ({"recipient": "a\0@example.com"}, '"recipient" must be a valid email'),
        ({"recipient": "@example.com"}, '"recipient" must be a valid email'),
        ({"recipient": "example.com"}, '"recipient" must be a valid email'),
        ({"recipient": f"{'a' * 65}@example.com"}, '"recipient" must be a valid email'),
        ({"subject": None}, '"subject" must be a string'),
        ({"subject": ["x", "y"]}, '"subject" must be a string'),
        ({"subject": ""}, '"subject" is not allowed to be empty'),
        ({"subject": "Hi\0"}, '"subject" must not contain NUL'),
        ({"body": None}, BODY_MESSAGE),
        ({"body": 5}, BODY_MESSAGE),
        ({"body": ""}, BODY_MESSAGE),
        ({"body": "x" * (1024 * 1024 + 1)}, BODY_MESSAGE),
        ({"body": "ក" * (1024 * 1024 // 3 + 1)}, BODY_MESSAGE),
        ({"body": "a\0b"}, '"body" must not contain NUL'),
        ({"from": None}, '"from" must be a string'),
        ({"from": ""}, '"from" is not allowed to be empty'),
        ({"from": "   "}, '"from" is not allowed to be empty'),
        ({"from": "nobody"}, '"from" must be a valid email'),
        ({"from": "Ann <nobody>"}, '"from" must be a valid email'),
        ({"from": "a@acme.example, b@acme.example"}, '"from" must be a valid email'),
        ({"from": "Ann\r\nBcc: x <a@acme.example>"}, '"from" must not contain line breaks or NUL'),
        ({"from": "n" * 250 + "<a@b.example>"}, '"from" length must be less than or equal to 255 characters long'),
        ({"reply_to": None}, '"reply_to" must be a string'),
        ({"reply_to": ""}, '"reply_to" is not allowed to be empty'),
        ({"reply_to": "Ann <a@example.com>"}, '"reply_to" must be a valid email'),
        ({"attachments": "x"}, '"attachments" must be an array'),
        ({"attachments": []}, '"attachments" must contain at least 1 items'),
        ({"attachments": ["x"]}, '"attachments[0]" must be of type object'),
        ({"classification": None}, '"classification" must be one of [URGENT, FOR_ACTION, FOR_INFO]'),
        ({"classification": ""}, '"classification" must be one of [URGENT, FOR_ACTION, FOR_INFO]'),
        ({"classification": "SOON"}, '"classification" must be one of [URGENT, FOR_ACTION, FOR_INFO]'),
        ({"tag": ""}, '"tag" is not allowed to be empty'),
        ({"tag": 5}, '"tag" must be a string'),
        ({"tag": "x" * 256}, '"tag" length must be less than or equal to 255 characters long'),
        ({"tag": "a\r\nX-Evil: 1"}, '"tag" must not contain line breaks or NUL'),
        ({"tag": "a\0"}, '"tag" must not contain line breaks or NUL'),
        ({"cc": None}, '"cc" failed custom validation because cc must be a valid array or stringified array.'),
        ({"cc": ""}, '"cc" failed custom validation because cc must be a valid array or stringified array.'),
        ({"cc": 5}, '"cc" failed custom validation because cc must be a valid array or stringified array.'),
        (
            {"cc": "a@example.com"},
            '"cc" failed custom validation because cc must be a valid array or stringified array.',
        ),
        ({"cc": '{"a": 1}'}, '"cc" failed custom validation because cc must be a valid array or stringified array.'),
        ({"cc": [5]}, '"cc[0]" must be a string'),
        ({"cc": ["a@example.com", "b"]}, '"cc[1]" must be a valid email'),
        ({"cc": ["Ann <a@example.com>"]}, '"cc[0]" must be a valid email'),
        ({"cc": ["a@example.com", " A@example.com"]}, '"cc[1]" contains a duplicate value'),
        ({"bcc": "x"}, '"bcc" failed custom validation because bcc must be a valid array or stringified array.'),
        ({"bcc": ["a@example.com", "a@example.com"]}, '"bcc[1]" contains a duplicate value'),
        ({"disable_tracking": 1}, '"disable_tracking" must be a boolean'),
        ({"disable_tracking": "yes"}, '"disable_tracking" must be a boolean'),
        ({"disable_tracking": None}, '"disable_tracking" must be a boolean'),
        ({"foo": 1}, '"foo" is not allowed'),
    ],
)  # fmt: skip
def test_a_field_is_refused_in_the_contracts_words(
    shared_door: Door, fields: dict[str, Any], message: str
) -> None:
    refused(shared_door.send(**fields), 400, "api_validation", message)


@pytest.mark.parametrize(
    "left_out, message",
    [
        ("recipient", '"recipient" is required'),
        ("subject", '"subject" is required'),
        ("body", BODY_MESSAGE),
    ],
)
def test_a_required_field_is_asked_for(shared_door: Door, left_out: str, message: str) -> None:
    fields = {"recipient": "a@example.com", "subject": "Hi", "body": "Hello"}
    del fields[left_out]
    refused(shared_door.post(fields), 400, "api_validation", message)


def test_the_first_fault_in_the_order_of_the_schema_is_told(shared_door: Door) -> None:
    order: list[tuple[str, Any]] = [
        ("recipient", 1), ("subject", 1), ("body", 1), ("from", 1), ("reply_to", 1), ("attachments", 1),
        ("classification", 1), ("tag", 1), ("cc", 1), ("bcc", 1), ("disable_tracking", 1), ("foo", 1),
    ]  # fmt: skip
    good: dict[str, Any] = {
        "recipient": "a@example.com", "subject": "s", "body": "b", "from": "a@acme.example",
        "reply_to": "b@acme.example", "attachments": [{}], "classification": "URGENT", "tag": "t",
        "cc": [], "bcc": [], "disable_tracking": False,
    }  # fmt: skip
    for number, (name, _) in enumerate(order):
        fields = {field: good[field] for field, _ in order[:number]} | dict(reversed(order[number:]))
        message = refused(shared_door.post(fields), 400, "api_validation")
        assert message.removeprefix('"').startswith(name), message


@pytest.mark.parametrize(
    "fields, echoed",
    [
        ({"recipient": "Recipient@Example.COM"}, {"recipient": "recipient@example.com"}),
        ({"recipient": "ops@host.internal"}, {"recipient": "ops@host.internal"}),
        ({"recipient": "ព្រះ@example.com"}, {"recipient": "ព្រះ@example.com"}),
        ({"from": "  Ann Lee <Ann@ACME.example> "}, {"from": "Ann Lee <ann@acme.example>"}),
        ({"from": "ANN@acme.example"}, {"from": "ann@acme.example"}),
        ({"from": "Health, Ministry of <x@acme.example>"}, {"from": "Health, Ministry of <x@acme.example>"}),
        ({"classification": "for_action"}, {"classification": "FOR_ACTION"}),
        ({"tag": "x" * 255}, {"tag": "x" * 255}),
        ({"tag": "Greetings v2"}, {"tag": "Greetings v2"}),
        ({"cc": [], "bcc": []}, {"cc": [], "bcc": []}),
        ({"cc": [" A@Example.com"], "bcc": ["b@example.com"]}, {"cc": ["a@example.com"], "bcc": ["b@example.com"]}),
        ({"cc": '["a@example.com"]'}, {"cc": ["a@example.com"]}),
        ({"bcc": "[]"}, {"bcc": []}),
        ({"cc": ["a@example.com"], "bcc": ["a@example.com"]}, {"cc": ["a@example.com"], "bcc": ["a@example.com"]}),
        ({"cc": ["recipient@example.com"]}, {"cc": ["recipient@example.com"]}),
        ({"disable_tracking": True}, {}),
        ({"disable_tracking": "TRUE"}, {}),
        ({"disable_tracking": "false"}, {}),
        ({"body": "x" * 1024 * 1024}, {}),
    ],
)  # fmt: skip
def test_a_field_is_taken_and_echoed(
    shared_door: Door, fields: dict[str, Any], echoed: dict[str, Any]
) -> None:
    email = shared_door.sent(**fields)
    assert echoed.items() <= email.items()
    assert "disable_tracking" not in email
    assert shared_door.get(f"/v1/transactional/email/{email['id']}").json() == email


def test_what_is_refused_for_its_fields_is_not_kept(door: Door) -> None:
    refused(door.send(tag=""), 400, "api_validation")
    refused(door.send(attachments=[{}]), 400, "attachment_format")
    refused(door.send(cc=[f"c{n}@example.com" for n in range(50)]), 400, "too_many_recipients")
    assert door.get("/v1/transactional/email").json() == {"has_more": False, "data": []}


def test_fifty_recipients_are_the_most(door: Door) -> None:
    copies = [f"c{n}@example.com" for n in range(49)]
    assert door.sent(cc=copies[:20], bcc=copies[20:])["cc"] == copies[:20]
    refused(
        door.send(cc=copies, bcc=["one@example.com"]),
        400,
        "too_many_recipients",
        "Maximum of 50 recipients allowed",
    )
    refused(
        door.send(cc=[f"c{n}@example.com" for n in range(5000)]),
        400,
        "too_many_recipients",
        "Maximum of 50 recipients allowed",
    )


def test_attachments_do_not_come_in_json(shared_door: Door) -> None:
    refused(
        shared_door.send(attachments=[{"data": "x"}]),
        400,
        "attachment_format",
        "Attachments must be sent via form-data",
    )


def test_an_address_named_twice_gets_one_mail(door: Door) -> None:
    email = door.sent(cc=["recipient@example.com", "c@example.com"], bcc=["c@example.com", "d@example.com"])
    rows = door.work(messages.recipients, int(email["id"]))
    assert [(row["address"], row["kind"]) for row in rows] == [
        ("recipient@example.com", "to"),
        ("c@example.com", "cc"),
        ("d@example.com", "bcc"),
    ]


def test_the_service_sender_stands_in(door: Door) -> None:
    email = door.sent()
    assert email["from"] == email["params"]["from"] == "Pillarbox <noreply@localhost>"


def test_an_account_with_an_address_of_its_own_sends_from_it(door: Door) -> None:
    key = door.new_account("bee", senders=["*", "first@bee.example", "second@bee.example"])
    answer = door.post({"recipient": "a@example.com", "subject": "s", "body": "b"}, key=key)
    assert answer.json()["from"] == "first@bee.example"


def test_the_service_sender_may_be_used_under_any_name(door: Door) -> None:
    assert door.sent(**{"from": "Acme <NoReply@localhost>"})["from"] == "Acme <noreply@localhost>"


def test_a_foreign_sender_is_refused_and_kept_unsent(door: Door) -> None:
    message = refused(door.send(**{"from": "Boss <boss@other.example>"}), 400, "invalid_from_address")
    (kept,) = door.get("/v1/transactional/email").json()["data"]
    assert kept["status"] == "UNSENT"
    assert kept["error_code"] == f"Error 400: {message}"
    assert kept["accepted_at"] is None
    assert door.get("/v1/transactional/email?status=unsent").json()["data"] == [kept]
    (row,) = door.work(messages.recipients, int(kept["id"]))
    assert row["state"] == "cancelled"
    assert row["due_at"] is None


def test_params_hold_what_was_given(door: Door) -> None:
    email = door.sent(subject="<b>1 & 2</b>", body="<script>x</script>", reply_to=" Help@Acme.example ")
    assert email["params"] == {
        "body": "<script>x</script>",
        "from": "Pillarbox <noreply@localhost>",
        "subject": "<b>1 & 2</b>",
        "reply_to": "help@acme.example",
    }
    assert "reply_to" not in door.sent()["params"]


@pytest.mark.parametrize(
    "subject, line",
    [
        ("Hi\r\nBcc: evil@example.com", "Hi Bcc: evil@example.com"),
        ("Hi\n\n\tthere", "Hi there"),
        ("Your code\n", "Your code"),
        ("សួស្តី\rពិភពលោក", "សួស្តី ពិភពលោក"),
    ],
)
def test_line_breaks_in_a_subject_are_blanks_in_the_mail(door: Door, subject: str, line: str) -> None:
    answer = door.sent(subject=subject)
    # As with everything in params, what is read back is what was sent.
    assert answer["params"]["subject"] == subject
    mail = message_from_bytes(door.work(messages.raw, int(answer["id"])), policy=policy.default)
    assert mail["Subject"] == line
    assert mail["Bcc"] is None
    assert [one["address"] for one in door.work(messages.recipients, int(answer["id"]))] == [
        "recipient@example.com"
    ]


def test_a_subject_of_line_breaks_alone_is_empty(door: Door) -> None:
    refused(door.send(subject="\r\n"), 400, "invalid_template")
