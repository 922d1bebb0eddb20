"""From what SMTP brought to a `Submission`: who it is from, for whom, and the few fields we add or take away.

The header block is scanned, not parsed: fields are found by position, a few values are read, and everything else
is passed on as it came.
"""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from relay.core import mime
from relay.core.address import InvalidAddress, Mailbox, parse_mailbox, parse_mailboxes
from relay.core.errors import BadMessage
from relay.core.identity import Identity
from relay.core.ids import new_id
from relay.core.message import EnvelopeRecipient, Idempotency, RecipientKind, Submission
from relay.core.mime import Field
from relay.core.status import Door
from relay.policy import check_sender
from relay.smtp import controls, replies
from relay.smtp.data import Content

Fields = dict[bytes, list[Field]]

#: fields that name those whom the others must not see
_HIDDEN = frozenset({b"bcc", b"resent-bcc"})

_MAX_FROM = 1000
_MAX_SUBJECT = 2000
_ATOM = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~.@\"")


@dataclass(slots=True)
class Envelope:
    """One mail transaction."""

    sender: str
    smtputf8: bool
    recipients: dict[str, EnvelopeRecipient]
    ret: str | None = None  #: RFC 3461 RET and ENVID
    envid: str | None = None

    def isascii(self) -> bool:
        return self.sender.isascii() and all(address.isascii() for address in self.recipients)


@dataclass(slots=True)
class Trace:
    """What the Received field tells of how mail came here (RFC 5321 4.4, protocol names RFC 3848)."""

    helo: str  #: as the client named itself, reduced to what a domain may hold
    address: str  #: the client's IP address
    tls: bool
    hostname: str  #: ours
    authenticated: bool = True  #: by AUTH, and not merely by its address

    def received(self, envelope: Envelope) -> str:
        address = f"IPv6:{self.address}" if ":" in self.address else self.address
        protocol = "UTF8SMTP" if envelope.smtputf8 else "ESMTP"
        protocol += ("S" if self.tls else "") + ("A" if self.authenticated else "")
        # Naming one of several recipients would show it to the others.
        only = f"\r\n\tfor <{next(iter(envelope.recipients))}>" if len(envelope.recipients) == 1 else ""
        return (
            f"Received: from {self.helo} ([{address}])\r\n"
            f"\tby {self.hostname} with {protocol}{only};\r\n"
            f"\t{_now()}\r\n"
        )


def build(
    identity: Identity,
    envelope: Envelope,
    content: Content,
    trace: Trace,
    *,
    max_hops: int,
    providers: frozenset[str],
) -> Submission:
    """Raises `Refused` for a mail that may not or cannot be sent, `Rejected` for one that loops."""
    head = content.head
    fields = mime.scan(head)
    by_name: Fields = {}
    for field in fields:
        if field.name in by_name:
            by_name[field.name].append(field)
        else:
            by_name[field.name] = [field]
    if len(by_name.get(b"received", ())) > max_hops:
        raise replies.Rejected(replies.TOO_MANY_HOPS)
    author = _author(identity, head, by_name)
    removed = controls.fields(by_name)
    wanted = controls.read(head, by_name, providers=providers) if removed else controls.NONE
    recipients = list(envelope.recipients.values())
    _sort_recipients(recipients, head, by_name)
    return Submission(
        account_id=identity.account_id,
        key_id=identity.key_id or None,
        door=Door.SMTP,
        sender=envelope.sender,
        recipients=recipients,
        head=_edited(head, fields, by_name, removed | _HIDDEN, trace, envelope),
        tail=content.tail,
        from_=_storable(str(author), _MAX_FROM),
        subject=_text(head, by_name, b"subject", _MAX_SUBJECT),
        reply_to=_text(head, by_name, b"reply-to", _MAX_FROM) or None,
        tag=wanted.tag,
        classification=wanted.classification,
        metadata=wanted.metadata or None,
        send_at=wanted.send_at,
        idempotency=_idempotency(wanted.idempotency_key, envelope, head, by_name),
        options=dict(wanted.options),
        ret=envelope.ret,
        envid=envelope.envid,
        smtputf8=envelope.smtputf8 and not (head.isascii() and envelope.isascii()),
        eight_bit=content.eight_bit,
    )


def _author(identity: Identity, head: bytes, by_name: Fields) -> Mailbox:
    """The first mailbox of From, once every author and the sender were held against the account's senders."""
    written = by_name.get(b"from", ())
    if len(written) != 1:
        raise BadMessage("The message needs exactly one From field.")
    senders = by_name.get(b"sender", ())
    if len(senders) > 1:
        raise BadMessage("The message has more than one Sender field.")
    try:
        authors = _mailboxes(mime.value(head, written[0]))
        sender = parse_mailbox(mime.value(head, senders[0])) if senders else None
    except InvalidAddress:
        raise BadMessage("The From or Sender field is malformed.") from None
    if not authors or (len(authors) > 1 and sender is None):
        raise BadMessage("From must hold one address, or several with a Sender field (RFC 5322 3.6.2).")
    for author in authors:
        check_sender(identity, author.address)
    if sender is not None:
        check_sender(identity, sender.address)
    return authors[0]


@lru_cache(maxsize=2048)
def _mailboxes(text: str) -> tuple[Mailbox, ...]:
    # An application writes the same From on every mail.
    return tuple(parse_mailboxes(text))


def _sort_recipients(recipients: Iterable[EnvelopeRecipient], head: bytes, by_name: Fields) -> None:
    to = " ".join(mime.value(head, field) for field in by_name.get(b"to", ())).lower()
    cc = " ".join(mime.value(head, field) for field in by_name.get(b"cc", ())).lower()
    for recipient in recipients:
        address = recipient.address.lower()
        if _names(to, address):
            recipient.kind = RecipientKind.TO
        elif _names(cc, address):
            recipient.kind = RecipientKind.CC
        else:
            recipient.kind = RecipientKind.BCC


def _names(text: str, address: str) -> bool:
    """Whether a field shows this address, and not merely a longer one around it. Broken fields count too."""
    start = text.find(address)
    while start >= 0:
        end = start + len(address)
        if text[start - 1 : start] not in _ATOM and (end == len(text) or text[end] not in _ATOM):
            return True
        start = text.find(address, start + 1)
    return False


def _idempotency(key: str | None, envelope: Envelope, head: bytes, by_name: Fields) -> Idempotency | None:
    """What makes a repeated mail the same: for whom, from whom, about what.

    Not its octets: a program that tries again mostly writes another date, message id and boundary.
    """
    if key is None:
        return None
    same = [envelope.sender, *sorted(envelope.recipients)]
    same += [mime.value(head, field) for name in (b"from", b"subject") for field in by_name.get(name, ())]
    return Idempotency(key, hashlib.sha256("\0".join(same).encode("utf-8", "replace")).hexdigest())


def _edited(
    head: bytes,
    fields: list[Field],
    by_name: Fields,
    removed: frozenset[bytes],
    trace: Trace,
    envelope: Envelope,
) -> bytes:
    added = trace.received(envelope)
    if b"message-id" not in by_name:
        added += f"Message-ID: <{new_id()}.{time.monotonic_ns() % 1_000_000}@{trace.hostname}>\r\n"
    if b"date" not in by_name:
        added += f"Date: {_now()}\r\n"
    kept = head if removed.isdisjoint(by_name) else mime.without(head, fields, removed)
    return added.encode() + kept + (b"" if kept.endswith(b"\r\n\r\n") else b"\r\n")


def _now() -> str:
    return _date(int(time.time()))


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return mime.date_value(datetime.fromtimestamp(second, UTC))


def _text(head: bytes, by_name: Fields, name: bytes, limit: int) -> str:
    found = by_name.get(name)
    return _storable(mime.text_value(head, found, name), limit) if found else ""


def _storable(text: str, limit: int) -> str:
    """Text as a database takes it: no control characters (PostgreSQL refuses NUL), no lone surrogates."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return text[:limit]
