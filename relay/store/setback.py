"""What the record says of the future, after the machine's clock was put back: everything that was to come in a minute
would come in an hour and a minute.
"""

from datetime import datetime, timedelta

import sqlalchemy as sa

from relay.core.status import State
from relay.store import tables as t

#: by how much the time in a message's id, in whole milliseconds, may differ from that at which its mail is due
_MOMENT = timedelta(milliseconds=10)


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
        .values(due_at=_earlier(connection, r.due_at, by), updated_at=_not_ahead(connection, by, now))
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


def late_comers(connection: sa.Connection, by: timedelta, *, now: datetime, lease: float) -> int:
    """The same for what was reckoned before and written after that; returns the number of recipients.

    They are known by having been written at a time that has not come yet, to be tried then, or again after a try.
    `lease` is that of workers, in seconds.
    """
    r = t.recipient.c
    queued = connection.execute(
        t.recipient.update()
        .where(
            r.state == sa.literal_column(f"'{State.QUEUED}'"),
            r.due_at > now,
            r.updated_at > now,
            sa.or_(
                r.attempts > 0, r.due_at.between(_earlier(connection, r.updated_at, _MOMENT), r.updated_at)
            ),
        )
        .values(due_at=_earlier(connection, r.due_at, by), updated_at=_not_ahead(connection, by, now))
    )
    connection.execute(
        t.recipient.update()
        .where(
            r.state == sa.literal_column(f"'{State.SENDING}'"),
            r.lease_until > now + 2 * timedelta(seconds=lease),
        )
        .values(lease_until=_earlier(connection, r.lease_until, by))
    )
    return int(queued.rowcount)


def _not_ahead(connection: sa.Connection, by: timedelta, now: datetime) -> sa.ColumnElement[datetime]:
    written = t.recipient.c.updated_at
    return sa.case((written > now, _earlier(connection, written, by)), else_=written)


def _earlier(
    connection: sa.Connection, column: sa.Column[datetime], by: timedelta
) -> sa.ColumnElement[datetime]:
    if connection.dialect.name == "sqlite":
        # There a time is a number of microseconds.
        shorter = sa.type_coerce(column, sa.Integer) - by // timedelta(microseconds=1)
        return sa.type_coerce(shorter, column.type)
    return sa.type_coerce(sa.type_coerce(column, sa.DateTime(timezone=True)) - by, column.type)
