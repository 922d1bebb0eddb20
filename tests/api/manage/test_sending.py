"""POST /v1/messages and /v1/messages/batch through HTTP: what is stored, what is answered, what is refused."""

import base64
import email
import email.policy
from datetime import timedelta

import pytest

from relay.core.clock import now, wire_time
from relay.store import messages, suppressions

MESSAGES = "/v1/messages"
LETTER = {
    "from": "Ada <ada@acme.example>",
    "to": ["bob@example.net"],
    "subject": "Hello",
    "text": "Plain",
}


def send(ask, door, fields=None, **more):
    status, answer = ask(door.key, "POST", MESSAGES, {**LETTER, **(fields or {})}, **more)
    assert status == 201, answer
    return answer


def mail(door, answer):
    raw = door.work(messages.raw, int(answer["id"]))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    return email.message_from_bytes(raw, policy=email.policy.default)


def test_everybody_named_gets_the_mail_and_nobody_sees_the_blind_copies(ask, door):
    answer = send(
        ask,
        door,
        {
            "to": ["Bob Börk <Bob@Example.net>", "carol@example.net"],
            "cc": "dan@example.net",
            "bcc": ["eve@example.net", "carol@example.net"],
            "html": "<p>Höi</p>",
            "reply_to": "desk@acme.example",
            "tag": "welcome",
            "classification": "URGENT",
            "metadata": {"order": 7},
            "headers": {"X-Campaign": "spring"},
        },
    )
    assert answer["recipients"] == [
        {"address": "Bob@example.net", "kind": "to"},
        {"address": "carol@example.net", "kind": "to"},
        {"address": "dan@example.net", "kind": "cc"},
        {"address": "eve@example.net", "kind": "bcc"},
    ]
    assert (answer["status"], answer["suppressed"], answer["send_at"]) == ("ACCEPTED", [], None)
    written = mail(door, answer)
    assert [(box.display_name, box.addr_spec) for box in written["to"].addresses] == [
        ("Bob Börk", "Bob@example.net"),
        ("", "carol@example.net"),
    ]
    assert str(written["cc"]) == "dan@example.net"
    assert written["bcc"] is None
    assert "eve" not in written.as_string()
    assert (written["reply-to"], written["x-campaign"]) == ("desk@acme.example", "spring")
    assert written.get_content_type() == "multipart/alternative"
    assert [part.get_content().strip() for part in written.iter_parts()] == ["Plain", "<p>Höi</p>"]
    status, shown = ask(door.key, "GET", f"{MESSAGES}/{answer['id']}")
    assert status == 200
    assert (shown["tag"], shown["classification"], shown["metadata"]) == ("welcome", "URGENT", {"order": 7})
    assert [one["address"] for one in shown["recipients"]] == [one["address"] for one in answer["recipients"]]


@pytest.mark.parametrize(
    ("body", "kind"), [({"text": "a"}, "text/plain"), ({"text": None, "html": "a"}, "text/html")]
)
def test_one_body_makes_a_mail_of_one_part(ask, door, body, kind):
    assert mail(door, send(ask, door, body)).get_content_type() == kind


def test_files_are_attached_and_shown_where_the_html_names_them(ask, door):
    picture = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
    answer = send(
        ask,
        door,
        {
            "html": '<img src="cid:logo@acme">',
            "attachments": [
                {"filename": "a.txt", "content": base64.b64encode(b"one").decode()},
                {
                    "filename": "logo.png",
                    "content": base64.b64encode(picture).decode(),
                    "content_id": "logo@acme",
                },
            ],
        },
    )
    written = mail(door, answer)
    parts = {part.get_filename(): part for part in written.walk() if part.get_filename()}
    assert parts["a.txt"].get_content() == "one"
    assert parts["a.txt"].get_content_disposition() == "attachment"
    assert parts["logo.png"].get_content() == picture
    assert parts["logo.png"]["content-id"] == "<logo@acme>"
    assert parts["logo.png"].get_content_disposition() == "inline"


def test_a_mail_for_later_waits(ask, door):
    later = wire_time(now() + timedelta(hours=1))
    answer = send(ask, door, {"send_at": later})
    assert answer["send_at"] == later
    shown = ask(door.key, "GET", f"{MESSAGES}/{answer['id']}")[1]
    assert shown["recipients"][0]["due_at"] == later
    past = send(ask, door, {"send_at": "2020-01-01T00:00:00Z"})
    assert past["send_at"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"to": []}, "to"),
        ({"to": None}, "to"),
        ({"to": ["nobody"]}, "to.0"),
        ({"to": ["a@example.net, b@example.net"]}, "to.0"),
        ({"to": ["x@example.net\r\nBcc: y@example.net"]}, "to.0"),
        ({"from": "ada@acme.example>"}, "from"),
        ({"from": "mallory@elsewhere.example"}, "not a sender"),
        ({"subject": "a\r\nBcc: x@example.net"}, "subject"),
        ({"text": None}, "html"),
        ({"text": "a\u0000"}, "text"),
        ({"text": 5}, "text"),
        ({"headers": {"Bcc": "x@example.net"}}, "headers.Bcc"),
        ({"headers": {"X-A": "a\nb"}}, "headers.X-A"),
        ({"metadata": {"a": [1]}}, "metadata"),
        ({"classification": "SOON"}, "classification"),
        ({"tag": ""}, "tag"),
        ({"send_at": "2099-01-01T00:00:00Z"}, "send_at"),
        ({"send_at": "soon"}, "send_at"),
        ({"attachments": [{"filename": "a.txt", "content": "!"}]}, "base64"),
        ({"attachments": [{"filename": "a.exe", "content": "TVo="}]}, "file type"),
        ({"attachments": [{"content": "aa=="}]}, "attachments.0.filename"),
        ({"cc": [f"a{number}@example.net" for number in range(100)]}, "recipients"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(refuse, change, said):
    status, answer = refuse("manager", "POST", MESSAGES, {**LETTER, **change})
    assert status == 400, answer
    assert said in answer["message"]


def test_other_kinds_of_bodies_are_refused(refuse):
    headers = {"content-type": "text/html"}
    assert refuse("manager", "POST", MESSAGES, content=b"<p>", headers=headers)[0] == 415
    assert refuse("manager", "POST", f"{MESSAGES}/batch", content=b"<p>", headers=headers)[0] == 415
    assert (
        refuse("manager", "POST", MESSAGES, content=b"{", headers={"content-type": "application/json"})[0]
        == 400
    )


def test_suppressed_recipients_are_left_out_and_named(ask, door):
    door.work(suppressions.add, door.account_id, "gone@example.net", source="test")
    answer = send(ask, door, {"cc": ["Gone@example.net"]})
    assert answer["suppressed"] == ["Gone@example.net"]
    assert [one["address"] for one in answer["recipients"]] == ["bob@example.net"]
    status, refused = ask(door.key, "POST", MESSAGES, {**LETTER, "to": ["gone@example.net"]})
    assert (status, refused["code"]) == (400, "suppressed")


def test_sending_needs_its_scope(ask, door):
    reader = door.new_account("reader", scopes=("read",))
    assert ask(reader, "POST", MESSAGES, LETTER)[0] == 403
    assert ask(reader, "POST", f"{MESSAGES}/batch", {"messages": [LETTER]})[0] == 403


def test_a_repeated_send_is_one_message(ask, door):
    key = {"Idempotency-Key": "k"}
    first = send(ask, door, headers=key)
    assert send(ask, door, headers=key) == first
    status, answer = ask(door.key, "POST", MESSAGES, {**LETTER, "subject": "Other"}, headers=key)
    assert (status, answer["code"]) == (409, "idempotency_key_reused")
    assert len(ask(door.key, "GET", MESSAGES)[1]["data"]) == 1


def test_a_batch_takes_what_it_can(ask, door):
    door.work(suppressions.add, door.account_id, "gone@example.net", source="test")
    letters = [
        LETTER,
        {**LETTER, "to": ["nobody"]},
        {**LETTER, "from": "x@elsewhere.example"},
        {**LETTER, "to": ["gone@example.net"]},
        "no message",
        {**LETTER, "subject": "Last"},
    ]
    headers = {"Idempotency-Key": "nightly"}
    status, answer = ask(door.key, "POST", f"{MESSAGES}/batch", {"messages": letters}, headers=headers)
    assert status == 200
    results = answer["results"]
    assert [one["http_status"] for one in results] == [201, 400, 400, 400, 400, 201]
    assert [one.get("code") for one in results] == [
        None, "api_validation", "invalid_from_address", "suppressed", "api_validation", None,
    ]  # fmt: skip
    assert results[-1]["subject"] == "Last"
    assert {one["id"] for one in ask(door.key, "GET", MESSAGES)[1]["data"]} == {
        results[0]["id"],
        results[-1]["id"],
    }
    again = ask(door.key, "POST", f"{MESSAGES}/batch", {"messages": letters}, headers=headers)
    assert again == (200, answer)
    assert len(ask(door.key, "GET", MESSAGES)[1]["data"]) == 2


def test_a_batch_of_500_is_stored_and_answered_in_order(ask, door):
    letters = [{**LETTER, "subject": f"Number {number}"} for number in range(500)]
    status, answer = ask(door.key, "POST", f"{MESSAGES}/batch", {"messages": letters})
    assert status == 200
    assert [one["subject"] for one in answer["results"]] == [one["subject"] for one in letters]
    assert len({one["id"] for one in answer["results"]}) == 500
    assert len(ask(door.key, "GET", f"{MESSAGES}?limit=1000")[1]["data"]) == 500


def test_messages_of_a_batch_have_files_of_their_own(ask, door):
    letters = [
        {
            **LETTER,
            "attachments": [{"filename": "a.txt", "content": base64.b64encode(text.encode()).decode()}],
        }
        for text in ("one", "two", "three")
    ]
    results = ask(door.key, "POST", f"{MESSAGES}/batch", {"messages": letters})[1]["results"]
    files = [next(mail(door, one).iter_attachments()).get_content() for one in results]
    assert files == ["one", "two", "three"]


@pytest.mark.parametrize(
    "fields", [{}, {"messages": []}, {"messages": [LETTER] * 501}, {"messages": "x"}, {"mails": []}]
)
def test_what_is_no_batch_is_refused(refuse, fields):
    assert refuse("manager", "POST", f"{MESSAGES}/batch", fields)[0] == 400


def test_a_days_quota_counts_every_message_of_a_batch(ask, door):
    from relay.store import accounts

    key = door.work(accounts.create_key, "acme", daily_quota=3).secret
    results = ask(key, "POST", f"{MESSAGES}/batch", {"messages": [LETTER] * 5})[1]["results"]
    assert sorted(one["http_status"] for one in results) == [201, 201, 201, 429, 429]
