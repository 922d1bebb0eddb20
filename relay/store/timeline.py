"""The one place where lines are added to timelines, so that whoever wants to hear of them can be told."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from relay.store import outbox
from relay.store import tables as t
from relay.store.rows import Bound, Part, bind, insertion

#: columns in which most lines have nothing
_SELDOM = frozenset({"detail"})


def add(connection: sa.Connection, rows: Sequence[dict[str, Any]], accounts: Mapping[int, int]) -> None:
    """Write event rows, all with the same keys. `accounts` has the account of every message they are about."""
    if rows:
        add_bound(connection, bound(rows, (), connection.dialect.name), rows, accounts)


def bound(rows: Sequence[dict[str, Any]], beside: Sequence[Part], dialect: str) -> Bound:
    """What `add_bound` is given. `beside` is written with the rows: that spares journeys to the database."""
    return bind([*beside, insertion(t.event, rows, _SELDOM)], dialect)


def add_bound(
    connection: sa.Connection, bound: Bound, rows: Sequence[dict[str, Any]], accounts: Mapping[int, int]
) -> int:
    """As `add`, of rows that were bound before; returns how many rows the first part beside them has changed."""
    changed = bound.run(connection)
    outbox.happened(connection, rows, accounts)
    return changed
