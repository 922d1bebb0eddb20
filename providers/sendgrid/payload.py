"""A mail as SendGrid's. https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send#request-body"""

import base64
from typing import Any

from providers.api import ascii_domain
from providers.written import named
from relay.core.address import Mailbox
from relay.core.parts import Parts, Unsayable
from relay.core.provider import Outgoing

_RESERVED = frozenset({"x-sg-id", "x-sg-eid", "received", "dkim-signature"})


def message(mail: Outgoing, parts: Parts, *, sandbox: bool) -> dict[str, Any]:
    """One personalization with one recipient. Raises `Unsayable`."""
    recipient = mail.recipients[0].address
    content = []
    if parts.text is not None:
        content.append({"type": "text/plain", "value": parts.text})
    if parts.html is not None:
        content.append({"type": "text/html", "value": parts.html})
    content += [{"type": kind, "value": text} for kind, text in parts.alternatives]
    if any(not one["value"] for one in content):
        raise Unsayable("a text of the mail is empty, which this provider does not take")
    if not parts.subject:
        raise Unsayable("the mail has no subject, which this provider insists on")
    said: dict[str, Any] = {
        "personalizations": [
            {
                "to": [named(Mailbox(parts.name_of(recipient), ascii_domain(recipient)))],
                "custom_args": {"pillarbox": mail.token},
            }
        ],
        "from": named(parts.from_),
        "subject": parts.subject,
        "content": content,
    }
    if len(parts.reply_to) == 1:
        said["reply_to"] = named(parts.reply_to[0])
    elif parts.reply_to:
        said["reply_to_list"] = [named(box) for box in parts.reply_to]
    headers = parts.header_map()
    for name in headers:
        if name.lower() in _RESERVED:
            raise Unsayable(f"the header field {name} is reserved at this provider")
    if headers:
        said["headers"] = headers
    if mail.tag:
        said["categories"] = [mail.tag]
    if parts.attachments:
        said["attachments"] = [
            {
                "content": base64.b64encode(one.content).decode(),
                "type": one.type,
                "filename": one.name,
                "disposition": "inline" if one.inline else "attachment",
                **({"content_id": one.cid} if one.inline else {}),
            }
            for one in parts.attachments
        ]
    if sandbox:
        said["mail_settings"] = {"sandbox_mode": {"enable": True}}
    return said
