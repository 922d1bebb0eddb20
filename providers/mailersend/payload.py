"""A mail as MailerSend's. https://developers.mailersend.com/api/v1/email.html#request-parameters"""

import base64
from typing import Any

from providers.api import ascii_domain
from providers.written import named
from relay.core.address import Mailbox
from relay.core.parts import Parts
from relay.core.provider import Outgoing

#: fields that have a place of their own
_NAMED = frozenset({"in-reply-to", "references"})


def unnamed(parts: Parts) -> list[tuple[str, str]]:
    """The header fields that only a plan with custom headers can say."""
    bulk = [("precedence", "bulk")]
    return [
        pair
        for pair in parts.headers
        if pair[0].lower() not in _NAMED and (pair[0].lower(), pair[1].lower()) not in bulk
    ]


def message(mail: Outgoing, parts: Parts, *, headers: bool) -> dict[str, Any]:
    """One recipient; tags are all that MailerSend gives back in events. Raises `Unsayable`."""
    recipient = mail.recipients[0].address
    said: dict[str, Any] = {
        "from": named(parts.from_),
        "to": [named(Mailbox(parts.name_of(recipient), ascii_domain(recipient)))],
        "subject": parts.subject,
        "tags": [f"pillarbox:{mail.token}", *([mail.tag] if mail.tag else [])],
    }
    if parts.text is not None:
        said["text"] = parts.text
    if parts.html is not None:
        said["html"] = parts.html
    if parts.reply_to:
        said["reply_to"] = named(parts.reply_to[0])
    own = {name.lower(): text for name, text in parts.header_map().items()}
    if "in-reply-to" in own:
        said["in_reply_to"] = own["in-reply-to"]
    if "references" in own:
        said["references"] = own["references"].split()
    if own.get("precedence", "").lower() == "bulk":
        said["precedence_bulk"] = True
    others = unnamed(parts)
    if headers and others:
        said["headers"] = [{"name": name, "value": text} for name, text in others]
    if parts.attachments:
        said["attachments"] = [
            {
                "content": base64.b64encode(one.content).decode(),
                "filename": one.name,
                "disposition": "inline" if one.inline else "attachment",
                **({"id": one.cid} if one.inline else {}),
            }
            for one in parts.attachments
        ]
    return said
