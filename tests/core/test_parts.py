"""Taking mails apart: what hostile and odd ones come to. The corpus of tests/providers has the usual ones."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.parts import Unsayable, take_apart

FROM = b"From: a@example.com\r\n"


def mail(content_type: str, body: bytes) -> bytes:
    return FROM + f"Content-Type: {content_type}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "field", [b"Subject", b"X-Thing", b"Reply-To", b"Message-ID"], ids=lambda field: field.decode()
)
def test_no_encoded_word_opens_a_header(field: bytes) -> None:
    word = b"=?utf-8?b?" + base64.b64encode(b"a\r\nBcc: victim@example.net\0") + b"?="
    value = word + b" <b@example.com>" if field == b"Reply-To" else word
    parts = take_apart(FROM + field + b": " + value + b"\r\n\r\ntext\r\n")
    said = [parts.subject, parts.message_id or "", *(box.name for box in parts.reply_to)]
    said += [text for pair in parts.headers for text in pair]
    assert any("victim" in text for text in said)
    assert not any(char in text for text in said for char in "\r\n\0")


def test_a_file_name_is_one_line() -> None:
    word = base64.b64encode(b"a\r\nb.txt").decode()
    body = f'--x\r\nContent-Disposition: attachment; filename="=?utf-8?b?{word}?="\r\n\r\nx\r\n--x--'.encode()
    (attachment,) = take_apart(mail("multipart/mixed; boundary=x", body)).attachments
    assert attachment.name == "a b.txt"


def test_nesting_has_an_end() -> None:
    nested = b"text"
    for level in range(60):
        nested = (
            f"Content-Type: multipart/mixed; boundary=n{level}\r\n\r\n--n{level}\r\n".encode()
            + (nested if level else b"\r\n" + nested)
            + f"\r\n--n{level}--\r\n".encode()
        )
    with pytest.raises(Unsayable, match="too many parts"):
        take_apart(FROM + nested)


def test_so_has_the_number_of_parts() -> None:
    body = b"--x\r\n\r\npart\r\n" * 5_000 + b"--x--\r\n"
    with pytest.raises(Unsayable, match="too many parts"):
        take_apart(mail("multipart/mixed; boundary=x", body))


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        ("multipart/mixed", b"--x\r\n\r\na\r\n--x--", "no boundary"),
        ("multipart/mixed; boundary=x", b"no parts at all", "no parts"),
        ("message/partial; id=1; number=1", b"...", "fragment"),
        ("message/external-body; access-type=URL", b"...", "elsewhere"),
        ("multipart/digest; boundary=x", b"--x\r\n\r\n--x--", "digest"),
    ],
)
def test_what_cannot_be_said_says_why(content_type: str, body: bytes, why: str) -> None:
    with pytest.raises(Unsayable, match=why):
        take_apart(mail(content_type, body))


def test_a_mail_without_header_has_no_sender() -> None:
    with pytest.raises(Unsayable, match="no From"):
        take_apart(b"just text\r\n")


@given(st.binary(max_size=400))
def test_any_bytes_come_apart_or_are_refused(data: bytes) -> None:
    for raw in (data, FROM + data, FROM + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" + data):
        try:
            parts = take_apart(raw)
        except Unsayable:
            continue
        assert parts.from_.address


PIECES = [
    *(b"--x\r\n", b"--x--\r\n", b"--y\r\n", b"\r\n", b"text\r\n", b"=E9=\r\n", b"Zm9v\r\n", b"\xff\xfe"),
    *(b"Content-Type: multipart/alternative; boundary=y\r\n", b"Content-Type: text/html; charset=utf-16\r\n"),
    *(b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n"),
    *(b"Content-Disposition: attachment; filename*=utf-8''%ff%00\r\n", b"Content-ID: <a>\r\n"),
    *(
        b'Content-Type: message/rfc822; name="\r\n',
        b"Content-Transfer-Encoding: x-uuencode\r\n",
        b"Content-Type: ;;\r\n",
    ),
]


@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_any_shape_comes_apart_or_is_refused(pieces: list[bytes]) -> None:
    raw = FROM + b"Content-Type: multipart/related; boundary=x; start=a\r\n\r\n" + b"".join(pieces)
    try:
        parts = take_apart(raw)
    except Unsayable:
        return
    assert all(attachment.name for attachment in parts.attachments)
