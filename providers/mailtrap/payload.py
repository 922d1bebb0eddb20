"""A mail as Mailtrap's. https://api-docs.mailtrap.io/docs/mailtrap-api-docs/67f1d70aeb62c-send-email"""

import base64
from typing import Any

from providers.api import ascii_domain
from providers.written import named
from relay.core.address import Mailbox
from relay.core.parts import Parts
from relay.core.provider import Outgoing


def message(mail: Outgoing, parts: Parts) -> dict[str, Any]:
    """One recipient. Raises `Unsayable`."""
    recipient = mail.recipients[0].address
    said: dict[str, Any] = {
        "from": named(parts.from_),
        "to": [named(Mailbox(parts.name_of(recipient), ascii_domain(recipient)))],
        "subject": parts.subject,
        "custom_variables": {"pillarbox": mail.token},
    }
    if parts.text is not None:
        said["text"] = parts.text
    if parts.html is not None:
        said["html"] = parts.html
    if parts.reply_to:
        said["reply_to"] = named(parts.reply_to[0])
    if headers := parts.header_map():
        said["headers"] = headers
    if mail.tag:
        said["category"] = mail.tag[:255]
    if parts.attachments:
        said["attachments"] = [
            {
                "content": base64.b64encode(one.content).decode(),
                "filename": one.name,
                "type": one.type,
                "disposition": "inline" if one.inline else "attachment",
                **({"content_id": one.cid} if one.inline else {}),
            }
            for one in parts.attachments
        ]
    return said
