"""What vanished workers leave behind: claims that ran out go back into the queue, poison is parked."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.core.event import EventKind
from relay.core.ids import new_id
from relay.core.status import State
from relay.store import tables as t
from relay.store import timeline
from relay.store.standings import GONE
from relay.store.types import Instant

_NOW = sa.bindparam("b_now", type_=Instant())
#: A report has come of what the vanished worker sent, so that it is not to be sent again.
_GONE = t.recipient.c.status.in_(sorted(GONE))


def any_expired(connection: sa.Connection, *, now: datetime) -> bool:
    """Whether some worker has let a claim run out."""
    return connection.execute(_EXPIRED, {"b_now": now}).first() is not None


_EXPIRED = (
    sa.select(t.recipient.c.id)
    .where(t.recipient.c.state == sa.literal_column("'sending'"), t.recipient.c.lease_until <= _NOW)
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Recovered:
    """A recipient whose worker vanished with it in hand."""

    id: int
    message_id: int
    crashes: int
    parked: bool


#: tries of a recipient that came to an end
_ENDED = (
    sa.select(sa.func.count())
    .where(
        t.event.c.message_id == t.recipient.c.message_id,
        t.event.c.recipient_id == t.recipient.c.id,
        t.event.c.attempt.is_not(None),
    )
    .scalar_subquery()
)


def reclaim(connection: sa.Connection, *, now: datetime, poison_after: int | None = None) -> int:
    """Put every claimed recipient back into the queue at once; returns how many there were.

    For a start after everything ended at once: no worker is left that could hold a claim, and no mail is to blame.
    What was in hand `poison_after` times in a row is suspected, though, where that is given: a mail may take
    everything down with it. A suspect is tried alone, and is to blame for what happens then.
    """
    crashes: sa.ColumnElement[Any] = t.recipient.c.crashes
    poison: sa.ColumnElement[bool] = sa.false()
    if poison_after is not None:
        suspect = t.recipient.c.crashes > 0
        always = t.recipient.c.attempts - _ENDED >= poison_after
        crashes = sa.case((suspect, t.recipient.c.crashes + 1), (always, 1), else_=0)
        poison = sa.and_(suspect, t.recipient.c.crashes + 1 >= poison_after)
    statement = (
        t.recipient.update()
        .where(t.recipient.c.state == sa.literal_column("'sending'"))
        .values(
            state=sa.case((_GONE, State.DONE), (poison, State.PARKED), else_=State.QUEUED),
            crashes=crashes,
            fence=t.recipient.c.fence + 1,
            due_at=sa.case(
                (sa.or_(_GONE, poison), sa.null()), else_=sa.literal(now, t.recipient.c.due_at.type)
            ),
            lease_until=sa.null(),
            updated_at=now,
        )
        .returning(*_TAKEN_BACK)
    )
    rows = connection.execute(statement).all()
    _note(connection, [row for row in rows if row.state == State.PARKED], now)
    return len(rows)


def recover(
    connection: sa.Connection,
    *,
    now: datetime,
    poison_after: int,
    lease: float = 30,
    limit: int = 1000,
    by: float = math.inf,
) -> list[Recovered]:
    """Put recipients whose lease ran out back into the queue; park those that have seen too many workers vanish.

    Suspects are tried one at a time. Where one of them was in hand when its worker vanished, it is the one to
    blame, and whatever else that worker held goes back with a clean record. `lease` is that of the workers. Nothing
    is done after the monotonic time `by`.
    """
    if time.monotonic() > by:
        return []
    # What a live worker holds was renewed within a third of its lease; anything nearer to its end is of a dead one.
    soon = now + timedelta(seconds=lease / 2)
    on_trial = connection.execute(
        sa.select(t.recipient.c.id)
        .where(
            t.recipient.c.state == sa.literal_column("'sending'"),
            t.recipient.c.lease_until <= soon,
            t.recipient.c.crashes > 0,
        )
        .limit(1)
    ).first()
    blamed = t.recipient.c.crashes > 0 if on_trial else sa.true()
    crashes = t.recipient.c.crashes + sa.case((blamed, 1), else_=0)
    expired = (
        sa.select(t.recipient.c.id)
        .where(t.recipient.c.state == sa.literal_column("'sending'"), t.recipient.c.lease_until <= now)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    poison = crashes >= poison_after
    statement = (
        t.recipient.update()
        .where(t.recipient.c.id.in_(expired))
        .values(
            state=sa.case((_GONE, State.DONE), (poison, State.PARKED), else_=State.QUEUED),
            crashes=crashes,
            # The vanished worker's number must not be valid any more.
            fence=t.recipient.c.fence + 1,
            due_at=sa.case(
                (sa.or_(_GONE, poison), sa.null()), else_=sa.literal(now, t.recipient.c.due_at.type)
            ),
            lease_until=sa.null(),
            updated_at=now,
        )
        .returning(*_TAKEN_BACK)
    )
    return _note(connection, connection.execute(statement).all(), now)


_TAKEN_BACK = tuple(t.recipient.c[name] for name in ("id", "message_id", "account_id", "crashes", "state"))


def _note(connection: sa.Connection, rows: Sequence[Any], now: datetime) -> list[Recovered]:
    """Say in the timelines what was taken back or parked."""
    found = [Recovered(row.id, row.message_id, row.crashes, row.state == State.PARKED) for row in rows]
    accounts = {row.message_id: row.account_id for row in rows}
    if found:
        timeline.add(
            connection,
            [
                {
                    "id": new_id(),
                    "message_id": one.message_id,
                    "recipient_id": one.id,
                    "kind": EventKind.PARKED if one.parked else EventKind.RECOVERED,
                    "at": now,
                    "detail": {"crashes": one.crashes},
                }
                for one in found
            ],
            accounts,
        )
    return found
