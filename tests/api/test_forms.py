"""POST send as multipart and urlencoded forms: the multipart table, files, and what a mail of them looks like."""

import base64
import email
import email.policy
import hashlib
import json
import zlib
from email.message import EmailMessage
from typing import Any, cast

import pytest

from relay.store import messages
from tests.api.conftest import EMAILS, Door, refused

SEND = f"{EMAILS}/send"
FIELDS = {"recipient": "recipient@example.com", "subject": "Report", "body": "<p>Enclosed</p>"}
PNG = b"\x89PNG\r\n\x1a\n" + zlib.compress(bytes(200))
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 4
NO_ARRAY = '"cc" failed custom validation because cc must be a valid array or stringified array.'


@pytest.fixture
def shared_door(shared_sqlite_door: Door) -> Door:
    """What is tested here ends before the record, or does not depend on which it is."""
    return shared_sqlite_door


Part = tuple[str, Any] | tuple[str, Any, bytes]


def form(*parts: Part, end: bool = True, fields: dict[str, str] = FIELDS) -> tuple[bytes, dict[str, str]]:
    """A form of the fields a send needs and these parts: (name, text) or (name, file name, content)."""
    pieces = []
    for part in [*fields.items(), *parts]:
        name, value = part[:2]
        head = f'--frontier\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if len(part) == 3:
            written = value if isinstance(value, bytes) else f'filename="{value}"'.encode()
            pieces.append(head + b"; " + written + b"\r\nContent-Type: text/plain\r\n\r\n" + part[2])
        else:
            pieces.append(head + b"\r\n\r\n" + (value if isinstance(value, bytes) else str(value).encode()))
    body = b"\r\n".join(pieces) + (b"\r\n--frontier--\r\n" if end else b"")
    return body, {"Content-Type": "multipart/form-data; boundary=frontier"}


def send(door: Door, *parts: Part, **options: Any) -> Any:
    body, headers = form(*parts, **options)
    return door.request("POST", SEND, content=body, headers=headers)


def accepted(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    return cast("dict[str, Any]", answer.json())


def mail(door: Door, identifier: str) -> EmailMessage:
    raw = door.work(messages.raw, int(identifier))
    assert b"\n" not in raw.replace(b"\r\n", b"")
    return cast("EmailMessage", email.message_from_bytes(raw, policy=email.policy.default))


@pytest.mark.parametrize(
    "parts, message",
    [
        ([("cc", "a@example.com")], NO_ARRAY),
        ([("cc[]", "a@example.com")], '"cc[]" is not allowed'),
        ([("cc[0]", "a@example.com")], '"cc[0]" is not allowed'),
        ([("subject", "again")], '"subject" must be a string'),
        ([("attachments", "text")], '"attachments" must be an array'),
        ([("foo", "1")], '"foo" is not allowed'),
        ([("disable_tracking", "1")], '"disable_tracking" must be a boolean'),
        ([("metadata", "[]")], '"metadata" must be of type object'),
        ([("headers", "x")], '"headers" must be of type object'),
    ],
)  # fmt: skip
def test_a_form_is_refused_in_the_contracts_words(shared_door: Door, parts: list[Part], message: str) -> None:
    refused(send(shared_door, *parts), 400, "api_validation", message)


@pytest.mark.parametrize(
    "parts, echoed",
    [
        ([("cc", "a@example.com"), ("cc", "b@example.com")], {"cc": ["a@example.com", "b@example.com"]}),
        ([("cc", '["a@example.com"]')], {"cc": ["a@example.com"]}),
        ([("bcc", "[]")], {"bcc": []}),
        ([("disable_tracking", "TRUE")], {}),
        ([("attachments[]", "x.txt", b"x")], {"attachments_metadata": None}),
        ([("file", "x.exe", b"MZ")], {"attachments_metadata": None}),
        ([("metadata", '{"order": 5}')], {}),
    ],
)  # fmt: skip
def test_a_form_is_taken(shared_door: Door, parts: list[Part], echoed: dict[str, Any]) -> None:
    assert echoed.items() <= accepted(send(shared_door, *parts)).items()


@pytest.mark.parametrize(
    "body, kind",
    [
        (form(end=False)[0], "multipart/form-data; boundary=frontier"),
        (form()[0][:-30], "multipart/form-data; boundary=frontier"),
        (form()[0], "multipart/form-data; boundary=other"),
        (b"", "multipart/form-data; boundary=frontier"),
        (b"--frontier\r\nno header\r\n\r\nx\r\n--frontier--\r\n", "multipart/form-data; boundary=frontier"),
        (b"--frontier\r\nX: y\r\n\r\nx\r\n--frontier--\r\n", "multipart/form-data; boundary=frontier"),
        (form(("tag", b"\xff\xfe"))[0], "multipart/form-data; boundary=frontier"),
        (form(*[("x", "y")] * 1001)[0], "multipart/form-data; boundary=frontier"),
        (form()[0], f"multipart/form-data; boundary={'x' * 300}"),
        (b"%ff=%ff", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=b"] * 2000), "application/x-www-form-urlencoded"),
        (b"a=" + b"b" * (10 * 1024 * 1024), "application/x-www-form-urlencoded"),
    ],
)  # fmt: skip
def test_a_broken_form_is_malformed(shared_door: Door, body: bytes, kind: str) -> None:
    answer = shared_door.request("POST", SEND, content=body, headers={"Content-Type": kind})
    refused(answer, 400, "malformed", "Malformed request body")


def test_a_form_without_boundary_is_empty(shared_door: Door) -> None:
    answer = shared_door.request(
        "POST", SEND, content=form()[0], headers={"Content-Type": "multipart/form-data"}
    )
    refused(answer, 400, "api_validation", '"recipient" is required')


def test_a_field_is_cut_beyond_the_bound_of_the_body(shared_door: Door) -> None:
    fields = {**FIELDS, "body": "x" * 1024 * 1024}
    assert accepted(send(shared_door, fields=fields))["params"]["body"] == fields["body"]
    message = refused(send(shared_door, fields={**FIELDS, "body": "ក" * 1024 * 1024}), 400, "api_validation")
    assert message.startswith("body is a required string")


def test_urlencoded_forms_work(shared_door: Door) -> None:
    answer = shared_door.request(
        "POST", SEND, data={**FIELDS, "cc[]": ["a@example.com"], "bcc": ["b@example.com", "c@example.com"]}
    )
    sent = accepted(answer)
    assert (sent["cc"], sent["bcc"]) == (["a@example.com"], ["b@example.com", "c@example.com"])


@pytest.mark.parametrize("form", ["urlencoded", "multipart"])
def test_objects_are_json_in_a_form(shared_door: Door, form: str) -> None:
    fields = {**FIELDS, "metadata": '{"order": 5}', "headers": '{"X-Order": "5"}'}
    sent_as: dict[str, Any] = (
        {"data": fields} if form == "urlencoded" else {"files": [(n, (None, v)) for n, v in fields.items()]}
    )
    sent = accepted(shared_door.request("POST", SEND, **sent_as))
    assert shared_door.get(f"/v1/messages/{sent['id']}").json()["metadata"] == {"order": 5}
    assert b"\r\nX-Order: 5\r\n" in shared_door.work(messages.raw, int(sent["id"]))
    for name in ("metadata", "headers"):
        wrong = shared_door.request("POST", SEND, data={**FIELDS, name: "x"})
        refused(wrong, 400, "api_validation", f'"{name}" must be of type object')


def test_plumber_always_sends_multipart(shared_door: Door) -> None:
    sent = accepted(
        send(
            shared_door,
            ("cc", '["a@example.com"]'),
            ("disable_tracking", "true"),
            ("from", "Acme <hello@acme.example>"),
            ("reply_to", "help@acme.example"),
            ("attachments", "report.pdf", PDF),
        )
    )
    assert sent["params"] == {
        "body": "<p>Enclosed</p>", "from": "Acme <hello@acme.example>", "subject": "Report",
        "reply_to": "help@acme.example",
    }  # fmt: skip
    assert sent["cc"] == ["a@example.com"]


def test_the_nodemailer_transport_sends_empty_lists(shared_door: Door) -> None:
    assert shared_door.sent(cc=[], bcc=[], **{"from": "Acme <hello@acme.example>"})["status"] == "ACCEPTED"


def test_files_arrive_as_they_were(door: Door) -> None:
    large = bytes(range(256)) * 8192
    sent = accepted(
        send(
            door,
            ("attachments", "a.txt", b""),
            ("attachments", "report.pdf", PDF),
            ("attachments", "តារាង.csv", large),
        )
    )
    assert sent["attachments_metadata"] == [
        {"fileName": name, "fileSize": len(data), "hash": hashlib.md5(data).hexdigest()}
        for name, data in (("a.txt", b""), ("report.pdf", PDF), ("តារាង.csv", large))
    ]
    assert list(sent["attachments_metadata"][0]) == ["hash", "fileName", "fileSize"]
    assert door.get(f"{EMAILS}/{sent['id']}").json() == sent
    parsed = mail(door, sent["id"])
    assert parsed.get_content_type() == "multipart/mixed"
    files = list(parsed.iter_attachments())
    assert [one.get_filename() for one in files] == ["a.txt", "report.pdf", "តារាង.csv"]
    assert [one.get_content_type() for one in files] == ["text/plain", "application/pdf", "text/csv"]
    assert [one.get_payload(decode=True) for one in files] == [b"", PDF, large]
    assert [one["Content-ID"] for one in files] == [None] * 3
    body = parsed.get_body(("html",))
    assert body is not None
    assert body.get_content().strip() == "<p>Enclosed</p>"
    (row,) = [one for one in [door.work(messages.get, door.account_id, int(sent["id"]))] if one]
    assert row["size"] == len(door.work(messages.raw, int(sent["id"])))


def test_images_are_shown_by_their_place(sqlite_door: Door) -> None:
    door = sqlite_door
    fields = {**FIELDS, "body": '<img src="cid:1"><p>x</p>', "text": "x"}
    sent = accepted(send(door, ("attachments", "a.pdf", PDF), ("attachments", "b.png", PNG), fields=fields))
    parsed = mail(door, sent["id"])
    types = [part.get_content_type() for part in parsed.walk()]
    assert types == [
        "multipart/mixed", "multipart/related", "multipart/alternative", "text/plain", "text/html", "image/png",
        "application/pdf",
    ]  # fmt: skip
    by_type = {part.get_content_type(): part for part in parsed.walk()}
    assert by_type["image/png"]["Content-ID"] == "<1>"
    assert by_type["image/png"].get_content_disposition() == "inline"
    assert by_type["application/pdf"]["Content-ID"] == "<0>"
    assert by_type["application/pdf"].get_content_disposition() == "attachment"


def test_json_may_have_files_in_base64(sqlite_door: Door) -> None:
    door = sqlite_door
    content = base64.encodebytes(PDF).decode()
    sent = door.sent(attachments=[{"filename": "a.pdf", "content": content, "content_type": "x/y"}])
    assert sent["attachments_metadata"][0]["hash"] == hashlib.md5(PDF).hexdigest()
    (file,) = mail(door, sent["id"]).iter_attachments()
    assert file.get_payload(decode=True) == PDF


@pytest.mark.parametrize(
    "item",
    [
        {}, {"filename": "a.txt"}, {"content": ""}, {"filename": 1, "content": ""},
        {"filename": "a.txt", "content": 1},
        {"filename": "a.txt", "content": "not base64!"}, {"filename": "a.txt", "content": "YQ=a"},
        {"filename": "a.txt", "content": "", "extra": 1}, {"filename": "a.txt", "content": "", "content_type": 1},
    ],
)  # fmt: skip
def test_other_objects_are_no_files(shared_door: Door, item: dict[str, Any]) -> None:
    refused(shared_door.send(attachments=[item]), 400, "attachment_format")


@pytest.mark.parametrize(
    "name, content, taken",
    [
        ("a.txt", b"x", True),
        ("A.TXT", b"x", True),
        ("photo.JPG", b"\xff\xd8\xff\xe0", True),
        ("photo.png", b"\xff\xd8\xff\xe0", True),
        ("report", PDF, True),
        ("a.docx", b"PK\3\4" + bytes(22) + b"\x13\0\0\0[Content_Types].xml", True),
        ("a.ods", b"PK\3\4" + bytes(22) + b"\x08\0\0\0mimetypeapplication/vnd.oasis.opendocument.s", True),
        ("a.docx", b"PK\3\4" + bytes(22) + b"\x05\0\0\0a.exe", False),
        ("a.zip", b"PK\3\4" + bytes(30), False),
        ("report", b"text", False),
        ("a.exe", PDF, False),
        ("a.pdf", b"MZ\x90\0", False),
        ("a.pdf.exe", b"x", False),
        ("a.pdf", b"\x7fELF", False),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", False),
        ("a.html", b"<script>", False),
        ("", b"x", False),
    ],
)
def test_files_are_told_by_name_and_content(
    sqlite_door: Door, name: str, content: bytes, taken: bool
) -> None:
    door = sqlite_door
    answer = send(door, ("attachments", name, content))
    if taken:
        accepted(answer)
        return
    message = refused(answer, 400, "invalid_template")
    assert "attachments" in message
    assert message.endswith("Please check the attached files.")
    (kept,) = door.get(f"{EMAILS}?limit=1").json()["data"]
    assert (kept["status"], kept["error_code"]) == ("UNSENT", "Error 400: Unsupported file type")
    assert kept["attachments_metadata"][0]["fileSize"] == len(content)


@pytest.mark.parametrize(
    "written, shown",
    [
        (b'filename="../../etc/passwd.txt"', "passwd.txt"),
        (b'filename="C:\\\\temp\\\\x.txt"', "x.txt"),
        ('filename="\u202egnp.txt"'.encode(), "gnp.txt"),
        (b'filename="a\0b\x01.txt"', "ab.txt"),
        (b'filename="con.txt"', "_con.txt"),
        (b'filename="..txt"', "txt"),
        (b"filename*=UTF-8''%E2%82%AC.txt", "€.txt"),
        (b'filename="' + b"n" * 2000 + b'.txt"', "n" * 196 + ".txt"),
        (b'filename="a;b\'c.txt"', "a;b'c.txt"),
    ],
)
def test_names_are_made_harmless(shared_door: Door, written: bytes, shown: str) -> None:
    body, headers = form(("attachments", written, b"x"))
    sent = accepted(shared_door.request("POST", SEND, content=body, headers=headers))
    assert sent["attachments_metadata"][0]["fileName"] == shown
    (file,) = mail(shared_door, sent["id"]).iter_attachments()
    assert file.get_filename() == shown


def limited(door: Door, **limits: Any) -> Door:
    attachments = door.settings.api.attachments.model_copy(update=limits)
    api = door.settings.api.model_copy(update={"attachments": attachments})
    door.reopen(door.settings.model_copy(update={"api": api}))
    return door


def test_files_are_limited(sqlite_door: Door) -> None:
    door = sqlite_door
    a, b = ("attachments", "a.txt", b"x" * 600), ("attachments", "b.txt", b"x" * 600)
    limited(door, max_total=1000)
    accepted(send(door, a))
    refused(send(door, a, b), 413, "attachment_limit", "Cumulative attachment size exceeds limit")
    large = ("attachments", "a.txt", b"x" * 1001)
    refused(send(door, large), 413, "attachment_limit", "Size of one or more attachments exceeds limit")
    refused(send(door, large, ("cc", "x")), 400, "api_validation")
    content = base64.b64encode(b"x" * 1001).decode()
    refused(door.send(attachments=[{"filename": "a.txt", "content": content}]), 413, "attachment_limit")
    limited(door, max_total=10_000, max_file=500)
    refused(send(door, a), 413, "attachment_limit", "Size of one or more attachments exceeds limit")
    limited(door, max_file=0, max_count=1)
    refused(send(door, a, b), 413, "attachment_limit", "Number of attachments exceeds limit")
    assert len(door.get(EMAILS).json()["data"]) == 1


def test_files_may_be_tied_to_a_sender_of_ones_own(sqlite_door: Door) -> None:
    door = sqlite_door
    limited(door, need_own_sender=True)
    file = ("attachments", "a.txt", b"x")
    refused(
        send(door, file),
        403,
        "unauthorized",
        "Attachments are not allowed for the default from email address",
    )
    accepted(send(door, file, ("from", "hello@acme.example")))


def test_large_bodies_lie_on_disk(door: Door) -> None:
    content = b"0123456789abcdef" * 65536 * 2
    sent = accepted(send(door, ("attachments", "a.txt", content)))
    (file,) = mail(door, sent["id"]).iter_attachments()
    assert file.get_payload(decode=True) == content
    spool = door.settings.data_dir / "spool"
    assert spool.is_dir()
    assert list(spool.iterdir()) == []
    text = json.dumps({**FIELDS, "body": "<p>" + "x" * 1024 * 1000 + "</p>"}).encode()
    accepted(door.request("POST", SEND, content=text, headers={"Content-Type": "application/json"}))
