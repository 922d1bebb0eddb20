"""Who uses the relay, and what they may do: accounts, senders, keys, suppressions."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.core.clock import now
from relay.store.tables.base import own_id, ref
from relay.store.types import Instant, Json


class Account(SQLModel, table=True):
    """A customer of the relay: owns keys, senders and messages."""

    __tablename__: ClassVar[str] = "account"

    id: int = own_id()
    name: str = Field(max_length=64, unique=True)
    email: str | None = Field(default=None, max_length=255)  #: reply-to where a message has none
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    disabled_at: datetime | None = Field(default=None, sa_type=Instant)  #: since when its keys do not work


class Sender(SQLModel, table=True):
    """What an account may send as: an address, a domain (`example.org`), or `*` for anything."""

    __tablename__: ClassVar[str] = "sender"
    __table_args__ = (sa.UniqueConstraint("account_id", "pattern"),)

    id: int = own_id()
    account_id: int = ref("account.id")
    pattern: str = Field(max_length=255)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)


class ApiKey(SQLModel, table=True):
    """A bearer key and SMTP password. Only its SHA-256 is kept: the key itself is 264 random bits."""

    __tablename__: ClassVar[str] = "api_key"

    id: int = own_id()
    account_id: int = ref("account.id", index=True)
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
    #: whether its mail is tracked where neither the mail nor its stream says
    track_opens: bool | None = None
    track_clicks: bool | None = None


class Suppression(SQLModel, table=True):
    """An address that is not written to: by one account, or by nobody where `account_id` is empty.

    `stream` is empty for all mail; it is not NULL, so that a unique key holds for it.
    """

    __tablename__: ClassVar[str] = "suppression"
    __table_args__ = (
        sa.UniqueConstraint("account_id", "address", "stream"),
        sa.Index("ix_suppression_account_id_id", "account_id", "id"),
        # Both databases hold every NULL for different from every other.
        sa.Index(
            "uq_suppression_everywhere",
            "address",
            "stream",
            unique=True,
            sqlite_where=sa.text("account_id IS NULL"),
            postgresql_where=sa.text("account_id IS NULL"),
        ),
    )

    id: int = own_id()
    account_id: int | None = ref("account.id", nullable=True)
    address: str = Field(max_length=255)  #: in lower case
    stream: str = Field(default="", max_length=64, sa_column_kwargs={"server_default": ""})
    reason: str = Field(max_length=16)
    source: str = Field(max_length=64)  #: who put it there: `api`, `cli`, a provider's name
    note: str | None = Field(default=None, max_length=1000)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    expires_at: datetime | None = Field(default=None, sa_type=Instant)


class DkimKey(SQLModel, table=True):
    """A key that outgoing mail of a domain is signed with. `private_key` is PEM encrypted with `dkim_passphrase`."""

    __tablename__: ClassVar[str] = "dkim_key"
    __table_args__ = (sa.UniqueConstraint("domain", "selector"),)

    id: int = own_id()
    domain: str = Field(max_length=255)
    selector: str = Field(max_length=63)
    private_key: str = Field(sa_type=sa.Text)
    record: str = Field(sa_type=sa.Text)  #: what DNS has to say at `selector._domainkey.domain`
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
