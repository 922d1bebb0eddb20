"""The mail: messages, their bytes, their recipients, and what happened to them."""

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.store.tables.base import own_id, ref, ref_on_sqlite
from relay.store.types import BigInt, Instant, Json

#: messages that may be few among millions, whichever status they have; most rest in the one that is left out. SQLite
#: uses an index of a part only where a query repeats its words.
NOT_SENT = "status <> 'SENT'"
#: the recipients that wait for a person; the same holds
STOPPED = "state IN ('held', 'parked')"


class Message(SQLModel, table=True):
    """One submission. `status` and the times are its primary recipient's.

    `created_at` is the time in the id, so that ordering by either is the same and the primary key serves both.
    """

    __tablename__: ClassVar[str] = "message"
    __table_args__ = (
        ref_on_sqlite("account_id", "account.id"),
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
            "ix_message_status",
            "account_id",
            "status",
            "id",
            sqlite_where=sa.text(NOT_SENT),
            postgresql_where=sa.text(NOT_SENT),
        ),
        sa.Index(
            "ix_message_account_id_error_code",
            "account_id",
            "error_code",
            "id",
            sqlite_where=sa.text("error_code IS NOT NULL"),
            postgresql_where=sa.text("error_code IS NOT NULL"),
        ),
        sa.Index(
            "ix_message_batch_id_status",
            "batch_id",
            "status",
            sqlite_where=sa.text("batch_id IS NOT NULL"),
            postgresql_where=sa.text("batch_id IS NOT NULL"),
        ),
    )

    id: int = own_id()
    account_id: int = Field(sa_type=BigInt)
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
    batch_id: int | None = Field(default=None, sa_type=BigInt)  #: the recipient list that it was made for
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
    #: since when it is kept without its files; also of one that never had any, so that none is looked at twice
    stripped_at: datetime | None = Field(default=None, sa_type=Instant)


class Body(SQLModel, table=True):
    """The mail's bytes in pieces, so that a large one never has to be in memory whole to be stored."""

    __tablename__: ClassVar[str] = "body"
    __table_args__ = (ref_on_sqlite("message_id", "message.id"),)

    message_id: int = Field(primary_key=True, sa_type=BigInt, sa_column_kwargs={"autoincrement": False})
    part: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    data: bytes


class Params(SQLModel, table=True):
    """What a REST client sent and reads back (the contract's `params`): subject, body, from, reply_to."""

    __tablename__: ClassVar[str] = "params"
    __table_args__ = (ref_on_sqlite("message_id", "message.id"),)

    message_id: int = Field(primary_key=True, sa_type=BigInt, sa_column_kwargs={"autoincrement": False})
    params: dict[str, Any] = Field(sa_type=Json)


class Recipient(SQLModel, table=True):
    """One envelope recipient: its place in the queue and what is known of its mail.

    `due_at` says when a queued one is to be tried; `lease_until` when a claimed one is given to another worker.
    `fence` grows with every claim, and a worker's result counts only while it still holds that number.
    """

    __tablename__: ClassVar[str] = "recipient"
    __table_args__ = (
        ref_on_sqlite("message_id", "message.id"),
        sa.Index("ix_recipient_message_id", "message_id", "position"),
        # The address alone: every octet of it is written with every recipient.
        sa.Index("ix_recipient_address", "address"),
        # By account, so that a claim can be fair to each; see `relay.store.fairness`.
        sa.Index(
            "ix_recipient_due",
            "lane",
            "account_id",
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
            "lane",
            "account_id",
            "id",
            sqlite_where=sa.text("waiting_for IS NOT NULL"),
            postgresql_where=sa.text("waiting_for IS NOT NULL"),
        ),
        sa.Index(
            "ix_recipient_stopped",
            "state",
            "lane",
            "account_id",
            "id",
            sqlite_where=sa.text(STOPPED),
            postgresql_where=sa.text(STOPPED),
        ),
        sa.Index(
            "ix_recipient_suspect",
            "due_at",
            sqlite_where=sa.text("crashes > 0 AND state = 'queued'"),
            postgresql_where=sa.text("crashes > 0 AND state = 'queued'"),
        ),
        sa.Index(
            "ix_recipient_ref_key",
            "ref_key",
            sqlite_where=sa.text("ref_key IS NOT NULL"),
            postgresql_where=sa.text("ref_key IS NOT NULL"),
        ),
    )

    id: int = own_id()
    message_id: int = Field(sa_type=BigInt)
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
    #: finds it by the provider's id, where the provider reports by that; see `relay.store.reports.ref_key`
    ref_key: int | None = Field(default=None, sa_type=BigInt)
    #: what a queued one waits for: a provider, or `provider/domain`; `due_at` is then only the latest time
    waiting_for: str | None = Field(default=None, max_length=320)
    #: the provider that an operator wants it to go by, whatever its route says
    route: str | None = Field(default=None, max_length=64)
    reply: str | None = Field(default=None, sa_type=sa.Text)  #: the last reply, as words
    notify: str | None = Field(default=None, max_length=30)
    orcpt: str | None = Field(default=None, max_length=500)
    updated_at: datetime = Field(sa_type=Instant)
    sent_at: datetime | None = Field(default=None, sa_type=Instant)
    delivered_at: datetime | None = Field(default=None, sa_type=Instant)
    opened_at: datetime | None = Field(default=None, sa_type=Instant)
    #: when it bounced, or was complained about
    failed_at: datetime | None = Field(default=None, sa_type=Instant)
    error_code: str | None = Field(default=None, max_length=255)
    error_sub_type: str | None = Field(default=None, max_length=255)
    bounce_class: str | None = Field(default=None, max_length=8)
    bounce_reason: str | None = Field(default=None, max_length=24)


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

    id: int = own_id()
    message_id: int = ref("message.id")
    recipient_id: int | None = Field(default=None, sa_type=BigInt)
    kind: str = Field(max_length=16)
    at: datetime = Field(sa_type=Instant)
    provider: str | None = Field(default=None, max_length=64)
    attempt: int | None = None
    reply: str | None = Field(default=None, sa_type=sa.Text)
    detail: dict[str, Any] | None = Field(default=None, sa_type=Json)
    dedupe: str | None = Field(default=None, max_length=200)


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
