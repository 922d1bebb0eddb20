"""POST /v1/messages as message/rfc822: a mail that is written already, and passed on byte for byte."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from api.manage.letters import envelope
from api.nomsa.spool import Slice, Spool
from relay import policy
from relay.core import controls, header, mime
from relay.core.address import InvalidAddress, normalise, parse_mailboxes
from relay.core.controls import Controls
from relay.core.errors import BadAddress, BadMessage
from relay.core.header import Fields
from relay.core.identity import Identity
from relay.core.message import EnvelopeRecipient, RecipientKind, Submission
from relay.core.status import Door
from relay.core.text import storable

RECIPIENT = "X-Pillarbox-Recipient"
SENDER = "X-Pillarbox-Sender"
#: octets of a header block, as at the SMTP door
_MAX_HEADER = 256 * 1024
_MAX_HOPS = 50
_LINE_END = re.compile(rb"\r\n|\r|\n")
_ADDRESSED = ((b"to", RecipientKind.TO), (b"cc", RecipientKind.CC), (b"bcc", RecipientKind.BCC))


@dataclass(frozen=True, slots=True)
class Mail:
    """What arrived: the header block, the rest, and a hash of both."""

    head: bytes
    tail: Slice
    digest: str
    ascii: bool


async def read(request: Request, spool: Spool) -> Mail:
    """The request's body as a mail, its line ends made CRLF. Raises `BadMessage` for what has no header block."""
    digest = hashlib.sha256()
    plain = True
    carried = b""
    async for piece in request.stream():
        data = carried + piece
        # The LF of a CRLF may be in the next piece.
        carried = b"\r" if data.endswith(b"\r") else b""
        data = _LINE_END.sub(b"\r\n", data[: len(data) - len(carried)])
        plain = plain and data.isascii()
        digest.update(data)
        spool.write(data)
    if carried:
        spool.write(b"\r\n")
    opening = spool.read(0, min(spool.size, _MAX_HEADER))
    cut = mime.split_head(opening)
    if cut <= 2:
        raise BadMessage("The message has no header block.")
    if cut == len(opening) < spool.size:
        raise BadMessage("The header block of the message is too long.")
    head = opening[:cut] if opening[:cut].endswith(b"\r\n") else opening[:cut] + b"\r\n"
    return Mail(head, Slice(spool, cut, spool.size - cut), digest.hexdigest(), plain)


@dataclass(frozen=True, slots=True)
class Asked:
    """A mail with its envelope and what its header asks of us."""

    mail: Mail
    fields: Sequence[mime.Field]
    named: Fields
    author: str
    sender: str
    recipients: list[EnvelopeRecipient]
    removed: frozenset[bytes]
    controls: Controls


def understand(request: Request, identity: Identity, mail: Mail, *, providers: frozenset[str]) -> Asked:
    """Who it is from and for: as the request's header fields say, else as the mail's own do.

    Raises a `Refused` for a mail that may not or cannot be sent.
    """
    fields = mime.scan(mail.head)
    named = header.by_name(fields)
    if len(named.get(b"received", ())) > _MAX_HOPS:
        raise BadMessage("The message has been through too many servers; this looks like a mail loop.")
    authors, speaker = header.authors(mail.head, named)
    for box in (*authors, *((speaker,) if speaker is not None else ())):
        policy.check_sender(identity, box.address)
    sender = _sender(request, authors[0].address)
    if sender:
        policy.check_sender(identity, sender)
    removed = controls.fields(named)
    wanted = controls.read(mail.head, named, providers=providers) if removed else controls.NONE
    recipients = _recipients(request, mail.head, named)
    if not recipients:
        raise BadMessage(f"The message has no recipients: neither {RECIPIENT} nor To, Cc or Bcc names any.")
    return Asked(mail, fields, named, str(authors[0]), sender, recipients, removed, wanted)


def build(asked: Asked, identity: Identity, *, hostname: str) -> Submission:
    mail, wanted = asked.mail, asked.controls
    head = header.completed(
        mail.head,
        asked.fields,
        asked.named,
        removed=asked.removed | header.HIDDEN,
        trace=f"Received: by {hostname} with HTTP;\r\n\t{header.date_now()}\r\n",
        hostname=hostname,
    )
    return Submission(
        account_id=identity.account_id,
        key_id=identity.key_id,
        track=identity.track,
        door=Door.REST,
        sender=asked.sender,
        recipients=asked.recipients,
        head=head,
        tail=mail.tail,
        from_=storable(asked.author, header.MAX_FROM),
        subject=header.text(mail.head, asked.named, b"subject", header.MAX_SUBJECT),
        reply_to=header.text(mail.head, asked.named, b"reply-to", header.MAX_FROM) or None,
        tag=wanted.tag,
        classification=wanted.classification,
        metadata=dict(wanted.metadata) or None,
        send_at=wanted.send_at,
        expires_at=wanted.expires_at,
        options=dict(wanted.options),
        smtputf8=not (
            head.isascii()
            and asked.sender.isascii()
            and all(one.address.isascii() for one in asked.recipients)
        ),
        eight_bit=not mail.ascii,
    )


def _sender(request: Request, author: str) -> str:
    written = request.headers.get(SENDER.lower())
    if written is None:
        return author
    written = written.strip()
    return "" if written == "<>" else _address(SENDER, written)


def _recipients(request: Request, head: bytes, named: Fields) -> list[EnvelopeRecipient]:
    listed = request.headers.getlist(RECIPIENT.lower())
    if listed:
        written = [one.strip() for line in listed for one in line.split(",") if one.strip()]
        found = envelope([(RecipientKind.TO, [_address(RECIPIENT, one) for one in written])])
        header.sort_recipients(found, head, named)
        return found
    kinds: list[tuple[RecipientKind, list[str]]] = []
    for name, kind in _ADDRESSED:
        for text in mime.values(head, named.get(name, ()), name):
            try:
                kinds.append((kind, [box.address for box in parse_mailboxes(text)]))
            except InvalidAddress as error:
                raise BadMessage(f"The {name.decode().title()} field is malformed: {error}.") from None
    return envelope(kinds)


def _address(name: str, written: str) -> str:
    try:
        return normalise(written.encode("latin-1").decode() if not written.isascii() else written)
    except (InvalidAddress, UnicodeDecodeError) as error:
        raise BadAddress(f"{name}: {error}.") from None
