"""The one place where lines are added to timelines, so that whoever wants to hear of them can be told."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from relay.store import outbox
from relay.store import tables as t
from relay.store.rows import Part, insertion, run_together


def add(
    connection: sa.Connection,
    rows: Sequence[dict[str, Any]],
    accounts: Mapping[int, int],
    beside: Sequence[Part] = (),
) -> None:
    """Write event rows, all with the same keys. `accounts` has the account of every message they are about.

    `beside` is written with them; it spares a journey to the database.
    """
    if rows:
        run_together(connection, [*beside, insertion(t.event, rows)])
        outbox.happened(connection, rows, accounts)
