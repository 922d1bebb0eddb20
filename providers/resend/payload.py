"""A mail as Resend's. https://resend.com/docs/api-reference/emails/send-email"""

import base64
import mimetypes
import re
from typing import Any

from providers.api import ascii_domain
from providers.written import written
from relay.core.address import Mailbox
from relay.core.parts import Attachment, Parts
from relay.core.provider import Outgoing

_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_-]")


def message(mail: Outgoing, parts: Parts) -> dict[str, Any]:
    """One recipient, because events do not say which of several they are about. Raises `Unsayable`."""
    recipient = mail.recipients[0].address
    # Tags take letters, digits, _ and - only; our token has a dot.
    tags = [{"name": "pillarbox", "value": mail.token.replace(".", "-")}]
    if mail.tag:
        tags.append({"name": "tag", "value": _NOT_IN_TAGS.sub("_", mail.tag)[:256]})
    said: dict[str, Any] = {
        "from": written(parts.from_),
        "to": [written(Mailbox(parts.name_of(recipient), ascii_domain(recipient)))],
        "subject": parts.subject,
        "tags": tags,
    }
    if parts.text is not None:
        said["text"] = parts.text
    if parts.html is not None:
        said["html"] = parts.html
    if parts.reply_to:
        said["reply_to"] = [written(box) for box in parts.reply_to]
    if headers := parts.header_map():
        said["headers"] = headers
    if parts.attachments:
        said["attachments"] = [_attachment(one) for one in parts.attachments]
    return said


def _attachment(one: Attachment) -> dict[str, str]:
    said = {"filename": one.name, "content": base64.b64encode(one.content).decode()}
    # A file whose ending disagrees with its type is dropped without a word; without a type the ending decides.
    if mimetypes.guess_type(one.name)[0] in {one.type, None}:
        said["content_type"] = one.type
    if one.inline and one.cid:
        said["content_id"] = one.cid
    return said
