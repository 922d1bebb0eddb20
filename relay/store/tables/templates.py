"""Templates: mail with places for variables, each change a version of its own."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.core.clock import now
from relay.store.tables.base import own_id, ref
from relay.store.types import Instant


class Template(SQLModel, table=True):
    """An account's template. What it says is in its versions, of which one is active."""

    __tablename__: ClassVar[str] = "template"
    __table_args__ = (sa.UniqueConstraint("account_id", "name"),)

    id: int = own_id()
    account_id: int = ref("account.id")
    name: str = Field(max_length=64)
    active: int  #: the number of the version that mail is made from
    latest: int  #: the number of the newest version
    archived_at: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    updated_at: datetime = Field(default_factory=now, sa_type=Instant)


class TemplateVersion(SQLModel, table=True):
    """What a template said at one time. Never changed."""

    __tablename__: ClassVar[str] = "template_version"
    __table_args__ = (sa.UniqueConstraint("template_id", "number"),)

    id: int = own_id()
    template_id: int = ref("template.id")
    number: int  #: 1 is the first
    subject: str = Field(sa_type=sa.Text)
    html: str | None = Field(default=None, sa_type=sa.Text)
    text: str | None = Field(default=None, sa_type=sa.Text)
    note: str | None = Field(default=None, max_length=255)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
