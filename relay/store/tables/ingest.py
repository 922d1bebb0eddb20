"""What others told us and is not in the timelines yet."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.store.tables.base import own_id
from relay.store.types import Instant, Json

#: what waits for a human, and not for a worker
SET_ASIDE = "state IN ('failed', 'orphan')"


class InboxRow(SQLModel, table=True):
    """Something told, as it was told: a vendor's request, a bounce mail, reports.

    `due_at` says when it is to be read; while a worker has it in hand, when another may take it. It is empty where
    no worker is to read it any more: what could not be read (`failed`), and reports whose mail never turned up
    (`orphan`).
    """

    __tablename__: ClassVar[str] = "inbox"
    __table_args__ = (
        sa.Index(
            "ix_inbox_due",
            "due_at",
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_inbox_set_aside",
            "state",
            "id",
            sqlite_where=sa.text(SET_ASIDE),
            postgresql_where=sa.text(SET_ASIDE),
        ),
    )

    id: int = own_id()
    kind: str = Field(max_length=8)
    source: str = Field(max_length=64)  #: the provider's name, or what else tells
    state: str = Field(max_length=8)
    received_at: datetime = Field(sa_type=Instant)
    due_at: datetime | None = Field(default=None, sa_type=Instant)
    attempts: int = 0
    payload: bytes
    headers: dict[str, str] | None = Field(default=None, sa_type=Json)
    query: str = Field(default="", sa_type=sa.Text)
    reason: str | None = Field(default=None, sa_type=sa.Text)  #: why it is not in the timelines yet
