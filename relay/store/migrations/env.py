"""What Alembic runs to get at a database: the connection, and the transaction, of `relay.store.migrate`."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context

from relay.store import tables
from relay.store.types import BigInt, Instant, Json


def render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our types by their names where Alembic would spell them out, with imports it does not make."""
    if kind != "type":
        return False
    if isinstance(item, Instant):
        return "Instant()"
    if isinstance(item, sa.TypeDecorator) and isinstance(item.impl, sa.String):
        return f"sa.String(length={item.impl.length})"
    named = {repr(BigInt): "BigInt", repr(Json): "Json"}
    return named.get(repr(item), False)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    # SQLite can alter a table only by making it anew.
    render_as_batch=True,
    render_item=render,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
