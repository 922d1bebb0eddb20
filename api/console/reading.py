"""A stored mail as a page shows it: header fields, texts, the HTML with its own pictures, and what is attached.

Nothing of it is trusted. The HTML is shown in a frame without scripts, forms or any way to the network.
"""

import base64
import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message

from relay.core import mime
from relay.core.address import decode_words
from relay.core.filename import safe

#: octets of pictures that are shown in the HTML they belong to
_MAX_PICTURES = 4 * 1024 * 1024
#: characters of a text that a page shows
MAX_TEXT = 400_000
_PARTS = 500
_CID = re.compile(r"cid:([^\s\"'<>)]{1,250})", re.IGNORECASE)
_REMOTE = re.compile(
    r"""(?:src|background|srcset)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?\s*(?:https?:)?//""",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class File:
    number: int
    name: str
    type: str
    size: int
    inline: bool


@dataclass(slots=True)
class Reading:
    headers: list[tuple[str, str]] = field(default_factory=list)
    text: str | None = None
    html: str | None = None
    files: list[File] = field(default_factory=list)
    remote: int = 0  #: references to what lies elsewhere, which are not followed


def headers(raw: bytes) -> list[tuple[str, str]]:
    """Every header field in order, decoded, as text."""
    head = raw[: mime.split_head(raw)]
    return [
        (head[one.start : one.colon].decode("ascii", "replace").strip(), decode_words(mime.value(head, one)))
        for one in mime.scan(head)
    ]


def read(raw: bytes) -> Reading:
    """What is in a mail. A part that cannot be decoded is listed and not shown."""
    found = Reading(headers(raw))
    pictures: dict[str, str] = {}
    room = _MAX_PICTURES
    for number, part in enumerate(_leaves(raw)):
        content = _content(part)
        kind = part.get_content_type()
        cid = str(part.get("content-id", "")).strip(" <>\t")
        attached = part.get_content_disposition() == "attachment" or bool(part.get_filename())
        if not attached and kind == "text/plain" and found.text is None:
            found.text = _text(part, content)
        elif not attached and kind == "text/html" and found.html is None:
            found.html = _text(part, content)
        else:
            found.files.append(File(number, name(part, number), kind, len(content), bool(cid)))
        if cid and kind in {"image/png", "image/jpeg", "image/gif", "image/webp"} and len(content) <= room:
            room -= len(content)
            pictures[cid] = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    if found.html is not None:
        found.remote = len(_REMOTE.findall(found.html))
        found.html = _CID.sub(lambda match: pictures.get(match[1], match[0]), found.html)
    return found


def file(raw: bytes, number: int) -> tuple[str, str, bytes] | None:
    """An attachment by its place: its name, its type and its content."""
    for place, part in enumerate(_leaves(raw)):
        if place == number:
            return name(part, number), part.get_content_type(), _content(part)
    return None


def name(part: Message, number: int) -> str:
    """What a file is called, fit for any disk."""
    try:
        written = str(part.get_filename() or "")
    except (LookupError, ValueError, TypeError):
        written = ""
    return safe(decode_words(written), number + 1)


def _leaves(raw: bytes) -> Iterator[Message]:
    message = email.message_from_bytes(raw, policy=email.policy.compat32)
    count = 0
    waiting = [message]
    while waiting and count < _PARTS:
        part = waiting.pop()
        inner = part.get_payload()
        if isinstance(inner, list) and part.get_content_maintype() == "multipart":
            waiting += [one for one in reversed(inner) if isinstance(one, Message)]
            continue
        count += 1
        yield part


def _content(part: Message) -> bytes:
    if part.is_multipart():
        inner = part.get_payload(0)
        return inner.as_bytes() if isinstance(inner, Message) else b""
    try:
        decoded = part.get_payload(decode=True)
    except (ValueError, TypeError):
        return b""
    return decoded if isinstance(decoded, bytes) else b""


def _text(part: Message, content: bytes) -> str:
    try:
        text = content.decode(str(part.get_content_charset("utf-8")), "replace")
    except LookupError:
        text = content.decode("utf-8", "replace")
    return text[:MAX_TEXT]
