"""Bytes of mail: find the header block, read a field, edit one in place, build a mail from parts.

A relayed mail is never parsed and written again, because no generator returns the bytes it was given and a
signature covers them. Edits touch whole header fields only; everything else is copied.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from relay.core.address import Mailbox, decode_words

_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+(?=[ \t]*:)")
_FIELD = re.compile(rb"^([\x21-\x39\x3b-\x7e]+)[ \t]*(:)[^\n]*(?:\n[ \t][^\n]*)*+\n?", re.MULTILINE)
#: every whole field from the start on, in one match
_FIELDS = re.compile(rb"(?:[\x21-\x39\x3b-\x7e]+[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*+)*+")
_MAILBOX_LINE = re.compile(rb">?From (?![ \t]*:)[^\n]*\n")
_BARE_LF = re.compile(rb"\n(?<!\r\n)")
_BARE_CR = re.compile(rb"\r(?!\n)")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_MAX_LINE = 998  # octets without CRLF, RFC 5322 2.1.1
_FOLD_AT = 76


class Field(NamedTuple):
    """One header field by position: `head[start:end]` is the whole field with its line ends."""

    name: bytes  #: lower case
    start: int
    colon: int
    end: int


def has_bare_ends(data: bytes) -> bool:
    """Whether a CR or a LF stands alone."""
    # Two expressions that begin with an octet are twice as fast as counting pairs.
    return _BARE_LF.search(data) is not None or _BARE_CR.search(data) is not None


def has_dotted_line(data: bytes) -> bool:
    """Whether a line after the first begins with a dot."""
    # From the end it is found, or not, four times as fast.
    return data.rfind(b"\r\n.") >= 0


def split_head(data: bytes) -> int:
    """Where the header block ends: the offset after its blank line, or 0 when `data` opens with the body.

    A line that is neither field nor continuation ends the block too, as if a blank line stood before it: readers
    disagree on what follows such a line, so nothing after it may count as a field. Without either, the whole of
    `data` is header; its last line needs no line end.
    """
    found = _FIELDS.match(data)
    assert found is not None
    end = found.end()
    if data.startswith(b"\r\n", end):
        return end + 2
    if (
        end < len(data)
        and data.find(b"\n", end) < 0
        and (_NAME.match(data, end) or (end and data[end] in b" \t"))
    ):
        return len(data)
    return end


def mailbox_line(data: bytes) -> int:
    """Octets of a leading `From sender date` line, which mailbox files have and mail has not; else 0."""
    found = _MAILBOX_LINE.match(data)
    return found.end() if found else 0


def scan(head: bytes) -> list[Field]:
    """The fields of a header block, in order. A line that is neither field nor continuation is skipped."""
    return [Field(m[1].lower(), m.start(), m.start(2), m.end()) for m in _FIELD.finditer(head)]


def value(head: bytes, field: Field) -> str:
    """A field's value: unfolded, undecoded words kept, bytes that are not UTF-8 replaced."""
    raw = head[field.colon + 1 : field.end].strip()
    if b"\n" in raw:
        raw = _FOLD.sub(b"", raw)
    return raw.decode("utf-8", "replace")


def values(head: bytes, fields: Iterable[Field], name: bytes) -> list[str]:
    """Every value of a field, in order; `name` in lower case."""
    return [value(head, field) for field in fields if field.name == name]


def text_value(head: bytes, fields: Iterable[Field], name: bytes) -> str:
    """The first value of an unstructured field with encoded words decoded; empty when there is none."""
    for field in fields:
        if field.name == name:
            written = value(head, field)
            return decode_words(written) if "=?" in written else written
    return ""


def without(head: bytes, fields: Sequence[Field], names: frozenset[bytes]) -> bytes:
    """The header block less every field with one of `names` (lower case)."""
    if not any(field.name in names for field in fields):
        return head
    kept = []
    position = 0
    for field in fields:
        if field.name in names:
            kept.append(head[position : field.start])
            position = field.end
    kept.append(head[position:])
    return b"".join(kept)


def header(name: str, text: str) -> bytes:
    """An unstructured field: encoded words where needed, folded, ending in CRLF.

    Raises ValueError when `text` has a line break or NUL: a header must not open another.
    """
    if any(c in text for c in "\r\n\0"):
        raise ValueError(f"{name} must not contain line breaks or NUL")
    plain = text.isascii() and text.isprintable() and not text.startswith((" ", "\t"))
    if plain and len(name) + 2 + len(text) <= _FOLD_AT:
        return f"{name}: {text}\r\n".encode("ascii")
    if plain and "=?" not in text:
        return _fold(name, text.split(" "))
    return _fold(name, _encoded_words(text))


def address_header(name: str, boxes: Sequence[Mailbox]) -> bytes:
    """A field of mailboxes, one to a line beyond the first; international names become encoded words."""
    written = []
    for box in boxes:
        if any(c in box.name for c in "\r\n\0"):
            raise ValueError(f"{name} must not contain line breaks or NUL")
        if not box.name:
            written.append(box.address)
        elif box.name.isascii() and box.name.isprintable():
            quoted = box.name.replace("\\", "\\\\").replace('"', '\\"')
            bare = re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+", box.name) and "=?" not in box.name
            written.append(f"{box.name if bare else f'{chr(34)}{quoted}{chr(34)}'} <{box.address}>")
        else:
            written.append(f"{' '.join(_encoded_words(box.name))} <{box.address}>")
    return (
        f"{name}: {', '.join(written)}\r\n".encode()
        if len(written) == 1
        else (f"{name}: " + ",\r\n ".join(written) + "\r\n").encode()
    )


def date_value(moment: datetime) -> str:
    """A Date field's value (RFC 5322 3.3)."""
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02d} {_MONTHS[moment.month - 1]} {moment.year} "
        f"{moment:%H:%M:%S} +0000"
    )


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def text_part(text: str, subtype: str, extra: bytes = b"") -> bytes:
    """A text part with its own headers, safe for any server: 7bit where the text allows, else quoted-printable."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    data = text.replace("\n", "\r\n").encode()
    if data.isascii() and b"\0" not in data and _lines_fit(data):
        encoding, body = b"7bit", data
    elif _mostly_ascii(data):
        encoding, body = b"quoted-printable", _quoted_printable(data)
    else:
        encoding, body = b"base64", base64_lines(data)
    return (
        b"Content-Type: text/" + subtype.encode() + b"; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: " + encoding + b"\r\n" + extra + b"\r\n" + body
    )


def base64_lines(data: bytes) -> bytes:
    """Base64 in lines of 76 characters (RFC 2045 6.8)."""
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


def _lines_fit(data: bytes) -> bool:
    """Whether no line is too long for SMTP; looks at one line end per thousand octets."""
    start = 0
    while len(data) - start > _MAX_LINE:
        end = data.rfind(b"\r\n", start, start + _MAX_LINE + 2)
        if end < 0:
            return False
        start = end + 2
    return True


_ASCII = bytes(range(127))


def _mostly_ascii(data: bytes) -> bool:
    sample = data[:4096]
    return len(sample.translate(None, _ASCII)) * 6 < len(sample)


def _quoted_printable(data: bytes) -> bytes:
    # b2a_qp leaves "." and "From " at line starts alone; SMTP stuffs the dots itself.
    encoded = binascii.b2a_qp(data.replace(b"\r\n", b"\n"), istext=True)
    return encoded.replace(b"\n", b"\r\n")


def _encoded_words(text: str) -> list[str]:
    """RFC 2047 B-encoded words of at most 75 characters, cut between characters."""
    words = []
    piece = b""
    for char in text:
        encoded = char.encode()
        if len(piece) + len(encoded) > 45:
            words.append(piece)
            piece = b""
        piece += encoded
    words.append(piece)
    return [f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in words]


def _fold(name: str, words: Iterable[str]) -> bytes:
    lines = [f"{name}:"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _FOLD_AT and lines[-1].strip() and len(lines[-1]) > len(name) + 1:
            lines.append("")
        lines[-1] += f" {word}"
    # A line of blanks only would end the header block for some readers.
    merged: list[str] = []
    for line in lines:
        if merged and not line.strip():
            merged[-1] += line
        else:
            merged.append(line)
    return ("\r\n".join(merged) + "\r\n").encode("ascii")
