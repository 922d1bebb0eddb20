"""A mail on its way in: one form, whichever door it came by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from relay.core.status import Classification, Door
from relay.core.stream import UNSAID, Track


class Tail(Protocol):
    """Everything after the header block of a mail, wherever it lies (memory or a spool file)."""

    @property
    def size(self) -> int: ...

    def chunks(self, size: int) -> Iterator[bytes]:
        """The bytes in order, in pieces of at most `size`. May be called more than once."""
        ...

    def close(self) -> None:
        """Let go of the bytes; safe to call twice."""
        ...


class MemoryTail:
    """A tail held in memory."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self, size: int) -> Iterator[bytes]:
        if len(self.data) <= size:
            yield self.data
            return
        for start in range(0, len(self.data), size):
            yield self.data[start : start + size]

    def close(self) -> None:
        self.data = b""


class RecipientKind(StrEnum):
    """Why an address is in the envelope; bcc covers those that no header names."""

    TO = "to"
    CC = "cc"
    BCC = "bcc"


@dataclass(slots=True)
class EnvelopeRecipient:
    """One RCPT TO, normalised."""

    address: str
    kind: RecipientKind = RecipientKind.TO
    #: RFC 3461 NOTIFY and ORCPT as the client gave them, passed on to providers that take them
    notify: str | None = None
    orcpt: str | None = None
    #: where what is written into the mail has to name it; else it gets one when it is stored
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's wish that a repeated request should be one message: the same key, the same answer."""

    key: str
    fingerprint: str  #: of what was asked for; the key with another one is a mistake of the client's
    #: status and body of the answer for an id and its time, kept for repeats; a door may do without
    answer: Callable[[int, datetime], tuple[int, bytes]] | None = None


@dataclass(slots=True)
class Submission:
    """What a door hands to `relay.intake`. The first recipient is the primary one.

    `head` is the header block with its closing blank line, CRLF throughout; `tail` is the rest, byte for byte
    what will be sent.
    """

    account_id: int
    key_id: int | None
    door: Door
    sender: str  #: the return path; empty for the null sender
    recipients: list[EnvelopeRecipient]
    head: bytes
    tail: Tail
    from_: str  #: the From field as a client would write it: `Name <address>`
    subject: str = ""
    reply_to: str | None = None
    tag: str | None = None
    batch_id: int | None = None  #: the recipient list that it was made for
    classification: Classification | None = None
    metadata: dict[str, Any] | None = None
    #: the contract's `params`, kept as the REST client gave them
    params: dict[str, Any] | None = None
    attachments: list[dict[str, Any]] | None = None
    #: what the client named, where the envelope has an address once that was named twice; else made from it
    cc: list[str] | None = None
    bcc: list[str] | None = None
    smtputf8: bool = False  #: the envelope or the headers need RFC 6531 downstream
    eight_bit: bool = False  #: the body has octets above 127 (RFC 6152)
    ret: str | None = None  #: RFC 3461 RET
    envid: str | None = None  #: RFC 3461 ENVID
    send_at: datetime | None = None
    #: when it is of no use any more: what has not gone by then is dropped
    expires_at: datetime | None = None
    idempotency: Idempotency | None = None
    #: what the key says of tracking, for mail that does not say itself
    track: Track = UNSAID
    #: where what is written into the mail has to name it; else it gets one when it is stored
    id: int | None = None
    #: what the stored record also says, for features above the spine (tracking, stream …)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.head) + self.tail.size


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receipt for a stored submission; it exists only once the record is committed."""

    id: int
    at: datetime
    #: true when an idempotency key had been used before and this is the earlier message
    repeated: bool = False
    #: what was answered then, where the door had it kept: status and body
    answer: tuple[int, bytes] | None = None
