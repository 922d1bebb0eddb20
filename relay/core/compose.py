"""Building a mail from fields a client gave. The only place where we write a mail rather than pass one on."""

import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from relay.core.address import Mailbox, domain_of
from relay.core.mime import address_header, date_value, header, text_part


@dataclass(frozen=True, slots=True)
class Letter:
    """What is to be written. Addresses are normalised; `html` is the body as the client gave it."""

    from_: Mailbox
    to: str
    subject: str
    html: str
    cc: Sequence[str] = ()
    reply_to: str | None = None


def compose(letter: Letter, at: datetime) -> tuple[bytes, bytes]:
    """The header block with its closing blank line, and the rest. Blind copies have no place in either.

    Lines end in CRLF and every octet is below 128, so any server takes it, unless an address is international.
    Raises ValueError when a field would break out of its line.
    """
    fields = [
        b"Date: " + date_value(at).encode() + b"\r\n",
        address_header("From", (letter.from_,)),
        _bare("To", (letter.to,)),
    ]
    if letter.cc:
        fields.append(_bare("Cc", letter.cc))
    if letter.reply_to:
        fields.append(_bare("Reply-To", (letter.reply_to,)))
    fields.append(header("Subject", letter.subject))
    fields.append(b"Message-ID: " + _message_id(letter.from_.address) + b"\r\nMIME-Version: 1.0\r\n")
    part = text_part(letter.html, "html")
    cut = part.index(b"\r\n\r\n") + 4
    fields.append(part[:cut])
    return b"".join(fields), part[cut:]


_LINE_BREAK = re.compile(r"[\r\n\0]")


def _bare(name: str, addresses: Sequence[str]) -> bytes:
    written = ",\r\n ".join(addresses)
    if any(_LINE_BREAK.search(address) for address in addresses):
        raise ValueError(f"{name} must not contain line breaks or NUL")
    return f"{name}: {written}\r\n".encode()


def _message_id(sender: str) -> bytes:
    """RFC 5322 3.6.4. The domain is the sender's: what follows the @ tells receivers whose id it is."""
    return f"<{time.time_ns():x}.{random.getrandbits(64):016x}@{domain_of(sender)}>".encode()
