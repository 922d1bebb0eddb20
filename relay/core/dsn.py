"""A mail that reports on another: taken apart within bounds, and its fields read (RFC 3464, RFC 5965).

Made for what strangers send: octets, parts and depth are limited, broken mail is read as far as it makes sense, and
nothing raises. The standard library's parser is not used, because it does not decode a delivery status in base64,
leaves the recipients of `message/global-delivery-status` (RFC 6533) unread and goes as deep as it is led.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from relay.core import mime
from relay.core.address import decode_words

#: octets of a mail that are looked at
MOST_OCTETS = 2 * 1024 * 1024
_MOST_PARTS = 100
_MOST_DEPTH = 8
_MOST_HEADER = 64 * 1024  # octets
_MOST_FIELDS = 500
_MOST_BLOCKS = 200  # recipients of one report
_MOST_TEXT = 64 * 1024  # octets of one text

_PARAMETER = re.compile(r';\s*([a-z0-9!#$&^_.*-]{1,60})\s*=\s*("[^"]{0,500}"?|[^\s;"]{0,500})', re.IGNORECASE)
_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
#: codecs that read text in linear time; Python has others by these names' side
_CHARSET = re.compile(
    r"(?:utf-?(?:8|16|16[bl]e|7)|iso-?8859-?\d+|iso-2022-[a-z0-9-]+|windows-\d+|cp-?\d+|koi8-[rut]|gb2312|gbk|gb18030|hz|"
    r"hz-gb-2312|big5(?:-hkscs)?|shift[_-]jis|sjis|euc-?(?:jp|kr|cn)|ks_c_5601-1987|tis-620|mac\w+|latin-?\d)\Z"
)
_BLANK = re.compile(r"\n[ \t]*\n")
_FIELD_LINE = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,60})[ \t]*:[ \t]*(.*)")
_TAG = re.compile(r"<(?:br|p|div|tr|li|h\d)\b[^<>]{0,300}>|</?[a-z!][^<>]{0,500}>", re.IGNORECASE)
_DROPPED = re.compile(r"<(style|script|title)\b[^<>]{0,300}>.{0,20000}?</\1\s*>", re.IGNORECASE | re.DOTALL)
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&nbsp;": " ", "&quot;": '"', "&#39;": "'", "&amp;": "&"}


@dataclass(slots=True)
class Part:
    """One part that has no parts itself."""

    type: str  #: such as `text/plain`
    parameters: Mapping[str, str]
    headers: "Headers"
    content: bytes = field(repr=False)  #: decoded

    def text(self) -> str:
        """The content as text with LF line ends, whatever its charset claims; HTML without its tags."""
        charset = self.parameters.get("charset", "")
        data = self.content[:_MOST_TEXT]
        text = _decoded(data, charset).replace("\r\n", "\n").replace("\r", "\n")
        return _without_tags(text) if self.type == "text/html" else text


class Headers:
    """The fields of a header block: names in any case, values unfolded."""

    __slots__ = ("_head", "_values")

    def __init__(self, head: bytes) -> None:
        self._head = head[:_MOST_HEADER]
        self._values: dict[str, list[str]] = {}
        for one in mime.scan(self._head)[:_MOST_FIELDS]:
            value = mime.value(self._head, one)
            self._values.setdefault(one.name.decode("ascii", "replace"), []).append(value)

    def get(self, name: str) -> str:
        """The first value; empty when there is none."""
        found = self._values.get(name.lower())
        return found[0] if found else ""

    def all(self, name: str) -> list[str]:
        return self._values.get(name.lower(), [])

    def has(self, name: str) -> bool:
        return name.lower() in self._values

    def text(self, name: str) -> str:
        """The first value with encoded words decoded."""
        value = self.get(name)
        return decode_words(value[:2000]) if "=?" in value else value


@dataclass(slots=True)
class Mail:
    """A mail in pieces. Whatever belongs to a mail it encloses is in `returned` and nowhere else."""

    headers: Headers
    type: str
    parameters: Mapping[str, str]
    texts: list[str] = field(default_factory=list)
    #: contents of `message/delivery-status` and its like, decoded
    statuses: list[str] = field(default_factory=list)
    #: contents of `message/feedback-report`
    feedback: list[str] = field(default_factory=list)
    #: mails or header blocks it encloses, decoded
    returned: list[bytes] = field(default_factory=list)
    #: its parts by type, in order
    types: list[str] = field(default_factory=list)


def take_apart(raw: bytes) -> Mail:
    """The mail in pieces, or as many as the bounds let through. Never raises."""
    raw = raw[:MOST_OCTETS]
    raw = raw[mime.mailbox_line(raw) :]
    head, body = _split(raw)
    headers = Headers(head)
    kind, parameters = content_type(headers.get("content-type"))
    mail = Mail(headers, kind, parameters)
    for part in _walk(headers, kind, parameters, body, 0):
        if len(mail.types) == _MOST_PARTS:
            break
        mail.types.append(part.type)
        _sort(mail, part)
    return mail


def _sort(mail: Mail, part: Part) -> None:
    kind = part.type
    if kind in {"message/delivery-status", "message/global-delivery-status"}:
        mail.statuses.append(_decoded(part.content[:_MOST_TEXT], "utf-8").replace("\r\n", "\n"))
    elif kind == "message/feedback-report":
        mail.feedback.append(_decoded(part.content[:_MOST_TEXT], "utf-8").replace("\r\n", "\n"))
    elif kind in _RETURNED:
        mail.returned.append(part.content)
    elif kind.startswith("text/"):
        mail.texts.append(part.text())


_RETURNED = frozenset(
    [
        "message/rfc822",
        "text/rfc822-headers",
        "text/rfc822",
        "message/global",
        "message/global-headers",
        "message/rfc822-headers",
        "message/partial",
    ]
)


def _walk(
    headers: Headers, kind: str, parameters: Mapping[str, str], body: bytes, depth: int
) -> Iterator[Part]:
    boundary = parameters.get("boundary", "")
    if kind.startswith("multipart/") and boundary and depth < _MOST_DEPTH:
        digest = kind == "multipart/digest"
        for piece in _pieces(body, boundary.encode("latin-1", "replace")):
            head, content = _split(piece)
            inner = Headers(head)
            default = "message/rfc822" if digest else "text/plain"
            inner_kind, inner_parameters = content_type(inner.get("content-type"), default)
            yield from _walk(inner, inner_kind, inner_parameters, content, depth + 1)
        return
    yield Part(kind, parameters, headers, _transfer_decoded(body, headers.get("content-transfer-encoding")))


def _pieces(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """What stands between the lines with the boundary; an end that is missing is the end of the body."""
    mark = b"--" + boundary
    start = -1
    position = 0
    for _ in range(_MOST_PARTS + 1):
        found = _line_with(body, mark, position)
        if found < 0:
            break
        if start >= 0:
            yield body[start:found]
        end = body.find(b"\n", found)
        if end < 0 or body.startswith(b"--", found + len(mark)):
            return
        start = position = end + 1
    if start >= 0:
        yield body[start:]


def _line_with(body: bytes, mark: bytes, position: int) -> int:
    while True:
        found = body.find(mark, position)
        if found <= 0 or body[found - 1] == 0x0A:
            return found
        position = found + len(mark)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Header block and body. A part may begin with its blank line."""
    if data.startswith((b"\n", b"\r\n")):
        return b"", data[data.index(b"\n") + 1 :]
    end = mime.split_head(data)
    head = data[:end]
    if end < len(data) and data.startswith(b"\n", end):
        end += 1
    return head, data[end:]


def content_type(value: str, default: str = "text/plain") -> tuple[str, dict[str, str]]:
    """Type and parameters of a Content-Type field, in lower case but for the parameters' values."""
    kind, separator, rest = value[:4000].partition(";")
    kind = kind.strip().lower()
    if "/" not in kind:
        kind = default
    parameters: dict[str, str] = {}
    for name, given in _PARAMETER.findall(separator + rest):
        parameters.setdefault(name.lower().rstrip("*"), given.strip('"'))
    return kind, parameters


def _transfer_decoded(body: bytes, encoding: str) -> bytes:
    encoding = encoding.strip().lower()
    if encoding == "base64":
        clean = _BASE64.sub(b"", body)
        try:
            return base64.b64decode(clean[: len(clean) // 4 * 4])
        except binascii.Error:
            return body
    if encoding == "quoted-printable":
        return quopri.decodestring(body)
    return body


def _decoded(data: bytes, charset: str) -> str:
    charset = charset.strip().lower()
    try:
        return data.decode(charset if _CHARSET.match(charset) else "utf-8")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")


def _without_tags(text: str) -> str:
    text = _TAG.sub(lambda found: "\n" if found[0][1] in "bBpPdDtTlLhH" else " ", _DROPPED.sub(" ", text))
    for entity, meaning in _ENTITIES.items():
        text = text.replace(entity, meaning)
    return text


def blocks(status: str) -> list[dict[str, str]]:
    """Groups of fields with blank lines between, names in lower case: the mail's, then one for each recipient.

    Folding that was forgotten, blank lines where none belong and lines that are no fields are all forgiven.
    """
    found: list[dict[str, str]] = []
    for block in _BLANK.split(status.strip("\n"))[:_MOST_BLOCKS]:
        fields = _fields(block)
        if fields:
            found.append(fields)
    return found


def _fields(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    last = ""
    for line in block.split("\n")[:_MOST_FIELDS]:
        named = _FIELD_LINE.match(line) if not line.startswith((" ", "\t")) else None
        if named:
            last = named[1].lower()
            if last in fields:
                # Two values of one field are two thoughts; the first is the field's.
                last = ""
            else:
                fields[last] = named[2].strip()
        elif last and line.strip():
            fields[last] = f"{fields[last]} {line.strip()}"[:4000]
    return fields


def recipients(groups: list[dict[str, str]]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The fields about the mail, and those about each recipient.

    A group belongs to a recipient when it says what became of one; where Final-Recipient opens a group that lacks
    its blank line, the whole of it does.
    """
    about: dict[str, str] = {}
    found: list[dict[str, str]] = []
    for group in groups:
        if group.keys() & {"final-recipient", "action"} or (found and "status" in group):
            if found and not (_names_recipient(group) and _names_recipient(found[-1])):
                # A blank line too many: the second half of what came before.
                found[-1] = {**group, **found[-1]}
            else:
                found.append(group)
        elif found:
            found[-1] = {**group, **found[-1]}
        else:
            about = {**group, **about}
    return about, found


def _names_recipient(group: dict[str, str]) -> bool:
    return not group.keys().isdisjoint({"final-recipient", "original-recipient"})


def typed(value: str) -> str:
    """The value of a field with a type in front, such as `rfc822; user@example.org` or `dns; mx.example.org`."""
    kind, separator, rest = value.partition(";")
    return (rest if separator and len(kind) < 30 else value).strip().strip("<>").strip()
