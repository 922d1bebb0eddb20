"""Streams: kinds of mail that an account keeps apart."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.core.clock import now
from relay.store.tables.base import own_id, ref
from relay.store.types import Instant


class StreamRow(SQLModel, table=True):
    """An account's own stream, or its own settings of a built-in one; see `relay.core.stream`."""

    __tablename__: ClassVar[str] = "stream"
    __table_args__ = (sa.UniqueConstraint("account_id", "name"),)

    id: int = own_id()
    account_id: int = ref("account.id")
    name: str = Field(max_length=64)
    title: str | None = Field(default=None, max_length=100)
    lane: str = Field(max_length=8)
    track_opens: bool | None = None
    track_clicks: bool | None = None
    unsubscribe: bool
    unsubscribe_from: str = Field(max_length=8)
    complaint_from: str = Field(max_length=8)
    #: as `22:00` and `07:00` by the clocks of an IANA time zone; empty where there are no quiet hours
    quiet_from: str | None = Field(default=None, max_length=5)
    quiet_to: str | None = Field(default=None, max_length=5)
    timezone: str | None = Field(default=None, max_length=64)
    provider: str | None = Field(default=None, max_length=64)  #: by which its mail rather goes
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
