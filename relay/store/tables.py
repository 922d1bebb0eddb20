"""The record: SQLModel tables. What a row means is said here; how it is reached, in the modules beside.

Hot paths use Core statements on `Model.__table__`; the models serve administration. Enumerations are stored as
their words. There are no relationships: every read names what it reads.
"""

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.core.clock import now
from relay.core.ids import new_id
from relay.store.types import BigInt, Instant, Json

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
SQLModel.metadata.naming_convention = NAMING


def _id() -> Any:
    return Field(
        default_factory=new_id, primary_key=True, sa_type=BigInt, sa_column_kwargs={"autoincrement": False}
    )


def _ref(target: str, *, nullable: bool = False, index: bool = False) -> Any:
    return Field(
        default=None,
        sa_type=BigInt,
        foreign_key=target,
        nullable=nullable,
        index=index,
    )


class Account(SQLModel, table=True):
    """A customer of the relay: owns keys, senders and messages."""

    __tablename__: ClassVar[str] = "account"

    id: int = _id()
    name: str = Field(max_length=64, unique=True)
    email: str | None = Field(default=None, max_length=255)  #: reply-to where a message has none
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    disabled_at: datetime | None = Field(default=None, sa_type=Instant)  #: since when its keys do not work


class Sender(SQLModel, table=True):
    """What an account may send as: an address, a domain (`example.org`), or `*` for anything."""

    __tablename__: ClassVar[str] = "sender"
    __table_args__ = (sa.UniqueConstraint("account_id", "pattern"),)

    id: int = _id()
    account_id: int = _ref("account.id")
    pattern: str = Field(max_length=255)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)


class ApiKey(SQLModel, table=True):
    """A bearer key and SMTP password. Only its SHA-256 is kept: the key itself is 264 random bits."""

    __tablename__: ClassVar[str] = "api_key"

    id: int = _id()
    account_id: int = _ref("account.id", index=True)
    digest: str = Field(max_length=64, unique=True)
    last_five: str = Field(max_length=5)
    label: str = Field(default="", max_length=255)
    scopes: list[str] | None = Field(default=None, sa_type=Json)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    expires_at: datetime | None = Field(default=None, sa_type=Instant)
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)
    networks: list[str] | None = Field(default=None, sa_type=Json)  #: CIDR; None allows any address
    rate_limit: int | None = None  #: sends per second; None means the installation's
    daily_quota: int | None = None  #: sends per day (UTC); None means no end
    last_used_at: datetime | None = Field(default=None, sa_type=Instant)  #: to the minute


#: the few messages an operator looks for. SQLite uses an index of a part only where a query repeats its words.
FAILED = "status IN ('UNSENT', 'BOUNCED', 'COMPLAINT')"


class Message(SQLModel, table=True):
    """One submission. `status` and the times are its primary recipient's.

    `created_at` is the time in the id, so that ordering by either is the same and the primary key serves both.
    """

    __tablename__: ClassVar[str] = "message"
    __table_args__ = (
        sa.Index("ix_message_account_id_id", "account_id", "id"),
        sa.Index("ix_message_account_id_updated_at", "account_id", "updated_at", "id"),
        sa.Index(
            "ix_message_account_id_tag",
            "account_id",
            "tag",
            "id",
            sqlite_where=sa.text("tag IS NOT NULL"),
            postgresql_where=sa.text("tag IS NOT NULL"),
        ),
        sa.Index("ix_message_account_id_from_address", "account_id", "from_address", "id"),
        sa.Index(
            "ix_message_failed",
            "account_id",
            "status",
            "id",
            sqlite_where=sa.text(FAILED),
            postgresql_where=sa.text(FAILED),
        ),
        sa.Index(
            "ix_message_account_id_error_code",
            "account_id",
            "error_code",
            "id",
            sqlite_where=sa.text("error_code IS NOT NULL"),
            postgresql_where=sa.text("error_code IS NOT NULL"),
        ),
    )

    id: int = _id()
    account_id: int = _ref("account.id")
    key_id: int | None = Field(default=None, sa_type=BigInt)
    door: str = Field(max_length=8)
    lane: str = Field(max_length=8)
    sender: str = Field(max_length=255)  #: return path; empty for the null sender
    from_: str = Field(sa_column=sa.Column("from", sa.String(1000), nullable=False))
    from_address: str | None = Field(default=None, max_length=255)  #: the address in `from`, in lower case
    recipient: str = Field(max_length=255)  #: the primary recipient
    cc: list[str] | None = Field(default=None, sa_type=Json)
    bcc: list[str] | None = Field(default=None, sa_type=Json)
    subject: str = Field(default="", sa_type=sa.Text)
    tag: str | None = Field(default=None, max_length=255)
    classification: str | None = Field(default=None, max_length=16)
    metadata_: dict[str, Any] | None = Field(default=None, sa_column=sa.Column("metadata", Json))
    attachments: list[dict[str, Any]] | None = Field(default=None, sa_type=Json)
    options: dict[str, Any] | None = Field(default=None, sa_type=Json)
    size: int  #: octets of the stored mail
    smtputf8: bool = False
    eight_bit: bool = False
    ret: str | None = Field(default=None, max_length=4)
    envid: str | None = Field(default=None, max_length=100)
    status: str = Field(max_length=16)
    error_code: str | None = Field(default=None, max_length=255)
    error_sub_type: str | None = Field(default=None, max_length=255)
    created_at: datetime = Field(sa_type=Instant)
    updated_at: datetime = Field(sa_type=Instant)
    accepted_at: datetime | None = Field(default=None, sa_type=Instant)
    sent_at: datetime | None = Field(default=None, sa_type=Instant)
    delivered_at: datetime | None = Field(default=None, sa_type=Instant)
    opened_at: datetime | None = Field(default=None, sa_type=Instant)
    redacted_at: datetime | None = Field(default=None, sa_type=Instant)


class Body(SQLModel, table=True):
    """The mail's bytes in pieces, so that a large one never has to be in memory whole to be stored."""

    __tablename__: ClassVar[str] = "body"

    message_id: int = Field(sa_column=sa.Column(BigInt, sa.ForeignKey("message.id"), primary_key=True))
    part: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    data: bytes


class Params(SQLModel, table=True):
    """What a REST client sent and reads back (the contract's `params`): subject, body, from, reply_to."""

    __tablename__: ClassVar[str] = "params"

    message_id: int = Field(sa_column=sa.Column(BigInt, sa.ForeignKey("message.id"), primary_key=True))
    params: dict[str, Any] = Field(sa_type=Json)


class Recipient(SQLModel, table=True):
    """One envelope recipient: its place in the queue and what is known of its mail.

    `due_at` says when a queued one is to be tried; `lease_until` when a claimed one is given to another worker.
    `fence` grows with every claim, and a worker's result counts only while it still holds that number.
    """

    __tablename__: ClassVar[str] = "recipient"
    __table_args__ = (
        sa.Index("ix_recipient_message_id", "message_id", "position"),
        # The address alone: every octet of it is written with every recipient.
        sa.Index("ix_recipient_address", "address"),
        sa.Index(
            "ix_recipient_due",
            "lane",
            "due_at",
            sqlite_where=sa.text("state = 'queued'"),
            postgresql_where=sa.text("state = 'queued'"),
        ),
        sa.Index(
            "ix_recipient_leased",
            "lease_until",
            sqlite_where=sa.text("state = 'sending'"),
            postgresql_where=sa.text("state = 'sending'"),
        ),
        sa.Index(
            "ix_recipient_waiting_for",
            "waiting_for",
            "id",
            sqlite_where=sa.text("waiting_for IS NOT NULL"),
            postgresql_where=sa.text("waiting_for IS NOT NULL"),
        ),
        sa.Index(
            "ix_recipient_suspect",
            "due_at",
            sqlite_where=sa.text("crashes > 0 AND state = 'queued'"),
            postgresql_where=sa.text("crashes > 0 AND state = 'queued'"),
        ),
    )

    id: int = _id()
    message_id: int = _ref("message.id")
    account_id: int = Field(sa_type=BigInt)
    position: int  #: 0 is the primary recipient
    address: str = Field(max_length=255)
    kind: str = Field(max_length=4)
    lane: str = Field(max_length=8)
    state: str = Field(max_length=10)
    status: str = Field(max_length=16)
    attempts: int = 0
    crashes: int = 0  #: leases that ran out with the mail in hand
    fence: int = 0
    due_at: datetime | None = Field(default=None, sa_type=Instant)
    lease_until: datetime | None = Field(default=None, sa_type=Instant)
    provider: str | None = Field(default=None, max_length=64)
    provider_ref: str | None = Field(default=None, max_length=255)
    #: what a queued one waits for: a provider, or `provider/domain`; `due_at` is then only the latest time
    waiting_for: str | None = Field(default=None, max_length=320)
    reply: str | None = Field(default=None, sa_type=sa.Text)  #: the last reply, as words
    notify: str | None = Field(default=None, max_length=30)
    orcpt: str | None = Field(default=None, max_length=500)
    updated_at: datetime = Field(sa_type=Instant)


class EventRow(SQLModel, table=True):
    """One line of a recipient's timeline. Only ever added to."""

    __tablename__: ClassVar[str] = "event"
    __table_args__ = (
        sa.Index("ix_event_message_id", "message_id", "id"),
        sa.Index(
            "uq_event_dedupe",
            "dedupe",
            unique=True,
            sqlite_where=sa.text("dedupe IS NOT NULL"),
            postgresql_where=sa.text("dedupe IS NOT NULL"),
        ),
    )

    id: int = _id()
    message_id: int = _ref("message.id")
    recipient_id: int | None = Field(default=None, sa_type=BigInt)
    kind: str = Field(max_length=16)
    at: datetime = Field(sa_type=Instant)
    provider: str | None = Field(default=None, max_length=64)
    attempt: int | None = None
    reply: str | None = Field(default=None, sa_type=sa.Text)
    detail: dict[str, Any] | None = Field(default=None, sa_type=Json)
    dedupe: str | None = Field(default=None, max_length=200)


class Suppression(SQLModel, table=True):
    """An address that is not written to: by one account, or by nobody where `account_id` is empty."""

    __tablename__: ClassVar[str] = "suppression"
    __table_args__ = (
        sa.UniqueConstraint("account_id", "address"),
        sa.Index("ix_suppression_account_id_id", "account_id", "id"),
        # Both databases hold every NULL for different from every other.
        sa.Index(
            "uq_suppression_everywhere",
            "address",
            unique=True,
            sqlite_where=sa.text("account_id IS NULL"),
            postgresql_where=sa.text("account_id IS NULL"),
        ),
    )

    id: int = _id()
    account_id: int | None = _ref("account.id", nullable=True)
    address: str = Field(max_length=255)  #: in lower case
    reason: str = Field(max_length=16)
    source: str = Field(max_length=64)  #: who put it there: `api`, `cli`, a provider's name
    note: str | None = Field(default=None, max_length=1000)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    expires_at: datetime | None = Field(default=None, sa_type=Instant)


class IdempotencyRow(SQLModel, table=True):
    """A send that must not happen twice: what was asked for under a key, and what was answered.

    Written in the transaction that stores the message, so that there is never one without the other.
    """

    __tablename__: ClassVar[str] = "idempotency"

    account_id: int = Field(sa_column=sa.Column(BigInt, sa.ForeignKey("account.id"), primary_key=True))
    key: str = Field(primary_key=True, max_length=270)
    fingerprint: str = Field(max_length=64)  #: SHA-256 of what was asked for
    #: without a foreign key: the row is written before the message, to learn whether there is to be one
    message_id: int = Field(sa_type=BigInt)
    status: int | None = None  #: of the HTTP answer
    answer: bytes | None = None
    expires_at: datetime = Field(sa_type=Instant, index=True)


class LeaderLease(SQLModel, table=True):
    """Which process does a job that only one may do, such as the clock's."""

    __tablename__: ClassVar[str] = "leader_lease"

    name: str = Field(primary_key=True, max_length=32)
    owner: str = Field(max_length=64)
    until: datetime = Field(sa_type=Instant)


class ProviderState(SQLModel, table=True):
    """What all workers share about one provider: the operator's word on it, and its circuit.

    `openings` counts how often in a row the circuit opened. A worker that holds the probe (until `probe_until`)
    may try one mail while it is open.
    """

    __tablename__: ClassVar[str] = "provider_state"

    name: str = Field(primary_key=True, max_length=64)
    mode: str = Field(default="active", max_length=10)
    mode_at: datetime | None = Field(default=None, sa_type=Instant)
    circuit: str = Field(default="closed", max_length=10)
    circuit_at: datetime | None = Field(default=None, sa_type=Instant)
    open_until: datetime | None = Field(default=None, sa_type=Instant)
    openings: int = 0
    reason: str | None = Field(default=None, sa_type=sa.Text)
    probe_owner: str | None = Field(default=None, max_length=64)
    probe_until: datetime | None = Field(default=None, sa_type=Instant)


class ProviderUsage(SQLModel, table=True):
    """How much of a quota's window is used up, or set aside by a worker. `period` is such as `day 2026-01-31`."""

    __tablename__: ClassVar[str] = "provider_usage"

    provider: str = Field(primary_key=True, max_length=64)
    period: str = Field(primary_key=True, max_length=32)
    used: int = Field(sa_type=BigInt)


class WorkerRow(SQLModel, table=True):
    """A worker that is alive, and how much it has in hand at which provider."""

    __tablename__: ClassVar[str] = "worker"

    owner: str = Field(primary_key=True, max_length=64)
    seen_at: datetime = Field(sa_type=Instant, index=True)
    in_hand: dict[str, int] = Field(sa_type=Json)
    providers: list[str] = Field(sa_type=Json)
    config: str = Field(default="", max_length=64)  #: digest of the providers and routes it works with


class DkimKey(SQLModel, table=True):
    """A key that outgoing mail of a domain is signed with. `private_key` is PEM encrypted with `dkim_passphrase`."""

    __tablename__: ClassVar[str] = "dkim_key"
    __table_args__ = (sa.UniqueConstraint("domain", "selector"),)

    id: int = _id()
    domain: str = Field(max_length=255)
    selector: str = Field(max_length=63)
    private_key: str = Field(sa_type=sa.Text)
    record: str = Field(sa_type=sa.Text)  #: what DNS has to say at `selector._domainkey.domain`
    created_at: datetime = Field(default_factory=now, sa_type=Instant)


#: Table objects for Core statements, under the names they are read by.
account = Account.__table__  # type: ignore[attr-defined]
sender = Sender.__table__  # type: ignore[attr-defined]
api_key = ApiKey.__table__  # type: ignore[attr-defined]
message = Message.__table__  # type: ignore[attr-defined]
body = Body.__table__  # type: ignore[attr-defined]
params = Params.__table__  # type: ignore[attr-defined]
recipient = Recipient.__table__  # type: ignore[attr-defined]
event = EventRow.__table__  # type: ignore[attr-defined]
suppression = Suppression.__table__  # type: ignore[attr-defined]
idempotency = IdempotencyRow.__table__  # type: ignore[attr-defined]
leader_lease = LeaderLease.__table__  # type: ignore[attr-defined]
provider_state = ProviderState.__table__  # type: ignore[attr-defined]
provider_usage = ProviderUsage.__table__  # type: ignore[attr-defined]
worker = WorkerRow.__table__  # type: ignore[attr-defined]
dkim_key = DkimKey.__table__  # type: ignore[attr-defined]
metadata = SQLModel.metadata
