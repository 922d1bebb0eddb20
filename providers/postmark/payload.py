"""A mail as Postmark's message object. https://postmarkapp.com/developer/api/email-api"""

import base64
from typing import Any

from providers.api import ascii_domain
from providers.written import written
from relay.core.address import Mailbox
from relay.core.parts import Parts, Unsayable
from relay.core.provider import Outgoing

# https://postmarkapp.com/support/article/1056-what-are-the-attachment-and-email-size-limits
_LARGEST_BODY = 5_000_000


def message(mail: Outgoing, parts: Parts, stream: str) -> dict[str, Any]:
    """One recipient each, so that every event names whom it is about. Raises `Unsayable`."""
    recipient = mail.recipients[0].address
    for body in (parts.text, parts.html):
        if body is not None and len(body.encode()) > _LARGEST_BODY:
            raise Unsayable("the text or HTML is larger than the 5 MB this provider takes")
    said: dict[str, Any] = {
        "From": written(parts.from_),
        "To": written(Mailbox(parts.name_of(recipient), ascii_domain(recipient))),
        "Subject": parts.subject,
        "MessageStream": stream,
        "Metadata": {"pillarbox": mail.token},
    }
    if parts.text is not None:
        said["TextBody"] = parts.text
    if parts.html is not None:
        said["HtmlBody"] = parts.html
    if parts.reply_to:
        said["ReplyTo"] = ", ".join(written(box) for box in parts.reply_to)
    if mail.tag:
        said["Tag"] = mail.tag
    headers = [{"Name": name, "Value": value} for name, value in parts.headers]
    if parts.message_id:
        # Without X-PM-KeepID the Message-ID is Postmark's own.
        headers += [
            {"Name": "Message-ID", "Value": parts.message_id},
            {"Name": "X-PM-KeepID", "Value": "true"},
        ]
    if headers:
        said["Headers"] = headers
    if parts.attachments:
        said["Attachments"] = [
            {
                "Name": one.name,
                "Content": base64.b64encode(one.content).decode(),
                "ContentType": one.full_type,
                **({"ContentID": f"cid:{one.cid}"} if one.inline else {}),
            }
            for one in parts.attachments
        ]
    return said
