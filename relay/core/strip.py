"""A mail without its files: what is text to a reader stays, a note stands where anything else was.

For mail that has been sent, as its bytes are not those that were signed any more. What cannot be taken apart counts
as a file: that it might be one is reason enough to let it go.
"""

import hashlib
import mimetypes
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from relay.core import filename, mime
from relay.core.parts import Entity, Unsayable

_DEPTH = 20
#: fields that are about a file, and not about the mail that it is
_OF_FILES = frozenset(
    b"content-type content-disposition content-transfer-encoding content-id content-description "
    b"content-location content-md5 content-language".split()
)


@dataclass(slots=True)
class Stripped:
    """The mail as it is kept from here on, and what is not in it any more."""

    mail: bytes = b""
    #: as REST clients are told of their own files: `hash` (MD5), `fileName`, `fileSize` in octets
    files: list[dict[str, Any]] = field(default_factory=list)


def strip(raw: bytes, on: date) -> Stripped | None:
    """The mail without files, of which the notes say that they went on that day; None where it has none."""
    cut = mime.split_head(raw)
    whole = Entity(raw[:cut], raw[cut:])
    found = Stripped()
    work = _Stripper(found, on)
    if whole.message.get_content_maintype() == "text" and whole.disposition != "attachment":
        return None
    body = work.multipart(whole, 0) if _is_multipart(whole) else None
    if body is None:
        # The mail is a file itself, as scanners send them.
        head = mime.without(whole.head, mime.scan(whole.head), _OF_FILES)
        found.mail = (head[:-2] if head.endswith(b"\r\n\r\n") else head) + work.note(whole)
    else:
        found.mail = whole.head + body
    return found if found.files else None


def _is_multipart(entity: Entity) -> bool:
    return entity.message.get_content_maintype() == "multipart" and entity.type != "text/plain"


class _Stripper:
    def __init__(self, found: Stripped, on: date) -> None:
        self._found = found
        self._on = on

    def multipart(self, entity: Entity, depth: int) -> bytes | None:
        """The body of a multipart with what stays of its parts; None where it cannot be taken apart."""
        files = len(self._found.files)
        try:
            spans = list(entity.spans())
        except Unsayable:
            return None
        if depth > _DEPTH or not spans:
            return None
        parts = [
            self._part(entity.body[start:end], entity.type, depth + 1)
            for start, end in (spans[:1] if entity.type == "multipart/signed" else spans)
        ]
        if entity.type == "multipart/signed":
            # A signature is of use for as long as what it signs is there.
            parts += [
                entity.body[start:end]
                if len(self._found.files) == files
                else self._part(entity.body[start:end], entity.type, depth + 1)
                for start, end in spans[1:]
            ]
        if len(self._found.files) == files:
            return entity.body
        mark = b"--" + str(entity.message.get_boundary()).encode("utf-8", "surrogateescape")
        return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"

    def _part(self, data: bytes, within: str, depth: int) -> bytes:
        cut = mime.split_head(data)
        default = "message/rfc822" if within == "multipart/digest" else "text/plain"
        part = Entity(data[:cut], data[cut:], default)
        if _is_multipart(part):
            body = self.multipart(part, depth)
            return self.note(part) if body is None else part.head + body
        if part.type.startswith("text/") and part.disposition != "attachment" and not part.name:
            return data
        return self.note(part)

    def note(self, file: Entity) -> bytes:
        """What stands where a file was: a part of its own, with its header fields."""
        try:
            content = file.content()
        except Unsayable:
            content = file.body
        number = len(self._found.files) + 1
        name = filename.safe(
            file.name or f"part-{number}{mimetypes.guess_extension(file.type) or '.bin'}", number
        )
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self._found.files.append({"hash": digest, "fileName": name, "fileSize": len(content)})
        text = (
            f"{name} ({file.type}, {len(content)} octets) was deleted on {self._on}, as it was kept for "
            "long enough.\n"
        )
        field = b"Content-Disposition: attachment" + filename.parameter("filename", f"{name}.txt") + b"\r\n"
        return mime.text_part(text, "plain", field)
