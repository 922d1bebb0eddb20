"""The one place where lines are added to timelines, so that whoever wants to hear of them can be told."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from relay.store import tables as t


def add(
    connection: sa.Connection,
    rows: Sequence[dict[str, Any]],
    accounts: Mapping[int, int],  # noqa: ARG001 - for those who want to be told
) -> None:
    """Write event rows, all with the same keys. `accounts` has the account of every message they are about."""
    if rows:
        connection.execute(t.event.insert(), rows)
