"""A mail as Azure's. https://learn.microsoft.com/en-us/rest/api/communication/email/email/send#emailmessage"""

import base64
from typing import Any

import orjson

from providers.api import ascii_domain
from relay.core.address import Mailbox
from relay.core.parts import Parts, Unsayable
from relay.core.provider import Outgoing


def message(mail: Outgoing, parts: Parts) -> bytes:
    """One recipient. Raises `Unsayable`."""
    if not parts.subject:
        raise Unsayable("the mail has no subject, which this provider insists on")
    recipient = mail.recipients[0].address
    content = {"subject": parts.subject}
    if parts.text is not None:
        content["plainText"] = parts.text
    if parts.html is not None:
        content["html"] = parts.html
    said: dict[str, Any] = {
        # The display name of the sender is set at Azure, with the address.
        "senderAddress": parts.from_.address,
        "content": content,
        "recipients": {"to": [_box(Mailbox(parts.name_of(recipient), ascii_domain(recipient)))]},
        "userEngagementTrackingDisabled": True,
    }
    if parts.reply_to:
        said["replyTo"] = [_box(box) for box in parts.reply_to]
    if headers := parts.header_map():
        said["headers"] = headers
    if parts.attachments:
        said["attachments"] = [
            {
                "name": one.name,
                "contentType": one.type,
                "contentInBase64": base64.b64encode(one.content).decode(),
                **({"contentId": one.cid} if one.inline else {}),
            }
            for one in parts.attachments
        ]
    return orjson.dumps(said)


def _box(box: Mailbox) -> dict[str, str]:
    return {"address": box.address, "displayName": box.name} if box.name else {"address": box.address}
