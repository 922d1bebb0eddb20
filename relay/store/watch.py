"""How the queue stands, for those who watch over it. Nothing here costs more the longer the queue is."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.core.status import MAIL_LANES, State
from relay.core.timing import timing_of
from relay.store import circuits, fairness
from relay.store import tables as t
from relay.store.circuits import Shared
from relay.store.tables.mail import STOPPED
from relay.store.types import Instant

#: what is counted of anything at most
MOST = 100_000
#: of those that wait, how many of the first accepted are asked for their own times
_FIRST = 50


@dataclass(slots=True)
class LaneStanding:
    """One lane. Ages are in seconds."""

    #: recipients by state, `MOST` where there are more
    recipients: dict[str, int] = field(default_factory=dict)
    overdue: float = 0.0  #: for how long the one that has been due longest has been
    oldest: float = 0.0  #: since when the one is tried that has waited longest; none yet of what is for later


@dataclass(slots=True)
class Standing:
    """One look at everything."""

    lanes: dict[str, LaneStanding]
    providers: dict[str, Shared]
    workers: int
    inbox_oldest: float
    notices_oldest: float


_r = t.recipient.c


def _stopped(state: State) -> sa.Select[Any]:
    """How many of each lane a person is to see to."""
    # SQLite uses an index of a part only where a query repeats its words.
    one = sa.and_(sa.text(STOPPED), _r.state == sa.literal_column(f"'{state.value}'"))
    some = sa.select(_r.lane).where(one).limit(MOST).subquery()
    return sa.select(some.c.lane, sa.func.count()).group_by(some.c.lane)


_LANE = sa.bindparam("b_lane", type_=sa.String())
_QUEUED = sa.and_(_r.state == sa.literal_column("'queued'"), _r.lane == _LANE)
_NOW = sa.bindparam("b_now", type_=Instant())
_some = sa.select(_r.id).where(_QUEUED).limit(MOST).subquery()
_WAITING = sa.select(sa.func.count()).select_from(_some)


def _first(ids: sa.Select[Any]) -> sa.Select[Any]:
    """What the messages of the first of these recipients say of their times."""
    few = sa.select(_r.message_id).where(_r.id.in_(ids.limit(_FIRST)))
    return sa.select(t.message.c.accepted_at, t.message.c.options).where(t.message.c.id.in_(few))


# The index of what is due has all that is asked for here.
_due = sa.select(_r.id).where(_QUEUED, _r.due_at <= _NOW).limit(MOST).subquery()
_later = sa.select(_r.id, _r.attempts, _r.waiting_for).where(_QUEUED, _r.due_at > _NOW).limit(MOST).subquery()
_OLDEST = (
    _first(sa.select(_due.c.id).order_by(_due.c.id)),
    # What was never tried and is not due has a time of its own, or quiet hours.
    _first(
        sa.select(_later.c.id)
        .where(sa.or_(_later.c.attempts > 0, _later.c.waiting_for.is_not(None)))
        .order_by(_later.c.id)
    ),
)
_held = sa.select(_r.lane).where(_r.state == sa.literal_column("'sending'")).limit(MOST).subquery()
_SENDING = sa.select(_held.c.lane, sa.func.count()).group_by(_held.c.lane)
_STOPPED = {state: _stopped(state) for state in (State.HELD, State.PARKED)}
_INBOX = sa.select(sa.func.min(t.inbox.c.due_at)).where(t.inbox.c.due_at.is_not(None))
_NOTICES = sa.select(sa.func.min(t.notice.c.due_at)).where(t.notice.c.done_at.is_(None))


def look(connection: sa.Connection, *, now: datetime, alive_since: datetime) -> Standing:
    """Everything at once; `alive_since` is the time after which a worker counts as alive."""
    lanes = {lane.value: LaneStanding() for lane in MAIL_LANES}
    for name, lane in lanes.items():
        due = fairness.first_due(connection, name)
        count = connection.execute(_WAITING, {"b_lane": name}).scalar_one()
        lane.recipients[State.QUEUED] = count
        lane.overdue = _seconds(now, due)
        for statement in _OLDEST if count else ():
            for accepted_at, options in connection.execute(statement, {"b_lane": name, "b_now": now}):
                lane.oldest = max(lane.oldest, _seconds(now, timing_of(accepted_at, options).began))
    for name, count in connection.execute(_SENDING):
        lanes[name].recipients[State.SENDING] = count
    for state, statement in _STOPPED.items():
        for name, count in connection.execute(statement):
            lanes[name].recipients[state] = count
    shared = circuits.snapshot(connection, since=alive_since)
    return Standing(
        lanes,
        dict(shared.states),
        shared.workers,
        _seconds(now, connection.execute(_INBOX).scalar()),
        _seconds(now, connection.execute(_NOTICES).scalar()),
    )


def _seconds(now: datetime, since: datetime | None) -> float:
    return max(0.0, (now - since).total_seconds()) if since is not None else 0.0


def touch(connection: sa.Connection) -> None:
    """Something to commit that changes nothing: a row of its own, there and gone."""
    connection.execute(t.provider_usage.insert(), {"provider": "*", "period": "touch", "used": 0})
    connection.execute(t.provider_usage.delete().where(t.provider_usage.c.provider == "*"))


def server_time(connection: sa.Connection) -> datetime:
    """The time by the database server's clock."""
    moment: datetime = connection.execute(sa.select(sa.func.now(type_=Instant()))).scalar_one()
    return moment
