"""Where a mail's HTML is, and its octets as text and back: nothing outside of that part is looked at again."""

import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from relay.core import mime

_DEPTH = 20
_PARTS = 200
#: octets of a part's header block that are read
_HEAD = 64 * 1024
_MAX_LINE = 998  # octets without CRLF, RFC 5322 2.1.1
#: charsets in which an octet below 128 may be something else than ASCII
_WIDE = re.compile(r"(?i)(?:utf[-_]?(?:16|32|7)|ucs|iso[-_]?2022|hz|cp037|cp500|cp1026|cp1140|punycode|idna)")
_IDENTITY = frozenset({"", "7bit", "8bit", "binary"})

_NOT_EDITED = {
    "multipart/signed": "it is signed",
    "multipart/encrypted": "it is encrypted",
    "application/pkcs7-mime": "it is signed or encrypted by S/MIME",
    "application/x-pkcs7-mime": "it is signed or encrypted by S/MIME",
    "multipart/report": "it is a report",
}


class Untouchable(ValueError):
    """The mail is not edited; the text says why."""


@dataclass(frozen=True, slots=True)
class HtmlPart:
    """One HTML body: its octets are `body[start:end]` of what follows the mail's header block."""

    start: int
    end: int
    encoding: str  #: the transfer encoding, in lower case
    charset: str

    def text(self, body: bytes) -> str:
        """The HTML. Raises `Untouchable` where `octets` could not give back what stands there."""
        data = _decoded(body[self.start : self.end], self.encoding)
        if b"-----BEGIN PGP " in data:
            raise Untouchable("it is signed or encrypted by PGP")
        try:
            text = data.decode(self._codec)
            if text.encode(self._codec) == data:
                return text
        except (LookupError, UnicodeError):
            pass
        raise Untouchable("its HTML is not in the charset that it claims")

    def octets(self, text: str, body: bytes) -> bytes:
        """The part with this text, in the encoding that it had. Raises `Untouchable` for lines grown too long."""
        data = text.encode(self._codec)
        if self.encoding in _IDENTITY:
            # Whoever wrote longer ones has found a way that carries them.
            if _longest(data) > max(_MAX_LINE, _longest(body[self.start : self.end])):
                raise Untouchable("its lines would become too long")
            return data
        encoded = mime.base64_lines(data) if self.encoding == "base64" else quoted_printable(data)
        ends = body.endswith(b"\r\n", self.start, self.end)
        return encoded if ends == encoded.endswith(b"\r\n") or self.encoding != "base64" else encoded[:-2]

    def characters(self, written: str) -> str:
        """A piece of `text` as people would read it."""
        if self._codec != "latin-1" or written.isascii():
            return written
        data = written.encode("latin-1")
        try:
            return data.decode(self.charset)
        except (LookupError, UnicodeError):
            return data.decode("utf-8", "replace")

    @property
    def _codec(self) -> str:
        # In all others ASCII is ASCII: the markup can be found, and what is between goes through untouched.
        return self.charset if _WIDE.match(self.charset) else "latin-1"


def html_parts(head: bytes, body: bytes) -> list[HtmlPart]:
    """The HTML that a reader of the mail is shown, in order; attached files and mails are none of it.

    Raises `Untouchable` for a mail that must not be changed, or has no HTML.
    """
    fields = mime.scan(head)
    if any(field.name in {b"dkim-signature", b"arc-message-signature"} for field in fields):
        raise Untouchable("it is signed with DKIM already")
    walk = _Walk(body)
    walk.entity(head, fields, 0, len(body), depth=0)
    if not walk.found:
        raise Untouchable(walk.reason or "it has no HTML")
    return walk.found


class _Walk:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._count = 0
        self.found: list[HtmlPart] = []
        self.reason = ""

    def entity(self, head: bytes, fields: list[mime.Field], start: int, end: int, *, depth: int) -> None:
        self._count += 1
        if depth > _DEPTH or self._count > _PARTS:
            raise Untouchable("it has too many parts")
        message = Message()
        for name in (b"content-type", b"content-disposition", b"content-transfer-encoding"):
            given = mime.values(head, fields, name)
            if len(given) > 1:
                # Readers disagree on which one counts.
                return
            if given:
                message[name.decode()] = given[0]
        kind = message.get_content_type()
        if kind in _NOT_EDITED:
            if depth == 0:
                raise Untouchable(_NOT_EDITED[kind])
            self.reason = self.reason or _NOT_EDITED[kind]
        elif kind.startswith("multipart/"):
            self._multipart(message, start, end, depth=depth)
        elif kind == "text/html":
            self._html(message, start, end)

    def _html(self, message: Message, start: int, end: int) -> None:
        encoding = str(message["content-transfer-encoding"] or "").strip().lower()
        attached = (message.get_content_disposition() or "") == "attachment" or message.get_filename()
        if attached or (encoding not in _IDENTITY and encoding not in {"base64", "quoted-printable"}):
            return
        self.found.append(HtmlPart(start, end, encoding, message.get_content_charset() or "us-ascii"))

    def _multipart(self, message: Message, start: int, end: int, *, depth: int) -> None:
        boundary = message.get_boundary()
        if not boundary:
            return
        for first, last in self._children(boundary.encode("utf-8", "surrogateescape"), start, end):
            opening = self._body[first : min(last, first + _HEAD)]
            cut = mime.split_head(opening)
            if cut == len(opening) < last - first:
                continue
            head = opening[:cut]
            self.entity(head, mime.scan(head), first + cut, last, depth=depth + 1)

    def _children(self, boundary: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        mark = re.compile(rb"^--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r\n|\Z)", re.MULTILINE)
        opened = -1
        for found in mark.finditer(self._body, start, end):
            if opened >= 0:
                yield opened, max(opened, found.start() - 2)
            if found[1]:
                return
            opened = found.end() + 2
        if 0 <= opened <= end:
            # Without its closing line the last part goes to the end, as readers take it.
            yield opened, end


def _longest(data: bytes) -> int:
    return max(map(len, data.split(b"\r\n")))


def _decoded(data: bytes, encoding: str) -> bytes:
    if encoding in _IDENTITY:
        return data
    if encoding == "quoted-printable":
        return quopri.decodestring(data)
    try:
        return binascii.a2b_base64(data.translate(None, b"\r\n\t "), strict_mode=True)
    except binascii.Error:
        raise Untouchable("its base64 is damaged") from None


_UNSAFE = re.compile(rb"[^\t\x20-\x3c\x3e-\x7e]|[ \t]\Z")
_QP_LINE = 76


def quoted_printable(data: bytes) -> bytes:
    """RFC 2045 6.7; decodes to exactly `data`, whose CRLFs stay line ends."""
    # The library's encoder makes lines one too long now and then, and knows line ends of LF only.
    return b"\r\n".join(
        _folded(_UNSAFE.sub(lambda found: b"=%02X" % found[0][0], line)) for line in data.split(b"\r\n")
    )


def _folded(line: bytes) -> bytes:
    if len(line) <= _QP_LINE:
        return line
    pieces: list[bytes] = []
    start = 0
    while len(line) - start > _QP_LINE:
        cut = start + _QP_LINE - 1
        # Not within an escape.
        escape = line.find(b"=", cut - 2, cut)
        cut = escape if escape >= 0 else cut
        pieces.append(line[start:cut])
        start = cut
    pieces.append(line[start:])
    return b"=\r\n".join(pieces)
