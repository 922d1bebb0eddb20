"""A mail as Mailgun's form. https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages"""

import secrets

from providers.api import ascii_domain
from relay.core.provider import Outgoing


def form(mail: Outgoing, *, test: bool) -> tuple[bytes, str]:
    """The multipart body and its content type. The mail's bytes go in as they are."""
    fields = [("to", ascii_domain(one.address)) for one in mail.recipients]
    fields.append(("v:pillarbox", mail.token))
    if mail.tag:
        fields.append(("o:tag", mail.tag))
    if test:
        fields.append(("o:testmode", "yes"))
    # Random and long enough that no mail has it.
    boundary = secrets.token_hex(24)
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    pieces += [
        f'--{boundary}\r\nContent-Disposition: form-data; name="message"; filename="message.eml"\r\n'
        "Content-Type: message/rfc822\r\n\r\n".encode(),
        mail.raw,
        f"\r\n--{boundary}--\r\n".encode(),
    ]
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"
