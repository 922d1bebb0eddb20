"""What customers are told by webhook: where to, what, and how each try went."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.core.clock import now
from relay.store.tables.base import own_id, ref
from relay.store.types import BigInt, Instant, Json


class Endpoint(SQLModel, table=True):
    """A URL of an account's that is told of events. Secrets are encrypted; see `relay.notices.secrets`."""

    __tablename__: ClassVar[str] = "endpoint"
    __table_args__ = (sa.Index("ix_endpoint_account_id_id", "account_id", "id"),)

    id: int = own_id()
    account_id: int = ref("account.id")
    url: str = Field(max_length=2000)
    description: str = Field(default="", max_length=255)
    kinds: list[str] | None = Field(default=None, sa_type=Json)  #: such as `email.bounced`; None means all
    streams: list[str] | None = Field(default=None, sa_type=Json)
    tags: list[str] | None = Field(default=None, sa_type=Json)
    secret: bytes
    previous_secret: bytes | None = None
    previous_until: datetime | None = Field(default=None, sa_type=Instant)
    state: str = Field(default="enabled", max_length=10)
    reason: str | None = Field(default=None, sa_type=sa.Text)  #: why it is disabled
    state_at: datetime = Field(default_factory=now, sa_type=Instant)
    failing_since: datetime | None = Field(default=None, sa_type=Instant)  #: no success since
    failures: int = 0  #: failed tries in a row
    paused_until: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)


class Notice(SQLModel, table=True):
    """One thing that one endpoint is told. `done_at` is empty until it was delivered or given up.

    `due_at` says when a pending one is to be tried, and when a claimed one is given to another worker. There are no
    foreign keys: an endpoint that was deleted a moment ago must not fail the transaction that settles mail.
    """

    __tablename__: ClassVar[str] = "notice"
    __table_args__ = (
        sa.Index("ix_notice_endpoint_id_id", "endpoint_id", "id"),
        sa.Index("ix_notice_message", "endpoint_id", "message_id", "id"),
        sa.Index(
            "ix_notice_due",
            "endpoint_id",
            "due_at",
            sqlite_where=sa.text("done_at IS NULL"),
            postgresql_where=sa.text("done_at IS NULL"),
        ),
        sa.Index(
            "ix_notice_failed",
            "endpoint_id",
            "id",
            sqlite_where=sa.text("state = 'failed'"),
            postgresql_where=sa.text("state = 'failed'"),
        ),
    )

    id: int = own_id()
    endpoint_id: int = Field(sa_type=BigInt)
    message_id: int | None = Field(default=None, sa_type=BigInt)
    event_id: int | None = Field(default=None, sa_type=BigInt)
    kind: str = Field(max_length=32)
    payload: bytes  #: the JSON, as it is signed and sent
    state: str = Field(max_length=10)
    due_at: datetime = Field(sa_type=Instant)
    attempts: int = 0
    fence: int = 0
    first_at: datetime | None = Field(default=None, sa_type=Instant)  #: of the first try
    done_at: datetime | None = Field(default=None, sa_type=Instant)
    error: str | None = Field(default=None, sa_type=sa.Text)  #: what came of the last try, where it failed


class NoticeAttempt(SQLModel, table=True):
    """One try to tell an endpoint something."""

    __tablename__: ClassVar[str] = "notice_attempt"
    __table_args__ = (
        sa.Index("ix_notice_attempt_endpoint_id_id", "endpoint_id", "id"),
        sa.Index("ix_notice_attempt_notice_id_id", "notice_id", "id"),
    )

    id: int = own_id()
    endpoint_id: int = Field(sa_type=BigInt)
    notice_id: int = Field(sa_type=BigInt)
    at: datetime = Field(sa_type=Instant)
    status: int | None = None  #: of the HTTP answer; None where none came
    ms: int
    error: str | None = Field(default=None, sa_type=sa.Text)
    answer: str | None = Field(default=None, sa_type=sa.Text)  #: its first KiB
