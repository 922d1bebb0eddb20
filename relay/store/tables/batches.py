"""Batches: one template to a list of recipients, and where each row of the list stands."""

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.store.tables.base import own_id, ref
from relay.store.types import BigInt, Instant, Json

#: those with which a worker or the clock has something to do; see `NOT_SENT` of the mail for the repetition
WORKING = "state IN ('reading', 'sending')"
UPLOADING = "state = 'uploading'"
#: those that the clock starts
SCHEDULED = "state = 'ready' AND send_at IS NOT NULL"


class Batch(SQLModel, table=True):
    """One list and what is to be done with it. Its counts grow with the rows they count, in one transaction."""

    __tablename__: ClassVar[str] = "batch"
    __table_args__ = (
        sa.Index("ix_batch_account_id_id", "account_id", "id"),
        sa.Index(
            "uq_batch_account_id_once",
            "account_id",
            "once",
            unique=True,
            sqlite_where=sa.text("once IS NOT NULL"),
            postgresql_where=sa.text("once IS NOT NULL"),
        ),
        sa.Index(
            "ix_batch_working",
            "state",
            "lease_until",
            sqlite_where=sa.text(WORKING),
            postgresql_where=sa.text(WORKING),
        ),
        sa.Index(
            "ix_batch_uploading",
            "created_at",
            sqlite_where=sa.text(UPLOADING),
            postgresql_where=sa.text(UPLOADING),
        ),
        sa.Index(
            "ix_batch_scheduled",
            "send_at",
            sqlite_where=sa.text(SCHEDULED),
            postgresql_where=sa.text(SCHEDULED),
        ),
    )

    id: int = own_id()
    account_id: int = ref("account.id")
    key_id: int | None = Field(default=None, sa_type=BigInt)
    name: str = Field(max_length=100)
    state: str = Field(max_length=10)
    reason: str | None = Field(default=None, max_length=500)  #: why it failed or was halted
    template_id: int = ref("template.id")
    version: int  #: of the template
    options: dict[str, Any] = Field(sa_type=Json)  #: see `relay.store.batches.Wish`
    #: what the same upload has too: the client's key, else a hash of list and wishes; empty once it may be repeated
    once: str | None = Field(default=None, max_length=300)
    fingerprint: str = Field(max_length=64)  #: SHA-256 of list and wishes
    size: int = Field(sa_type=BigInt)  #: octets of the list
    columns: list[str] | None = Field(default=None, sa_type=Json)  #: the list's header, once it was read
    delimiter: str | None = Field(default=None, max_length=1)
    offset: int = Field(default=0, sa_type=BigInt)  #: octets of the list that were read
    cursor: int = 0  #: the last row of which a mail was made
    rows: int = 0
    valid: int = 0
    refused: int = 0
    queued: int = 0
    fed: bool = False  #: every row has its mail
    fence: int = 0  #: grows with every claim; a worker's step counts only while it still holds that number
    lease_until: datetime | None = Field(default=None, sa_type=Instant)
    #: what the halting share does not count: what was so when the owner resumed
    forgiven: int = 0
    before: int = 0
    send_at: datetime | None = Field(default=None, sa_type=Instant)  #: when it starts by itself
    created_at: datetime = Field(sa_type=Instant)
    started_at: datetime | None = Field(default=None, sa_type=Instant)
    ended_at: datetime | None = Field(default=None, sa_type=Instant)


class BatchPart(SQLModel, table=True):
    """The list as it was uploaded, in pieces; gone once its rows are read."""

    __tablename__: ClassVar[str] = "batch_part"

    batch_id: int = Field(sa_column=sa.Column(BigInt, sa.ForeignKey("batch.id"), primary_key=True))
    part: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    data: bytes


class BatchRow(SQLModel, table=True):
    """One row of a list."""

    __tablename__: ClassVar[str] = "batch_row"
    __table_args__ = (
        sa.Index(
            "ix_batch_row_refused",
            "batch_id",
            "number",
            sqlite_where=sa.text("state = 'refused'"),
            postgresql_where=sa.text("state = 'refused'"),
        ),
        sa.Index(
            "uq_batch_row_address",
            "batch_id",
            "taken",
            unique=True,
            sqlite_where=sa.text("taken IS NOT NULL"),
            postgresql_where=sa.text("taken IS NOT NULL"),
        ),
        sa.Index(
            "ix_batch_row_message_id",
            "message_id",
            sqlite_where=sa.text("message_id IS NOT NULL"),
            postgresql_where=sa.text("message_id IS NOT NULL"),
        ),
    )

    batch_id: int = Field(sa_column=sa.Column(BigInt, sa.ForeignKey("batch.id"), primary_key=True))
    number: int = Field(
        primary_key=True, sa_column_kwargs={"autoincrement": False}
    )  #: 1 is the first below the header
    state: str = Field(max_length=10)
    address: str = Field(max_length=255)
    taken: str | None = Field(
        default=None, max_length=255
    )  #: the address in lower case, where it may come once only
    variables: dict[str, Any] | None = Field(default=None, sa_type=Json)
    reason: str | None = Field(default=None, max_length=500)
    message_id: int | None = Field(default=None, sa_type=BigInt)
