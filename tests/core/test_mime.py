from email import policy
from email.parser import BytesParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import mime
from relay.core.address import Mailbox

HEAD = (
    b"Received: from a\r\n by b\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\nBcc: x@y.example,\r\n\tz@y.example\r\n"
    b"X-Odd:v\r\nSUBJECT : second\r\n\r\n"
)


def parsed(head: bytes, body: bytes = b""):
    return BytesParser(policy=policy.default).parsebytes(head + body)


def test_fields_are_found_with_their_continuations() -> None:
    fields = mime.scan(HEAD)
    assert [f.name for f in fields] == [b"received", b"subject", b"bcc", b"x-odd", b"subject"]
    assert HEAD[fields[2].start : fields[2].end] == b"Bcc: x@y.example,\r\n\tz@y.example\r\n"
    assert mime.values(HEAD, fields, b"received") == ["from a by b"]
    assert mime.text_value(HEAD, fields, b"subject") == "café"
    assert mime.values(HEAD, fields, b"x-odd") == ["v"]


def test_removing_a_field_leaves_every_other_byte() -> None:
    fields = mime.scan(HEAD)
    edited = mime.without(HEAD, fields, frozenset({b"bcc"}))
    assert edited == HEAD.replace(b"Bcc: x@y.example,\r\n\tz@y.example\r\n", b"")
    assert mime.without(HEAD, fields, frozenset({b"none"})) is HEAD


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"A: b\r\n\r\nbody", 8),
        (b"\r\nbody", 2),
        (b"no header at all\r\n\r\nx", 0),
        (b"A: b\r\n", 6),
        (b"", 0),
    ],
)
def test_where_the_header_block_ends(data: bytes, end: int) -> None:
    assert mime.split_head(data) == end


@given(st.text(alphabet=st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)), max_size=300))
def test_an_unstructured_field_says_the_same_after_its_journey(text: str) -> None:
    written = mime.header("Subject", text)
    assert written.isascii()
    assert all(len(line) <= 998 for line in written.split(b"\r\n"))
    fields = mime.scan(written)
    assert len(fields) == 1
    assert mime.text_value(written, fields, b"subject").split() == text.split()


@pytest.mark.parametrize("text", ["a\r\nBcc: x@y", "a\nb", "a\rb", "a\0b"])
def test_a_field_cannot_open_another(text: str) -> None:
    with pytest.raises(ValueError):
        mime.header("Subject", text)
    with pytest.raises(ValueError):
        mime.address_header("From", [Mailbox(text, "a@b.example")])


def test_address_fields_quote_what_needs_quoting() -> None:
    boxes = [Mailbox("Doe, Jo", "a@b.example"), Mailbox("Jö", "c@d.example"), Mailbox("", "e@f.example")]
    mail = parsed(mime.address_header("To", boxes) + b"\r\n")
    assert [(a.display_name, a.addr_spec) for a in mail["To"].addresses] == [
        (b.name, b.address) for b in boxes
    ]


@pytest.mark.parametrize(
    "text",
    ["plain\nlines\n", "Grüße, žluť", "x" * 2000, "кириллица " * 50, "dot\n.\nline", "a = b =\n", ""],
)
def test_text_parts_arrive_as_written(text: str) -> None:
    part = mime.text_part(text, "html")
    assert part.isascii()
    assert all(len(line) <= 998 for line in part.split(b"\r\n"))
    arrived = parsed(part).get_content().replace("\r\n", "\n")
    assert arrived.rstrip("\n") == text.rstrip("\n")
