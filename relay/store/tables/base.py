"""What every table of the record is made with."""

from typing import Any

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
