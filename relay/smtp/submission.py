"""From what SMTP brought to a `Submission`: who it is from, for whom, and the few fields we add or take away.

The header block is scanned, not parsed: fields are found by position, a few values are read, and everything else
is passed on as it came.
"""

import hashlib
from dataclasses import dataclass

from relay.core import controls, header, mime
from relay.core.address import Mailbox
from relay.core.header import Fields
from relay.core.identity import Identity
from relay.core.message import EnvelopeRecipient, Idempotency, Submission
from relay.core.status import Door
from relay.core.text import storable
from relay.policy import check_sender
from relay.smtp import replies
from relay.smtp.data import Content


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
            f"\t{header.date_now()}\r\n"
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
    by_name = header.by_name(fields)
    if len(by_name.get(b"received", ())) > max_hops:
        raise replies.Rejected(replies.TOO_MANY_HOPS)
    author = _author(identity, head, by_name)
    removed = controls.fields(by_name)
    wanted = controls.read(head, by_name, providers=providers) if removed else controls.NONE
    recipients = list(envelope.recipients.values())
    header.sort_recipients(recipients, head, by_name)
    return Submission(
        account_id=identity.account_id,
        key_id=identity.key_id or None,
        track=identity.track,
        door=Door.SMTP,
        sender=envelope.sender,
        recipients=recipients,
        head=header.completed(
            head,
            fields,
            by_name,
            removed=removed | header.HIDDEN,
            trace=trace.received(envelope),
            hostname=trace.hostname,
        ),
        tail=content.tail,
        from_=storable(str(author), header.MAX_FROM),
        subject=header.text(head, by_name, b"subject", header.MAX_SUBJECT),
        reply_to=header.text(head, by_name, b"reply-to", header.MAX_FROM) or None,
        tag=wanted.tag,
        classification=wanted.classification,
        metadata=wanted.metadata or None,
        send_at=wanted.send_at,
        expires_at=wanted.expires_at,
        idempotency=_idempotency(wanted.idempotency_key, envelope, head, by_name),
        options=dict(wanted.options),
        ret=envelope.ret,
        envid=envelope.envid,
        smtputf8=envelope.smtputf8 and not (head.isascii() and envelope.isascii()),
        eight_bit=content.eight_bit,
    )


def _author(identity: Identity, head: bytes, by_name: Fields) -> Mailbox:
    """The first mailbox of From, once every author and the sender were held against the account's senders."""
    authors, sender = header.authors(head, by_name)
    for author in authors:
        check_sender(identity, author.address)
    if sender is not None:
        check_sender(identity, sender.address)
    return authors[0]


def _idempotency(key: str | None, envelope: Envelope, head: bytes, by_name: Fields) -> Idempotency | None:
    """What makes a repeated mail the same: for whom, from whom, about what.

    Not its octets: a program that tries again mostly writes another date, message id and boundary.
    """
    if key is None:
        return None
    same = [envelope.sender, *sorted(envelope.recipients)]
    same += [mime.value(head, field) for name in (b"from", b"subject") for field in by_name.get(name, ())]
    return Idempotency(key, hashlib.sha256("\0".join(same).encode("utf-8", "replace")).hexdigest())
