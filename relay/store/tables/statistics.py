"""Counts that outlive the mail they were made of."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.store.types import BigInt, Instant


class RollupRow(SQLModel, table=True):
    """What happened in one hour, by one dimension; see `relay.store.statistics`."""

    __tablename__: ClassVar[str] = "rollup"
    __table_args__ = (sa.Index("ix_rollup_heard", "heard"),)

    dimension: str = Field(primary_key=True, max_length=8)
    account_id: int = Field(
        sa_column=sa.Column(BigInt, primary_key=True, autoincrement=False, nullable=False)
    )
    hour: datetime = Field(sa_type=Instant, primary_key=True)
    value: str = Field(primary_key=True, max_length=255)
    #: 0 for good; else the minute, since 1970, in which these were heard of: more of it may come
    heard: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    messages: int = 0
    accepted: int = 0
    refused: int = 0
    sent: int = 0
    delivered: int = 0
    opened: int = 0
    clicked: int = 0
    opens: int = 0
    clicks: int = 0
    machine_opens: int = 0
    bounced_hard: int = 0
    bounced_soft: int = 0
    bounced_block: int = 0
    complained: int = 0
    unsubscribed: int = 0
    deferred: int = 0
    expired: int = 0
    cancelled: int = 0


class CountedRow(SQLModel, table=True):
    """How far the counting has come: everything heard of before that minute is counted for good."""

    __tablename__: ClassVar[str] = "counted"

    name: str = Field(primary_key=True, max_length=16)
    minute: int
