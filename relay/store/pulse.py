"""What went on in one minute, counted from the ids of what was written in it: no index but the primary keys."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from relay.core.event import EventKind
from relay.core.ids import floor_at, made_at
from relay.store import tables as t
from relay.store.types import BigInt

#: rows of a kind that are counted of one minute at most
MOST = 20_000
#: sends of one minute that its latencies are taken from
_SAMPLE = 300


@dataclass(frozen=True, slots=True)
class Minute:
    """`events` are those of timelines by kind. Latencies are in seconds, from acceptance to a provider's."""

    at: datetime
    accepted: int
    events: dict[str, int] = field(default_factory=dict)
    median: float | None = None
    p95: float | None = None
    capped: bool = False  #: there was more than is counted

    @property
    def cost(self) -> int:
        """Rows that were looked at."""
        return self.accepted + sum(self.events.values())


_FROM = sa.bindparam("b_from", type_=BigInt)
_BEFORE = sa.bindparam("b_before", type_=BigInt)
_m, _e = t.message.c, t.event.c
_messages = sa.select(_m.id).where(_m.id >= _FROM, _m.id < _BEFORE).limit(MOST).subquery()
_ACCEPTED = sa.select(sa.func.count()).select_from(_messages)
_span = (_e.id >= _FROM, _e.id < _BEFORE)
_events = sa.select(_e.kind).where(*_span).limit(MOST).subquery()
_KINDS = sa.select(_events.c.kind, sa.func.count()).group_by(_events.c.kind)
_some = sa.select(_e.kind, _e.message_id, _e.at).where(*_span).order_by(_e.id).limit(MOST).subquery()
_SENT = (
    sa.select(_some.c.message_id, _some.c.at)
    .where(_some.c.kind == sa.literal_column(f"'{EventKind.SENT}'"))
    .limit(_SAMPLE)
)


def minute(connection: sa.Connection, at: datetime) -> Minute:
    """The minute that begins `at`."""
    span = {"b_from": floor_at(at), "b_before": floor_at(at + timedelta(minutes=1))}
    accepted = connection.execute(_ACCEPTED, span).scalar_one()
    events = {str(kind): int(count) for kind, count in connection.execute(_KINDS, span)}
    took: list[float] = []
    if EventKind.SENT in events:
        sent = connection.execute(_SENT, span)
        took = sorted(max(0.0, (row.at - made_at(row.message_id)).total_seconds()) for row in sent)
    return Minute(
        at,
        accepted,
        events,
        took[len(took) // 2] if took else None,
        took[int(len(took) * 0.95)] if took else None,
        capped=MOST in (accepted, sum(events.values())),
    )
