"""A mail taken apart, for providers that want text, HTML and files instead of bytes.

Nothing of the content is lost: text after the body, mails within the mail and nameless parts become attachments.
What parts cannot say (signatures over bytes, encryption, reports) raises `Unsayable`. Left out on purpose: trace
fields and signatures of others over the header, which a provider replaces by its own, and Date.
"""

import binascii
import mimetypes
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.utils import collapse_rfc2231_value

from relay.core import mime
from relay.core.address import InvalidAddress, Mailbox, decode_words, parse_mailboxes

_DEPTH = 20
_PARTS = 1_000

_NOT_SAYABLE = {
    "multipart/signed": "the mail is signed, which does not survive being taken apart",
    "multipart/encrypted": "the mail is encrypted and cannot be taken apart",
    "multipart/report": "the mail is a report",
    "multipart/digest": "the mail is a digest",
    "application/pkcs7-mime": "the mail is signed or encrypted by S/MIME",
    "application/x-pkcs7-mime": "the mail is signed or encrypted by S/MIME",
    "message/partial": "the mail is a fragment",
    "message/external-body": "the mail refers to a body elsewhere",
}

#: fields that say how the mail is built, where it has been, or that have a place of their own in `Parts`
_STRUCTURE = frozenset(
    b"from to cc bcc subject reply-to date message-id mime-version received return-path delivered-to x-original-to "
    b"dkim-signature authentication-results arc-seal arc-message-signature arc-authentication-results "
    b"received-spf domainkey-signature".split()
)


class Unsayable(ValueError):
    """The mail cannot be said in parts, or not to this provider; the text says why."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with the mail. `content` is decoded; `type` is bare, `parameters` what followed it."""

    name: str
    type: str
    content: bytes = field(repr=False)
    cid: str | None = None  #: without angle brackets; how the HTML refers to it (RFC 2392)
    inline: bool = False
    parameters: str = ""  #: such as `charset=utf-8; method=REQUEST`, less any name

    @property
    def full_type(self) -> str:
        return f"{self.type}; {self.parameters}" if self.parameters else self.type


@dataclass(frozen=True, slots=True)
class Parts:
    """The mail in words of its own. Texts have LF line ends; header values are unfolded and decoded."""

    from_: Mailbox
    subject: str
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    text: str | None = None
    html: str | None = None
    #: further alternatives to the body, as content type and text, such as a calendar's invitation
    alternatives: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    message_id: str | None = None  #: with its angle brackets

    def name_of(self, address: str) -> str:
        """The display name that the header fields give a recipient; empty when they name it nowhere."""
        for box in (*self.to, *self.cc):
            if box.name and box.address.lower() == address.lower():
                return box.name
        return ""

    def header_map(self) -> dict[str, str]:
        """The headers for a provider that takes a map; raises `Unsayable` for a field that occurs twice."""
        seen: dict[str, str] = {}
        for name, text in self.headers:
            if name.lower() in {known.lower() for known in seen}:
                raise Unsayable(f"the header field {name} occurs more than once")
            seen[name] = text
        return seen


def take_apart(raw: bytes) -> Parts:
    """The parts of a mail; raises `Unsayable`."""
    cut = mime.split_head(raw)
    head = raw[:cut]
    fields = mime.scan(head)
    found = _Found()
    found.walk(Entity(head, raw[cut:]), frozenset({"text", "html"}), depth=0)
    authors = _boxes(head, fields, b"from", strict=True)
    if len(authors) != 1:
        raise Unsayable("the mail has no From field" if not authors else "the mail has several authors")
    others = tuple(
        (head[f.start : f.colon].decode("ascii").strip(), _clean(decode_words(mime.value(head, f))))
        for f in fields
        if f.name not in _STRUCTURE and not f.name.startswith(b"content-")
    )
    return Parts(
        from_=authors[0],
        subject=_clean(mime.text_value(head, fields, b"subject")),
        to=_boxes(head, fields, b"to"),
        cc=_boxes(head, fields, b"cc"),
        reply_to=_boxes(head, fields, b"reply-to", strict=True),
        text=found.text,
        html=found.html,
        alternatives=tuple(found.alternatives),
        attachments=tuple(found.attachments),
        headers=others,
        message_id=_clean(mime.text_value(head, fields, b"message-id")) or None,
    )


_CONTROL = re.compile(r"[\x00-\x08\n-\x1f\x7f]+")


def _clean(text: str) -> str:
    """Without control characters: an encoded word may hide a line end, which would open a header at the vendor."""
    return _CONTROL.sub(" ", text)


def _boxes(
    head: bytes, fields: list[mime.Field], name: bytes, *, strict: bool = False
) -> tuple[Mailbox, ...]:
    """The mailboxes of a field. Recipients' fields only lend names here, so a malformed one may be passed over."""
    boxes: list[Mailbox] = []
    for text in mime.values(head, fields, name):
        try:
            boxes += (Mailbox(_clean(box.name), box.address) for box in parse_mailboxes(text))
        except InvalidAddress as error:
            if strict:
                raise Unsayable(f"the {name.decode().title()} field cannot be read: {error}") from None
    return tuple(boxes)


class Entity:
    """One MIME entity: its header block and its body, still encoded."""

    __slots__ = ("body", "disposition", "head", "message", "type")

    def __init__(self, head: bytes, body: bytes, default: str = "text/plain") -> None:
        self.head = head
        self.body = body
        self.message = Message()
        fields = mime.scan(head)
        for name in (b"content-type", b"content-disposition", b"content-transfer-encoding", b"content-id"):
            given = mime.values(head, fields, name)
            if given:
                self.message[name.decode()] = given[0]
        self.type = self.message.get_content_type() if "content-type" in self.message else default
        self.disposition = (self.message.get_content_disposition() or "").lower()

    @property
    def name(self) -> str | None:
        given = self.message.get_filename()
        return _clean(decode_words(given)) if given else None

    @property
    def cid(self) -> str | None:
        return str(self.message["content-id"] or "").strip().strip("<>") or None

    @property
    def parameters(self) -> str:
        given = self.message.get_params(header="content-type") or []
        kept = [
            f"{key}={collapse_rfc2231_value(value)}"
            for key, value in given[1:]
            if key.lower() not in {"name", "boundary"}
        ]
        return "; ".join(kept)

    def content(self) -> bytes:
        encoding = str(self.message["content-transfer-encoding"] or "7bit").strip().lower()
        if encoding == "base64":
            return _base64(self.body)
        if encoding == "quoted-printable":
            return quopri.decodestring(self.body)
        if encoding in {"7bit", "8bit", "binary", ""}:
            return self.body
        raise Unsayable(f"a part has the unknown transfer encoding {encoding[:40]!r}")

    def text(self) -> str:
        data = self.content()
        charset = self.message.get_content_charset() or "utf-8"
        for name in (charset, "utf-8"):
            try:
                decoded = data.decode(name)
            except (LookupError, UnicodeDecodeError):
                continue
            return decoded.replace("\r\n", "\n")
        # Every octet is a character of Latin-1, so what arrives may look wrong but is all there.
        return data.decode("latin-1").replace("\r\n", "\n")

    def children(self) -> Iterator["Entity"]:
        for start, end in self.spans():
            yield _entity(self.body[start:end])

    def spans(self) -> Iterator[tuple[int, int]]:
        """Where in the body each part of a multipart begins and ends, less the line ends of the delimiters."""
        boundary = self.message.get_boundary()
        if not boundary:
            raise Unsayable("a multipart has no boundary")
        mark = re.compile(
            rb"(?:\A|\r\n)--"
            + re.escape(boundary.encode("utf-8", "surrogateescape"))
            + rb"(--)?[ \t]*(?=\r\n|\Z)"
        )
        start = -1
        for count, found in enumerate(mark.finditer(self.body)):
            if count > _PARTS:
                raise Unsayable("the mail has too many parts")
            if start >= 0:
                yield min(start, found.start()), found.start()
            start = found.end() + 2
            if found[1]:
                return
        if start < 0:
            return
        # Without its closing line the last part goes to the end (RFC 2046 5.1.2 wants one; readers go on).
        end = len(self.body) - 2 * self.body.endswith(b"\r\n", start)
        yield min(start, end), end


def _entity(data: bytes) -> Entity:
    cut = mime.split_head(data)
    return Entity(data[:cut], data[cut:])


_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


def _base64(data: bytes) -> bytes:
    """Tolerant of what stands between the characters, and of missing padding (RFC 2045 6.8)."""
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        clean = _NOT_BASE64.sub(b"", data)
    try:
        return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))
    except binascii.Error:
        raise Unsayable("a part's base64 is cut short") from None


@dataclass(slots=True)
class _Found:
    text: str | None = None
    html: str | None = None
    alternatives: list[tuple[str, str]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    count: int = 0

    def walk(
        self, entity: Entity, free: frozenset[str], *, depth: int, among: bool = False, related: bool = False
    ) -> frozenset[str]:
        """Sort an entity in; returns which of the `free` places (text, html) of the body it took.

        `among` is true within a multipart/alternative, `related` for what an HTML body refers to.
        """
        self.count += 1
        if depth > _DEPTH or self.count > _PARTS:
            raise Unsayable("the mail has too many parts")
        if entity.type in _NOT_SAYABLE:
            raise Unsayable(_NOT_SAYABLE[entity.type])
        if entity.message.get_content_maintype() == "multipart" and entity.type != "text/plain":
            return self._multipart(entity, free, depth=depth, related=related)
        slot = {"text/plain": "text", "text/html": "html"}.get(entity.type)
        plainly_body = entity.disposition != "attachment" and not entity.name
        if slot in free and plainly_body and not related:
            setattr(self, slot, entity.text())
            return frozenset({slot})
        if among and plainly_body and entity.type.startswith("text/") and slot is None:
            parameters = [
                p for p in entity.parameters.split("; ") if p and not p.lower().startswith("charset=")
            ]
            self.alternatives.append(("; ".join([entity.type, *parameters]), entity.text()))
            return frozenset()
        self._attach(entity, related=related)
        return frozenset()

    def _multipart(
        self, entity: Entity, free: frozenset[str], *, depth: int, related: bool
    ) -> frozenset[str]:
        taken: frozenset[str] = frozenset()
        children = list(entity.children())
        if not children:
            raise Unsayable("a multipart has no parts")
        if entity.type == "multipart/alternative":
            for child in children:
                taken |= self.walk(child, free - taken, depth=depth + 1, among=True, related=related)
            return taken
        if entity.type == "multipart/related":
            start = str(entity.message.get_param("start") or "").strip("<>")
            root = next((child for child in children if start and child.cid == start), children[0])
            taken = self.walk(root, free, depth=depth + 1, related=related)
            for child in children:
                if child is not root:
                    self.walk(child, frozenset(), depth=depth + 1, related=True)
            return taken
        for child in children:
            # Only the first text of a sequence is the body: to call the next its alternative would hide it.
            taken |= self.walk(child, frozenset() if taken else free, depth=depth + 1, related=related)
        return taken

    def _attach(self, entity: Entity, *, related: bool) -> None:
        name = entity.name
        if not name:
            ending = (
                {"message/rfc822": ".eml"}.get(entity.type)
                or mimetypes.guess_extension(entity.type)
                or ".bin"
            )
            name = f"part-{len(self.attachments) + 1}{ending}"
        inline = entity.cid is not None and (related or entity.disposition == "inline")
        self.attachments.append(
            Attachment(name, entity.type, entity.content(), entity.cid, inline, entity.parameters)
        )
