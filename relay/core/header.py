"""What a mail's header block says of it, and the few fields we add or take away, for every door that is given bytes.

The block is scanned, not parsed: fields are found by position, a few values are read, and everything else is passed
on as it came.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from relay.core import mime
from relay.core.address import InvalidAddress, Mailbox, parse_mailbox, parse_mailboxes
from relay.core.errors import BadMessage
from relay.core.ids import new_id
from relay.core.message import EnvelopeRecipient, RecipientKind
from relay.core.mime import Field
from relay.core.text import storable

Fields = dict[bytes, list[Field]]

#: fields that name those whom the others must not see
HIDDEN = frozenset({b"bcc", b"resent-bcc"})

#: characters kept of a From or Reply-To, and of a subject
MAX_FROM = 1000
MAX_SUBJECT = 2000
_ATOM = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~.@\"")


def by_name(fields: Iterable[Field]) -> Fields:
    """The fields of each name, in order."""
    found: Fields = {}
    for field in fields:
        if field.name in found:
            found[field.name].append(field)
        else:
            found[field.name] = [field]
    return found


def authors(head: bytes, named: Fields) -> tuple[tuple[Mailbox, ...], Mailbox | None]:
    """The mailboxes of From, at least one, and that of Sender, each of which the mail claims to come from.

    Raises `BadMessage` for what could be read in two ways.
    """
    written = named.get(b"from", ())
    if len(written) != 1:
        raise BadMessage("The message needs exactly one From field.")
    senders = named.get(b"sender", ())
    if len(senders) > 1:
        raise BadMessage("The message has more than one Sender field.")
    try:
        found = _mailboxes(mime.value(head, written[0]))
        sender = parse_mailbox(mime.value(head, senders[0])) if senders else None
    except InvalidAddress:
        raise BadMessage("The From or Sender field is malformed.") from None
    if not found or (len(found) > 1 and sender is None):
        raise BadMessage("From must hold one address, or several with a Sender field (RFC 5322 3.6.2).")
    return found, sender


@lru_cache(maxsize=2048)
def _mailboxes(text: str) -> tuple[Mailbox, ...]:
    # An application writes the same From on every mail.
    return tuple(parse_mailboxes(text))


def sort_recipients(recipients: Iterable[EnvelopeRecipient], head: bytes, named: Fields) -> None:
    """Note for each recipient where the header shows it; one that it does not is a blind copy."""
    to = " ".join(mime.value(head, field) for field in named.get(b"to", ())).lower()
    cc = " ".join(mime.value(head, field) for field in named.get(b"cc", ())).lower()
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


def completed(
    head: bytes,
    fields: Sequence[Field],
    named: Fields,
    *,
    removed: frozenset[bytes],
    trace: str,
    hostname: str,
) -> bytes:
    """The header block as it goes out: `trace` on top, Message-ID and Date where they are missing, `removed` gone."""
    added = trace
    if b"message-id" not in named:
        added += f"Message-ID: <{new_id()}.{time.monotonic_ns() % 1_000_000}@{hostname}>\r\n"
    if b"date" not in named:
        added += f"Date: {date_now()}\r\n"
    kept = head if removed.isdisjoint(named) else mime.without(head, fields, removed)
    return added.encode() + kept + (b"" if kept.endswith(b"\r\n\r\n") else b"\r\n")


def date_now() -> str:
    """A Date field's value for this moment."""
    return _date(int(time.time()))


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return mime.date_value(datetime.fromtimestamp(second, UTC))


def text(head: bytes, named: Fields, name: bytes, limit: int) -> str:
    """A field's first value, decoded, in characters that a database takes; empty when there is none."""
    found = named.get(name)
    return storable(mime.text_value(head, found, name), limit) if found else ""
