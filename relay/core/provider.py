"""The contract between Pillarbox and a way out. See `providers/README.md` for how to add one.

A provider is told about mail in batches and answers with an outcome for every recipient. It holds no state that
delivery depends on: what it was asked and what it answered is in the record, not in the provider.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

from relay.core.bounce import Bounce
from relay.core.event import EventKind
from relay.core.reply import Reply
from relay.core.text import storable

#: characters of a provider's id that are kept
MAX_REF = 255


class OutcomeKind(StrEnum):
    """What became of one recipient's mail at the provider. Routing and retries follow from this alone."""

    ACCEPTED = "accepted"  #: the provider has taken responsibility
    REJECTED = "rejected"  #: never, for this recipient or this message; another provider would say the same
    RETRY = "retry"  #: not now; nothing was sent
    THROTTLED = "throttled"  #: not now, we are too fast; nothing was sent
    CONFIG = (
        "config"  #: the provider will not serve us until an operator acts: credentials, sender not verified
    )
    AMBIGUOUS = "ambiguous"  #: it may have been sent: the line was lost after the data


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer for one recipient."""

    kind: OutcomeKind
    reply: Reply
    #: the provider's id for what it took, as its events will name it
    ref: str | None = None
    #: seconds until another try makes sense, where the provider said so
    retry_after: float | None = None
    #: for THROTTLED: what the limit covers, such as "account", "domain" or "recipient"; "quota" is the account's of a
    #: day or a month, and others are asked meanwhile
    scope: str | None = None

    def __post_init__(self) -> None:
        if self.ref is not None and (len(self.ref) > MAX_REF or not self.ref.isprintable()):
            object.__setattr__(self, "ref", storable(self.ref, MAX_REF))

    @property
    def spent(self) -> bool:
        """Whether the account has had all that it may send for now."""
        return self.kind is OutcomeKind.THROTTLED and self.scope == "quota"


@dataclass(frozen=True, slots=True)
class OutgoingRecipient:
    """One envelope recipient of an outgoing mail."""

    id: int
    address: str
    attempt: int
    notify: str | None = None
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One mail for one provider call: the untouched bytes and the recipients to write to now.

    Addresses are normalised. `raw` has CRLF line ends and no Bcc field. `token` names the message and, where
    it has one recipient, that recipient; it travels with the mail in the provider's way so that events find home.
    """

    message_id: int
    sender: str  #: return path; empty for the null sender
    recipients: tuple[OutgoingRecipient, ...]
    raw: bytes
    smtputf8: bool = False
    eight_bit: bool = False
    ret: str | None = None
    envid: str | None = None
    tag: str | None = None
    metadata: Mapping[str, Any] | None = None
    accepted_at: datetime | None = None

    @property
    def token(self) -> str:
        if len(self.recipients) == 1:
            return f"{self.message_id}.{self.recipients[0].id}"
        return str(self.message_id)

    @property
    def idempotency_key(self) -> str:
        """The same for every repeat of this send to these recipients, so that a provider can refuse a double."""
        return f"pillarbox-{self.message_id}-{'-'.join(str(r.id) for r in self.recipients)}"


#: One outcome per recipient of one `Outgoing`, in its order.
Receipt = tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a kind of provider can do, as data: routing and the conformance suite read it."""

    #: takes the MIME bytes as they are; otherwise the adapter takes them apart
    raw: bool = True
    #: mails per call of `send`
    batch_size: int = 1
    #: recipients of one mail in one call
    max_recipients: int = 100
    #: octets of one mail; None where only the far end knows
    max_bytes: int | None = None
    #: a repeat with the same idempotency key is sent once
    idempotent: bool = False
    #: reports what becomes of mail (webhooks or bounce mail)
    events: bool = False
    #: what a webhook is answered that does not verify. No vendor stops repeating for the default, so that genuine
    #: events refused for a wrong secret come again once it is mended
    refusal_status: int = 401
    #: takes international addresses (RFC 6531)
    smtputf8: bool = False
    #: each recipient gets an outcome of its own even when they share one mail
    per_recipient: bool = True
    #: the return path is ours to choose; otherwise the provider uses its own
    envelope_sender: bool = True
    #: the Message-ID that recipients see is the mail's own
    keeps_message_id: bool = True
    #: To and Cc are seen as they are; otherwise they name only those that the call is for
    shows_all_recipients: bool = True
    #: goes to the recipients' own servers: what becomes of one mail says nothing about the provider
    direct: bool = False
    #: for those who know what they are in for
    experimental: bool = False

    # For providers that take the mail in parts (`raw` is false).

    #: octets of all attachments before encoding; None where only `max_bytes` counts
    max_attachment_bytes: int | None = None
    #: images that the HTML refers to
    inline: bool = True
    #: a mail without HTML
    text_only: bool = True
    #: a mail with neither text nor HTML
    empty_body: bool = False
    #: more than one Reply-To address
    many_reply_to: bool = True
    #: alternatives to the body beyond text and HTML, such as invitations
    alternatives: bool = False


class Provider(Protocol):
    """A way out. One instance per configured provider, shared by everything a worker process sends.

    `send` is given at most `capabilities.batch_size` mails with at most `capabilities.max_recipients` recipients
    each, and returns one receipt per mail, in order, with one outcome per recipient, in order. It does not raise
    for anything the far end or the network does: that is an outcome. Whatever does escape counts as `retry` and
    is logged as our bug. It is called concurrently, and may be cancelled only after `aclose`.
    """

    capabilities: ClassVar[Capabilities]

    @property
    def name(self) -> str:
        """As the operator calls it (`office`), not the vendor (`smtp`)."""
        ...

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]: ...

    async def check(self) -> str:
        """Log in without sending; returns one line about what was found.

        Raises `ProviderProblem` with what an operator has to mend.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. Sends in flight finish first."""
        ...


@runtime_checkable
class Choosy(Protocol):
    """Add-on, found by type: a provider that cannot be told every mail.

    Routing asks before it chooses, because another provider may well take what this one cannot be told. `send`
    answers `rejected` for such a mail, without having asked the far end. It is asked about the mail as it stands,
    before its recipients are shared out to calls, so their number is no reason.
    """

    def refuses(self, mail: Outgoing) -> str | None:
        """Why not, in a line for the operator; None when the mail can be said. Does no I/O."""
        ...


def refusal(provider: Provider, mail: Outgoing) -> str | None:
    """Why `provider` cannot be told `mail`; None when it can, or when only the far end knows."""
    return provider.refuses(mail) if isinstance(provider, Choosy) else None


class ProviderProblem(Exception):
    """What stands in the way of a provider, in words for the operator; never a secret."""


class ProviderKind(Protocol):
    """What the entry point group `pillarbox.providers` names: a callable that makes a provider.

    `options` is the provider's table in the configuration, secrets already resolved. Raises `Misconfigured`
    for unknown, missing or unusable options, naming the option.
    """

    def __call__(self, name: str, options: Mapping[str, Any]) -> Provider: ...


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A provider's call to our webhook endpoint, exactly as it came."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]  #: names in lower case
    body: bytes
    at: datetime  #: when it came


@dataclass(frozen=True, slots=True)
class Report:
    """One event as it was told, by a provider, a bounce mail or a tracking link, before we know whose it is.

    `token` is ours and came back; `ref` is the provider's id of the mail. Either finds the message, and
    `recipient` the address among its recipients where the token does not name one.
    """

    kind: EventKind
    at: datetime  #: when it happened, not when we heard of it
    token: str | None = None
    ref: str | None = None
    recipient: str | None = None
    #: the teller's own id of the event, equal when it is told twice; without it what it says is compared
    key: str | None = None
    reply: Reply | None = None
    bounce: Bounce | None = None
    #: more, under the names of the field: url, ip, user_agent, machine, feedback_type, mta, list
    detail: Mapping[str, Any] = field(default_factory=dict)
    #: what was told, as it was told
    original: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What a vendor has to be told at once, where that is not an empty 200."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"


@runtime_checkable
class WebhookSource(Protocol):
    """Add-on, found by type: a provider that reports by webhook.

    The door calls `receive` while the vendor waits, stores the request and answers; a worker calls `read` later.
    """

    async def receive(self, request: WebhookRequest) -> WebhookAnswer | None:
        """Verify the request over its bytes. Raises `NotAuthentic` before anything of it is believed; the door then
        answers `capabilities.refusal_status`.

        None means that it is to be stored and answered 200; an answer means that it was a handshake and is over,
        or (503) that it cannot be verified now and is to come again.
        Does no network I/O beyond what the vendor's scheme demands (a certificate, a confirmation).
        """
        ...

    def read(self, request: WebhookRequest) -> Sequence[Report]:
        """What a verified request tells. An event that cannot be read becomes a report of kind `unknown` with its
        original; it does not keep the others of its batch from being read. Does no I/O.
        """
        ...


class NotAuthentic(Exception):
    """The request is not from the provider it claims to be from."""
