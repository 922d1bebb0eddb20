"""Who is signed in to the console, and what was changed by whom."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field, SQLModel

from relay.core.clock import now
from relay.store.tables.base import own_id, ref
from relay.store.types import BigInt, Instant, Json


class ConsoleSession(SQLModel, table=True):
    """Somebody's time at the console. Only the SHA-256 of the cookie is kept: the cookie is 256 random bits."""

    __tablename__: ClassVar[str] = "console_session"

    id: int = own_id()
    digest: str = Field(max_length=64, unique=True)
    key_id: int = ref("api_key.id", index=True)
    address: str = Field(max_length=64)  #: where the sign-in came from
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    seen_at: datetime = Field(sa_type=Instant)
    expires_at: datetime = Field(sa_type=Instant, index=True)
    told: dict[str, Any] | None = Field(default=None, sa_type=Json)  #: what the next page has to say


class AuditRow(SQLModel, table=True):
    """One change that somebody made, at the time in its id. Never changed, but for persons who are erased."""

    __tablename__: ClassVar[str] = "audit"

    id: int = own_id()
    account_id: int | None = Field(default=None, sa_type=BigInt)
    key_id: int | None = Field(default=None, sa_type=BigInt)
    who: str = Field(
        max_length=330
    )  #: the account's name and the key's label, as they were; else the system user
    door: str = Field(max_length=8)  #: `api`, `console` or `cli`
    action: str = Field(max_length=100)  #: the call or command, such as `POST /v1/api-keys/{id}/rotate`
    subject: str = Field(max_length=330)  #: whose or what's: an id, a name, an address
    address: str = Field(max_length=64)  #: the client's, or the machine's name
    detail: dict[str, Any] | None = Field(default=None, sa_type=Json)  #: what was asked for, without secrets
