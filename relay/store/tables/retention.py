"""How long things are kept for whom, how far the cleaning has come, and who was erased."""

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.store.tables.base import own_id, ref
from relay.store.types import BigInt, Instant, Json


class RetentionRow(SQLModel, table=True):
    """Other times than the installation's, for an account's mail, or for that of one of its streams."""

    __tablename__: ClassVar[str] = "retention"
    __table_args__ = (sa.UniqueConstraint("account_id", "stream"),)

    id: int = own_id()
    account_id: int = ref("account.id")
    stream: str = Field(default="", max_length=64)  #: empty for all of the account's mail
    days: dict[str, int] = Field(sa_type=Json)  #: by part; 0 is for ever


class SweepRow(SQLModel, table=True):
    """How far the cleaning of one part has come in its walk over the messages."""

    __tablename__: ClassVar[str] = "sweep"

    name: str = Field(primary_key=True, max_length=32)
    position: int = Field(default=0, sa_type=BigInt)
    #: when the last walk came to its end
    ended_at: datetime | None = Field(default=None, sa_type=Instant)


class ErasureRow(SQLModel, table=True):
    """One person erased: no address, but a keyed hash of it, by which it is known again."""

    __tablename__: ClassVar[str] = "erasure"

    id: int = own_id()
    digest: str = Field(max_length=64, index=True)
    #: needed for the search; empty once it has ended
    address: str | None = Field(default=None, max_length=255)
    state: str = Field(max_length=10)
    asked_by: str = Field(max_length=64)
    place: dict[str, Any] = Field(sa_type=Json)  #: how far the search has come
    counts: dict[str, Any] = Field(sa_type=Json)
    ended_at: datetime | None = Field(default=None, sa_type=Instant)
