"""Secrets that the installation made for itself."""

from datetime import datetime
from typing import ClassVar

from sqlmodel import Field, SQLModel

from relay.core.clock import now
from relay.store.types import Instant


class SecretRow(SQLModel, table=True):
    """A secret by its name, in hexadecimal; see `relay.store.secrets`."""

    __tablename__: ClassVar[str] = "secret"

    name: str = Field(primary_key=True, max_length=32)
    value: str = Field(max_length=128)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
