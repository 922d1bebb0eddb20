"""A mail as Mailjet's. https://dev.mailjet.com/email/reference/send-emails#v3_1_post_send"""

import base64
from typing import Any

from providers.api import ascii_domain
from relay.core.address import Mailbox
from relay.core.parts import Attachment, Parts, Unsayable
from relay.core.provider import Outgoing


def message(mail: Outgoing, parts: Parts) -> dict[str, Any]:
    """One recipient. Raises `Unsayable`."""
    recipient = mail.recipients[0].address
    if len(parts.subject) > 255:
        raise Unsayable("the subject is longer than the 255 characters this provider takes")
    said: dict[str, Any] = {
        "From": _box(parts.from_),
        "To": [_box(Mailbox(parts.name_of(recipient), ascii_domain(recipient)))],
        "Subject": parts.subject,
        "CustomID": mail.token,
    }
    if parts.text is not None:
        said["TextPart"] = parts.text
    if parts.html is not None:
        said["HTMLPart"] = parts.html
    if parts.reply_to:
        said["ReplyTo"] = _box(parts.reply_to[0])
    if headers := parts.header_map():
        said["Headers"] = headers
    if mail.tag:
        said["CustomCampaign"] = mail.tag
    files = [_file(one) for one in parts.attachments if not one.inline]
    images = [{**_file(one), "ContentID": one.cid} for one in parts.attachments if one.inline]
    if files:
        said["Attachments"] = files
    if images:
        said["InlinedAttachments"] = images
    return said


def _box(box: Mailbox) -> dict[str, str]:
    return {"Email": box.address, "Name": box.name} if box.name else {"Email": box.address}


def _file(one: Attachment) -> dict[str, Any]:
    return {
        "ContentType": one.type,
        "Filename": one.name,
        "Base64Content": base64.b64encode(one.content).decode(),
    }
