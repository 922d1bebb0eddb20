"""Building a mail from fields a client gave. The only place where we write a mail rather than pass one on."""

import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from relay.core.address import Mailbox, domain_of
from relay.core.assembly import Assembly, Encoded, Piece
from relay.core.filename import parameter
from relay.core.message import MemoryTail, Tail
from relay.core.mime import address_header, date_value, header, text_part


@dataclass(frozen=True, slots=True)
class File:
    """Something attached. `name` is safe (`relay.core.filename`); the octets are read when the mail is stored."""

    name: str
    content_type: str
    content: Tail
    #: how the HTML shows it (`cid:…`, RFC 2392); without one it may be shown by its place among the files
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """What is to be written. Addresses are normalised; `html` is the body as it goes out.

    At least one of `html` and `text` is there.
    """

    from_: Mailbox
    to: str | Sequence[Mailbox]
    subject: str
    html: str | None
    cc: Sequence[str] | Sequence[Mailbox] = ()
    reply_to: str | None = None
    #: the same in plain text, for readers that show no HTML
    text: str | None = None
    #: further fields by name; whoever allows a name answers for it
    headers: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[File] = ()


def compose(letter: Letter, at: datetime) -> tuple[bytes, Tail]:
    """The header block with its closing blank line, and the rest. Blind copies have no place in either.

    Lines end in CRLF and every octet is below 128, so any server takes it, unless an address is international.
    The tail reads the files' contents when it is read. Raises ValueError when a field would break out of its line.
    """
    fields = [
        b"Date: " + date_value(at).encode() + b"\r\n",
        address_header("From", (letter.from_,)),
        _listed("To", (letter.to,) if isinstance(letter.to, str) else letter.to),
    ]
    if letter.cc:
        fields.append(_listed("Cc", letter.cc))
    if letter.reply_to:
        fields.append(_bare("Reply-To", (letter.reply_to,)))
    fields.append(header("Subject", letter.subject))
    fields.append(b"Message-ID: " + _message_id(letter.from_.address) + b"\r\nMIME-Version: 1.0\r\n")
    fields.extend(header(name, value) for name, value in letter.headers.items())
    if not letter.files and (letter.text is None or letter.html is None):
        part = _body(letter)[0]
        cut = part.index(b"\r\n\r\n") + 4
        fields.append(part[:cut])
        return b"".join(fields), MemoryTail(part[cut:])
    pieces = _structure(letter)
    opening = pieces[0]
    assert isinstance(opening, bytes)
    cut = opening.index(b"\r\n\r\n") + 4
    fields.append(opening[:cut])
    return b"".join(fields), Assembly([opening[cut:], *pieces[1:]])


def _structure(letter: Letter) -> list[Piece]:
    """The body's parts, each with its own headers: alternatives inside, images around them, other files outside."""
    bodies = _body(letter)
    written: list[Piece] = [*bodies]
    if len(bodies) > 1:
        written = _multipart("alternative", [[one] for one in bodies])
    html = letter.html or ""
    # The exact text is the contract's sign that the body shows images by their place among the files.
    identified = 'src="cid:' in html
    names = [one.content_id or (str(index) if identified else None) for index, one in enumerate(letter.files)]
    shown = {
        index
        for index, one in enumerate(letter.files)
        if (f"cid:{one.content_id}" in html if one.content_id else f'src="cid:{index}"' in html)
    }
    files = [
        _file(one, name, shown=index in shown)
        for index, (one, name) in enumerate(zip(letter.files, names, strict=True))
    ]
    if shown:
        written = _multipart("related", [written, *(files[index] for index in sorted(shown))])
    others = [one for index, one in enumerate(files) if index not in shown]
    return _multipart("mixed", [written, *others]) if others else written


def _body(letter: Letter) -> list[bytes]:
    """The body's forms, plain text first."""
    forms = [] if letter.text is None else [text_part(letter.text, "plain")]
    if letter.html is not None:
        forms.append(text_part(letter.html, "html"))
    return forms


def _multipart(subtype: str, parts: Sequence[Sequence[Piece]]) -> list[Piece]:
    boundary = f"=_{random.getrandbits(128):032x}".encode()
    pieces: list[Piece] = [
        b"Content-Type: multipart/" + subtype.encode() + b';\r\n boundary="' + boundary + b'"\r\n\r\n'
    ]
    for part in parts:
        opening, *rest = part
        assert isinstance(opening, bytes)
        pieces += [b"--" + boundary + b"\r\n" + opening, *rest, b"\r\n"]
    pieces.append(b"--" + boundary + b"--\r\n")
    return pieces


def _file(one: File, identifier: str | None, *, shown: bool) -> list[Piece]:
    lines = [
        f"Content-Type: {one.content_type}\r\n".encode(),
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Disposition: " + (b"inline" if shown else b"attachment") + parameter("filename", one.name),
        b"\r\n",
    ]
    if identifier is not None:
        lines.append(f"Content-ID: <{identifier}>\r\n".encode())
    lines.append(b"\r\n")
    return [b"".join(lines), Encoded(one.content)]


_LINE_BREAK = re.compile(r"[\r\n\0]")


def _listed(name: str, addressees: Sequence[str] | Sequence[Mailbox]) -> bytes:
    boxes = [one for one in addressees if isinstance(one, Mailbox)]
    if boxes:
        return address_header(name, boxes)
    return _bare(name, [one for one in addressees if isinstance(one, str)])


def _bare(name: str, addresses: Sequence[str]) -> bytes:
    written = ",\r\n ".join(addresses)
    if any(_LINE_BREAK.search(address) for address in addresses):
        raise ValueError(f"{name} must not contain line breaks or NUL")
    return f"{name}: {written}\r\n".encode()


def _message_id(sender: str) -> bytes:
    """RFC 5322 3.6.4. The domain is the sender's: what follows the @ tells receivers whose id it is."""
    return f"<{time.time_ns():x}.{random.getrandbits(64):016x}@{domain_of(sender)}>".encode()
