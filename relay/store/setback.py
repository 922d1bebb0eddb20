"""What the record says of the future, after the machine's clock was put back: everything that was to come in a minute
would come in an hour and a minute.
"""

from datetime import datetime, timedelta

import sqlalchemy as sa

from relay.core.status import State
from relay.store import tables as t


def set_back(connection: sa.Connection, by: timedelta, *, now: datetime) -> int:
    """Bring forward what was reckoned from a clock that was `by` ahead; returns the number of recipients.

    A time that a client asked for (`send_at`) stays, unless it had come already by that clock.
    """
    r, s, i, n, e = t.recipient.c, t.provider_state.c, t.inbox.c, t.notice.c, t.endpoint.c
    queued = connection.execute(
        t.recipient.update()
        .where(
            r.state == sa.literal_column(f"'{State.QUEUED}'"),
            r.due_at > now,
            sa.or_(r.attempts > 0, r.due_at <= now + by),
        )
        .values(due_at=_earlier(connection, r.due_at, by))
    )
    columns: tuple[sa.Column[datetime], ...] = (
        r.lease_until,
        s.open_until,
        s.probe_until,
        i.due_at,
        n.due_at,
        e.paused_until,
    )
    for column in columns:
        table = column.table
        assert isinstance(table, sa.Table)
        connection.execute(
            table.update().where(column > now).values({column: _earlier(connection, column, by)})
        )
    return int(queued.rowcount)


def _earlier(
    connection: sa.Connection, column: sa.Column[datetime], by: timedelta
) -> sa.ColumnElement[datetime]:
    if connection.dialect.name == "sqlite":
        # There a time is a number of microseconds.
        shorter = sa.type_coerce(column, sa.Integer) - by // timedelta(microseconds=1)
        return sa.type_coerce(shorter, column.type)
    return sa.type_coerce(sa.type_coerce(column, sa.DateTime(timezone=True)) - by, column.type)
