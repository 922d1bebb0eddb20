"""A mail as Brevo's. https://developers.brevo.com/reference/sendtransacemail"""

import base64
import re
import uuid
from typing import Any

from providers.api import ascii_domain
from providers.written import named
from relay.core.address import Mailbox
from relay.core.parts import Parts, Unsayable
from relay.core.provider import Outgoing

#: makes our keys differ from everybody else's
_NAMESPACE = uuid.UUID("0b5f4f1e-5a0c-5d52-9d0f-6c1f9f4a7e35")
# https://help.brevo.com/hc/en-us/articles/360000991960
_ENDINGS = re.compile(
    r"\.(?:xlsx?|xlsm|ods|doc[xm]?|csv|pdf|txt|gif|jpe?g|png|tiff?|rtf|bmp|cgm|css|s?html|htm|zip|xml|pptx?|tar|ez"
    r"|ics|mobi|msg|pub|eps|odt|mp3|m4[av]|wma|ogg|flac|wav|aif[cf]?|mp4|mov|avi|mkv|mpe?g|wmv|pkpass)\Z",
    re.IGNORECASE,
)


def allowed(parts: Parts) -> None:
    """Raises `Unsayable` for headers and files that Brevo does not take."""
    for name, text in parts.headers:
        if not text.isascii():
            raise Unsayable(f"the header field {name} has characters beyond ASCII")
    for one in parts.attachments:
        if not _ENDINGS.search(one.name):
            raise Unsayable(f"an attachment's name does not end in a way this provider takes: {one.name}")


def message(mail: Outgoing, parts: Parts, *, sandbox: bool) -> dict[str, Any]:
    """One recipient. Raises `Unsayable`."""
    recipient = mail.recipients[0].address
    # Brevo wants a UUID for it.
    key = str(uuid.uuid5(_NAMESPACE, mail.idempotency_key))
    headers = {**parts.header_map(), "X-Mailin-custom": mail.token, "idempotencyKey": key}
    if sandbox:
        headers["X-Sib-Sandbox"] = "drop"
    said: dict[str, Any] = {
        "sender": named(parts.from_),
        "to": [named(Mailbox(parts.name_of(recipient), ascii_domain(recipient)))],
        "subject": parts.subject,
        "htmlContent": parts.html,
        "headers": headers,
    }
    if parts.text is not None:
        said["textContent"] = parts.text
    if parts.reply_to:
        said["replyTo"] = named(parts.reply_to[0])
    if mail.tag:
        said["tags"] = [mail.tag]
    if parts.attachments:
        said["attachment"] = [
            {"name": one.name, "content": base64.b64encode(one.content).decode()} for one in parts.attachments
        ]
    return said
