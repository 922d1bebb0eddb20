"""POST /v1/messages as message/rfc822 through HTTP: what comes in goes out."""

import pytest

from relay.store import messages
from relay.store import tables as t

MESSAGES = "/v1/messages"
MAIL = (
    b"From: Ada <ada@acme.example>\r\nTo: Bob <bob@example.net>\r\nCc: carol@example.net\r\n"
    b"Bcc: dan@example.net\r\nSubject: =?utf-8?b?SMO2aQ==?=\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\n"
    b"Message-ID: <1@acme.example>\r\nX-Odd:   kept  as\r\n  it is\r\n\r\nBody\r\n.\r\nwith dots\r\n"
)


@pytest.fixture
def post(door):
    def call(content, key="", **headers):
        sent = {
            "content-type": "message/rfc822",
            **{name.replace("_", "-"): v for name, v in headers.items()},
        }
        answer = door.request("POST", MESSAGES, key=key, content=content, headers=sent)
        return answer.status_code, answer.json()

    return call


def stored(door, answer):
    return door.work(messages.raw, int(answer["id"]))


def test_a_mail_goes_to_those_it_names_and_its_bytes_are_kept(door, post):
    status, answer = post(MAIL)
    assert status == 201, answer
    assert answer["recipients"] == [
        {"address": "bob@example.net", "kind": "to"},
        {"address": "carol@example.net", "kind": "cc"},
        {"address": "dan@example.net", "kind": "bcc"},
    ]
    assert (answer["from"], answer["subject"]) == ("Ada <ada@acme.example>", "Höi")
    raw = stored(door, answer)
    trace, rest = raw.split(b"From: Ada", 1)
    assert trace.startswith(b"Received: by mx.example.org with HTTP;")
    assert b"From: Ada" + rest == MAIL.replace(b"Bcc: dan@example.net\r\n", b"")
    row = door.work(messages.get, door.account_id, int(answer["id"]))
    assert (row["sender"], row["eight_bit"], row["smtputf8"]) == ("ada@acme.example", False, False)


def test_the_requests_own_fields_say_who_it_is_for_and_from(door, post):
    status, answer = post(
        MAIL,
        X_Pillarbox_Recipient="Eve@Example.net, carol@example.net",
        X_Pillarbox_Sender="bounces@acme.example",
    )
    assert status == 201, answer
    assert answer["recipients"] == [
        {"address": "Eve@example.net", "kind": "bcc"},
        {"address": "carol@example.net", "kind": "cc"},
    ]
    row = door.work(messages.get, door.account_id, int(answer["id"]))
    assert row["sender"] == "bounces@acme.example"
    assert b"dan@" not in stored(door, answer)
    _, answer = post(MAIL, X_Pillarbox_Sender="<>")
    assert door.work(messages.get, door.account_id, int(answer["id"]))["sender"] == ""


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_line_ends_become_those_of_mail_wherever_a_request_is_cut(door, end):
    written = MAIL.replace(b"\r\n", end)

    async def pieces():
        for start in range(0, len(written), 7):
            yield written[start : start + 7]

    answer = door.request(
        "POST", MESSAGES, content=pieces(), headers={"content-type": "message/rfc822"}
    ).json()
    expected = MAIL.replace(b"Bcc: dan@example.net\r\n", b"")
    assert stored(door, answer).endswith(expected)


def test_crlf_cut_in_two_stays_one_line_end(door):
    async def pieces():
        for start in range(0, len(MAIL), 1):
            yield MAIL[start : start + 1]

    answer = door.request(
        "POST", MESSAGES, content=pieces(), headers={"content-type": "message/rfc822"}
    ).json()
    assert stored(door, answer).endswith(MAIL.replace(b"Bcc: dan@example.net\r\n", b""))


def test_what_is_missing_is_added_and_what_is_asked_is_taken_out(door, post):
    status, answer = post(
        b"From: ada@acme.example\nTo: bob@example.net\nX-Pillarbox-Tag: welcome\n"
        b"X-Pillarbox-Metadata-Order: 7\n\nbody"
    )
    assert status == 201, answer
    raw = stored(door, answer)
    assert b"\r\nDate: " in raw
    assert b"\r\nMessage-ID: <" in raw
    assert b"X-Pillarbox" not in raw
    row = door.work(messages.get, door.account_id, int(answer["id"]))
    assert (row["tag"], row["metadata"]) == ("welcome", {"order": "7"})


def test_eight_bit_mail_is_marked_as_such(door, post):
    _, answer = post(MAIL + "Grüße".encode())
    assert door.work(messages.get, door.account_id, int(answer["id"]))["eight_bit"] is True
    assert stored(door, answer).endswith("Grüße".encode())


def test_a_large_mail_is_kept_whole(door, post):
    content = MAIL + b"x" * 70 + b"\r\n" + b"0123456789abcdef\r\n" * 80_000
    _, answer = post(content)
    assert stored(door, answer).endswith(content.replace(b"Bcc: dan@example.net\r\n", b""))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "header block"),
        (b"no header at all\r\n", "header block"),
        (b"\r\nbody", "header block"),
        (b"Subject: x\r\n\r\n", "From"),
        (b"From: ada@acme.example\r\nFrom: ada@acme.example\r\nTo: b@example.net\r\n\r\n", "From"),
        (b"From: ada@acme.example\r\nSubject: x\r\n\r\n", "recipients"),
        (b"From: ada@acme.example\r\nTo: undisclosed-recipients:;\r\n\r\n", "recipients"),
        (b"From: ada@acme.example\r\nTo: nobody\r\n\r\n", "To"),
        (b"From: mallory@elsewhere.example\r\nTo: b@example.net\r\n\r\n", "not a sender"),
        (b"From: ada@acme.example\r\nTo: b@example.net\r\n" + b"Received: x\r\n" * 51 + b"\r\n", "loop"),
        (b"From: ada@acme.example\r\nTo: b@example.net\r\nX-A: " + b"x" * 300_000 + b"\r\n\r\n", "too long"),
        (b"From: ada@acme.example\r\nTo: b@example.net\r\nX-Pillarbox-Wish: x\r\n\r\n", "X-Pillarbox-Wish"),
    ],
)
def test_what_is_no_mail_is_refused(refuse, content, said):
    headers = {"content-type": "message/rfc822"}
    status, answer = refuse("manager", "POST", MESSAGES, content=content, headers=headers)
    assert status == 400, answer
    assert said in answer["message"]


@pytest.mark.parametrize(
    "field", [("X-Pillarbox-Recipient", "nobody"), ("X-Pillarbox-Sender", "x@elsewhere.example")]
)
def test_a_wrong_envelope_is_refused(refuse, field):
    headers = {"content-type": "message/rfc822", field[0]: field[1]}
    assert refuse("manager", "POST", MESSAGES, content=MAIL, headers=headers)[0] == 400


def test_a_repeated_mail_is_one_message_by_either_kind_of_key(door, post):
    first = post(MAIL, Idempotency_Key="k")
    assert post(MAIL, Idempotency_Key="k") == first
    assert post(MAIL + b"more", Idempotency_Key="k")[0] == 409
    inside = b"X-Pillarbox-Idempotency-Key: in-mail\r\n" + MAIL
    assert post(inside) == post(inside)
    count = door.work(lambda c: len(c.execute(t.message.select()).all()))
    assert count == 2
