"""What processes share about the running of the relay."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.store.types import BigInt, Instant, Json


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
