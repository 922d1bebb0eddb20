"""Writing many rows with few statements."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

#: SQLite's bound parameters per statement (32,766), with some to spare
_MAX_PARAMETERS = 30_000
_MAX_ROWS = 64

_Processor = Any  # a callable of one value, or None
_Plan = tuple[str, str, list[_Processor]]
_plans: dict[tuple[str, tuple[str, ...]], _Plan] = {}


def insert_rows(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same keys, in the same order.

    The SQLite driver lets go of the interpreter's lock around every row of an `executemany`, and each time waits
    for a busy event loop to give it back. Statements of many rows make that a few times per group. Their row
    counts are powers of two, so that the driver's cache of prepared statements holds them all.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(table.insert(), rows)
        return
    opening, group, processors = _plan(connection, table, tuple(rows[0]))
    most = min(_MAX_ROWS, _MAX_PARAMETERS // len(processors))
    start = 0
    while start < len(rows):
        count = min(most, 1 << (len(rows) - start).bit_length() - 1)
        values = [
            value if process is None else process(value)
            for row in rows[start : start + count]
            for process, value in zip(processors, row.values(), strict=True)
        ]
        connection.exec_driver_sql(opening + ",".join([group] * count), tuple(values))
        start += count


def _plan(connection: sa.Connection, table: sa.Table, keys: tuple[str, ...]) -> _Plan:
    """The statement's text before the rows, the text of one row, and how each value is bound."""
    plan: _Plan | None = _plans.get((table.name, keys))
    if plan is None:
        quote = connection.dialect.identifier_preparer.quote
        names = ", ".join(quote(key) for key in keys)
        processors = [
            table.c[key].type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
            for key in keys
        ]
        row = f"({','.join('?' * len(keys))})"
        plan = f"INSERT INTO {quote(table.name)} ({names}) VALUES ", row, processors  # noqa: S608
        _plans[table.name, keys] = plan
    return plan
