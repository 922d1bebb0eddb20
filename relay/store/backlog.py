"""The mail that waits, for those who look after it: which it is, page by page, and how much of it there is.

Nothing here costs more the longer the queue is: a walk goes along an index from where the last one stopped, looks at
a bounded number of recipients, and says how far it came, whatever it found on the way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import sqlalchemy as sa

from relay.core.event import EventKind
from relay.core.ids import EPOCH, MAX_ID, floor_at, made_at
from relay.core.status import MAIL_LANES, State
from relay.core.stream import DEFAULT
from relay.store import tables as t
from relay.store.rows import micros
from relay.store.tables.mail import STOPPED
from relay.store.types import BigInt, Instant

#: everything that has not come to an end, in the order of a walk
WAITING = (State.SENDING, State.QUEUED, State.HELD, State.PARKED)
#: recipients looked at in one step of a walk
STEP = 1000
#: what is counted of anything at most
MOST = 100_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the waiting mail; every condition that is given holds. Domains and names are compared whole."""

    states: Sequence[State] = WAITING
    lane: str | None = None
    account_id: int | None = None
    #: its last try was by this one, or it waits for it, or an operator wants it to go by it
    provider: str | None = None
    recipient_domain: str | None = None
    sender_domain: str | None = None  #: of the return path or the From field
    tag: str | None = None
    stream: str | None = None
    accepted_before: datetime | None = None
    #: these alone: all recipients of these messages, and these recipients
    message_ids: Sequence[int] = ()
    recipient_ids: Sequence[int] = ()

    @property
    def listed(self) -> bool:
        return bool(self.message_ids or self.recipient_ids)

    def narrowed(self, states: Sequence[State]) -> "Selection":
        """The same, of these states only."""
        kept = tuple(state for state in self.states if state in states)
        return Selection(**{**{name: getattr(self, name) for name in self.__slots__}, "states": kept})


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a walk stands: behind this recipient of this leg. Written as text for clients to give back."""

    leg: int = 0
    account: int = -1
    due: int = 0  #: microseconds since 1970
    id: int = -1

    def __str__(self) -> str:
        return ".".join(map(str, (self.leg, self.account + 1, self.due, self.id + 1)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what no position says of itself."""
        leg, account, due, identifier = (min(int(part), MAX_ID) for part in text.split("."))
        if leg >= len(_LEGS) or due > _LAST_DUE:
            raise ValueError("there is no such place")
        return cls(leg, account - 1, due, identifier - 1)


@dataclass(slots=True)
class Step:
    """What one step came to: the recipients that were wanted, and where to go on; None at the end."""

    ids: list[int] = field(default_factory=list)
    position: Position | None = None


_R, _M, _E = t.recipient.c, t.message.c, t.event.c
_LEGS: Sequence[tuple[State, str | None]] = (
    (State.SENDING, None),
    *((State.QUEUED, lane.value) for lane in MAIL_LANES),
    *((state, lane.value) for state in (State.HELD, State.PARKED) for lane in MAIL_LANES),
)
_LAST_DUE = micros(datetime.max.replace(tzinfo=EPOCH.tzinfo))


def walk(
    connection: sa.Connection,
    wanted: Selection,
    position: Position,
    *,
    also: sa.ColumnElement[bool] | None = None,
    limit: int = STEP,
    most: int = STEP,
) -> Step:
    """One step from `position` on: it looks at up to `limit` recipients, and ends once `most` of them were wanted.

    Sending ones first, then queued ones, held ones and parked ones; of these urgent ones first, then by account,
    those tried soonest first. `also` is a further condition on the recipient.
    """
    conditions = [*_conditions(wanted), *([also] if also is not None else ())]
    hit = sa.and_(sa.true(), *conditions)
    if wanted.listed:
        return _listed(connection, wanted, position, hit, min(limit, most))
    if not conditions:
        limit = min(limit, most)
    for leg in range(position.leg, len(_LEGS)):
        state, lane = _LEGS[leg]
        if state not in wanted.states or (lane and wanted.lane not in {None, lane}):
            continue
        start = position if leg == position.leg else Position(leg)
        rows = connection.execute(_along(leg, wanted, start, hit, limit)).all()
        found: list[int] = []
        for row in rows:
            found += [row.id] if row.hit else []
            if len(found) == most:
                break
        if rows:
            due = micros(row.due_at) if row.due_at is not None and state is State.QUEUED else 0
            return Step(found, Position(leg, row.account_id, due, row.id))
    return Step()


def _listed(
    connection: sa.Connection,
    wanted: Selection,
    position: Position,
    hit: sa.ColumnElement[bool],
    limit: int,
) -> Step:
    named = sa.or_(_R.message_id.in_(wanted.message_ids), _R.id.in_(wanted.recipient_ids))
    statement = (
        sa.select(_R.id)
        .join(t.message, _M.id == _R.message_id)
        .where(named, _R.state.in_(wanted.states), _R.id > position.id, hit)
        .order_by(_R.id)
        .limit(limit)
    )
    found = list(connection.execute(statement).scalars())
    return Step(found, Position(id=found[-1]) if len(found) == limit else None)


def _along(
    leg: int, wanted: Selection, start: Position, hit: sa.ColumnElement[bool], limit: int
) -> sa.Select[Any]:
    """The next recipients of a leg, each with whether it is wanted."""
    state, lane = _LEGS[leg]
    # SQLite uses an index of a part only where a query repeats its words.
    inner = sa.select(_R.id).where(_R.state == sa.literal_column(f"'{state.value}'"))
    if lane is None:
        order: tuple[Any, ...] = (_R.id,)
        inner = inner.where(_R.id > start.id)
    elif state is State.QUEUED:
        order = (_R.account_id, _R.due_at, _R.id)
        moment = sa.literal(_moment(start.due), Instant())
        inner = inner.where(_R.lane == lane, sa.tuple_(*order) > sa.tuple_(start.account, moment, start.id))
    else:
        order = (_R.account_id, _R.id)
        inner = inner.where(
            sa.text(STOPPED), _R.lane == lane, sa.tuple_(*order) > sa.tuple_(start.account, start.id)
        )
    if wanted.account_id is not None:
        inner = inner.where(_R.account_id == wanted.account_id)
    some = inner.order_by(*order).limit(limit).subquery()
    return (
        sa.select(_R.id, _R.account_id, _R.due_at, hit.label("hit"))
        .join(some, some.c.id == _R.id)
        .join(t.message, _M.id == _R.message_id)
        .order_by(*order)
    )


def _moment(due: int) -> datetime:
    return EPOCH.replace(year=1970) + (datetime.resolution * due)


def _conditions(wanted: Selection) -> Iterator[sa.ColumnElement[bool]]:
    """What is not said by the leg already."""
    if wanted.account_id is not None:
        yield _R.account_id == wanted.account_id
    if wanted.lane is not None:
        yield _R.lane == wanted.lane
    if wanted.provider is not None:
        name = wanted.provider
        room = _R.waiting_for.startswith(f"{name}/", autoescape=True)
        yield sa.or_(_R.provider == name, _R.route == name, _R.waiting_for == name, room)
    if wanted.recipient_domain is not None:
        yield _of_domain(_R.address, wanted.recipient_domain)
    if wanted.sender_domain is not None:
        domain = wanted.sender_domain
        yield sa.or_(_of_domain(_M.sender, domain), _of_domain(_M.from_address, domain))
    if wanted.tag is not None:
        yield _M.tag == wanted.tag
    if wanted.stream is not None:
        yield sa.func.coalesce(_M.options["stream"].as_string(), DEFAULT) == wanted.stream
    if wanted.accepted_before is not None:
        yield _R.message_id < _first_at(wanted.accepted_before)


def _of_domain(column: Any, domain: str) -> sa.ColumnElement[bool]:
    found: sa.ColumnElement[bool] = sa.func.lower(column).endswith(f"@{domain.lower()}", autoescape=True)
    return found


def _first_at(moment: datetime) -> int:
    return floor_at(min(max(moment, EPOCH), made_at(MAX_ID)))


_SHOWN = (
    *(
        _R[name]
        for name in (
            "id",
            "message_id",
            "account_id",
            "address",
            "lane",
            "state",
            "attempts",
            "crashes",
            "fence",
            "due_at",
            "lease_until",
            "provider",
            "waiting_for",
            "route",
            "reply",
        )
    ),
    _M.sender,
    _M["from"],
    _M.subject,
    _M.tag,
    _M.options["stream"].as_string().label("stream"),
    _M.accepted_at,
)
#: steps that one page goes at most; what is rare in a long queue is found page by page
_STEPS = 20


def page(
    connection: sa.Connection, wanted: Selection, position: Position, *, limit: int
) -> tuple[list[dict[str, Any]], Position | None]:
    """Up to `limit` of the wanted recipients with their messages, and where to go on; None at the end.

    A page may have fewer, or none, with more to come. `stopped` tells who held or parked one, and why.
    """
    found: list[int] = []
    here: Position | None = position
    for _ in range(_STEPS):
        step = walk(connection, wanted, here or position, most=limit - len(found))
        found += step.ids
        here = step.position
        if here is None or len(found) == limit:
            break
    return shown(connection, found), here


def shown(connection: sa.Connection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """These recipients in this order."""
    if not ids:
        return []
    statement = sa.select(*_SHOWN).join(t.message, _M.id == _R.message_id).where(_R.id.in_(ids))
    rows = {row["id"]: dict(row) for row in connection.execute(statement).mappings()}
    _add_stops(connection, rows)
    return [rows[one] for one in ids if one in rows]


_STOPS = (
    sa.select(_E.recipient_id, _E.kind, _E.at, _E.provider, _E.reply, _E.detail)
    .where(
        _E.message_id.in_(sa.bindparam("b_ids", expanding=True, type_=BigInt)),
        _E.kind.in_([EventKind.HELD, EventKind.PARKED]),
    )
    .order_by(_E.id)
)


def _add_stops(connection: sa.Connection, rows: Mapping[int, dict[str, Any]]) -> None:
    """Beside each held or parked one the last line of its timeline that says so."""
    stopped = {row["message_id"] for row in rows.values() if row["state"] in {State.HELD, State.PARKED}}
    for row in rows.values():
        row["stopped"] = None
    for line in connection.execute(_STOPS, {"b_ids": list(stopped)}) if stopped else ():
        found = rows.get(line.recipient_id)
        if found is not None and line.kind == found["state"]:
            found["stopped"] = dict(line._mapping)


# How much there is.


@dataclass(slots=True)
class LaneCount:
    """Recipients of a lane, `MOST` of each where there are more."""

    due: int = 0  #: to be tried now
    later: int = 0  #: to be tried at their time, or when what they wait for comes
    sending: int = 0
    held: int = 0
    parked: int = 0


def counts(
    connection: sa.Connection, *, now: datetime, account_id: int | None = None
) -> dict[str, LaneCount]:
    """How much waits in each lane, of one account or of all."""
    found = {lane.value: LaneCount() for lane in MAIL_LANES}
    mine = sa.true() if account_id is None else _R.account_id == account_id
    for name, count in found.items():
        queued = sa.select(_R.id).where(_R.state == sa.literal_column("'queued'"), _R.lane == name, mine)
        everything = _number(connection, queued)
        count.due = _number(connection, queued.where(_R.due_at <= now))
        count.later = max(0, everything - count.due)
        for state in (State.HELD, State.PARKED):
            stopped = sa.select(_R.id).where(
                sa.text(STOPPED), _R.state == sa.literal_column(f"'{state.value}'"), _R.lane == name, mine
            )
            setattr(count, state.value, _number(connection, stopped))
        sending = sa.select(_R.id).where(_R.state == sa.literal_column("'sending'"), _R.lane == name, mine)
        count.sending = _number(connection, sending)
    return found


def _number(connection: sa.Connection, statement: sa.Select[Any]) -> int:
    some = statement.limit(MOST).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())


def rooms(connection: sa.Connection) -> dict[str, int]:
    """How many wait for what: a provider, or `provider/domain`; of all rooms together `MOST` at most."""
    some = sa.select(_R.waiting_for).where(_R.waiting_for.is_not(None)).limit(MOST).subquery()
    rows = connection.execute(
        sa.select(some.c.waiting_for, sa.func.count())
        .group_by(some.c.waiting_for)
        .order_by(sa.desc(sa.func.count()))
    )
    return {row[0]: row[1] for row in rows}
