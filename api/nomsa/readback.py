"""The contract's `params` for mail that did not come by REST: read from the stored mail when somebody asks."""

import email
from email.message import Message

from api.nomsa import wire
from relay.core import mime
from relay.core.address import InvalidAddress, parse_mailboxes
from relay.store.messages import Content


def params(content: Content, *, from_: str, subject: str) -> dict[str, str]:
    """What the client gave, or what the mail itself says.

    The mail is a stranger's: whatever cannot be read is empty, and nothing is raised.
    """
    if content.params is not None:
        return content.params
    head = content.opening[: mime.split_head(content.opening)]
    return wire.params(body=_text(content.opening), from_=from_, subject=subject, reply_to=_reply_to(head))


def _reply_to(head: bytes) -> str | None:
    written = mime.values(head, mime.scan(head), b"reply-to")
    if not written:
        return None
    try:
        boxes = parse_mailboxes(written[0])
    except InvalidAddress:
        return None
    return boxes[0].address if boxes else None


def _text(mail: bytes) -> str:
    """The HTML of a mail, else its plain text; the first of its kind that is not an attachment."""
    try:
        plain: Message | None = None
        for part in email.message_from_bytes(mail).walk():
            if part.is_multipart() or part.get_content_disposition() == "attachment":
                continue
            if part.get_content_subtype() == "html" and part.get_content_maintype() == "text":
                return _decoded(part)
            if plain is None and part.get_content_type() == "text/plain":
                plain = part
        return "" if plain is None else _decoded(plain)
    # The parser of the standard library has a long list of ways to fail, deep nesting among them.
    except Exception:
        return ""


def _decoded(part: Message) -> str:
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    try:
        return data.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        return data.decode("utf-8", "replace")
