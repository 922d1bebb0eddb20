"""What every table of the record is made with."""

from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from relay.core.ids import new_id
from relay.store.types import BigInt

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def own_id() -> Any:
    """The primary key: an id made in the process (`relay.core.ids`)."""
    return Field(
        default_factory=new_id, primary_key=True, sa_type=BigInt, sa_column_kwargs={"autoincrement": False}
    )


def ref(target: str, *, nullable: bool = False, index: bool = False) -> Any:
    """A foreign key to another table's id."""
    return Field(default=None, sa_type=BigInt, foreign_key=target, nullable=nullable, index=index)


def ref_on_sqlite(column: str, target: str) -> sa.ForeignKeyConstraint:
    """A foreign key that only SQLite has, on the way of every mail.

    PostgreSQL runs a query for each row and locks the row that it refers to, and who locks a row that others have
    locked, as that of an account, writes that down: a quarter of an insert's time. It has none where a row is written
    in the statement that writes its parent, or where parents are never removed; the tests on SQLite would notice.
    """
    return sa.ForeignKeyConstraint([column], [target]).ddl_if(dialect="sqlite")
