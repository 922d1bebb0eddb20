"""What happened to all mail of an account, page by page in the order in which it was heard of.

No index has events by account or kind, since every event would pay for it when mail is sent. So what is asked for is
narrowed to a few messages where an index can, and else the events' own ids, which grow with time, are walked.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.core.event import EventKind
from relay.core.status import Status
from relay.store import messages
from relay.store import tables as t
from relay.store.search import first_at, spellings

#: events looked at for one page, where they are walked
SCAN = 50_000
#: events looked at in one step of the walk
_STEP = 2_000
#: messages up to which their own events are asked for, instead of walking over everybody's
_FEW = 1_000
#: kinds that the row of the message itself tells, so that a door writes no event for them
_OF_DOORS = frozenset({EventKind.ACCEPTED, EventKind.REFUSED})


@dataclass(frozen=True, slots=True)
class Asked:
    """What to find. Times are those at which it was recorded: from, inclusive, and before, exclusive."""

    limit: int = 50
    cursor: int | None = None  #: the id of the last event seen
    ascending: bool = False
    kind: EventKind | None = None
    message_id: int | None = None
    recipient: str | None = None  #: an address
    recorded_from: datetime | None = None
    recorded_before: datetime | None = None

    @property
    def first(self) -> int:
        """The least id that can be on the page."""
        after = self.cursor + 1 if self.cursor is not None and self.ascending else 0
        return max(after, 0 if self.recorded_from is None else first_at(self.recorded_from))

    @property
    def end(self) -> int | None:
        """The least id that is too great for it."""
        ends = [] if self.recorded_before is None else [first_at(self.recorded_before)]
        if self.cursor is not None and not self.ascending:
            ends.append(self.cursor)
        return min(ends, default=None)


@dataclass(frozen=True, slots=True)
class Happening:
    """An event, or where there is none that of the message's being taken or refused by a door."""

    id: int
    message: dict[str, Any]
    event: dict[str, Any] | None = None
    address: str | None = None  #: of the recipient it is about


@dataclass(frozen=True, slots=True)
class Found:
    """A page of events. `next` is where the page after it begins, None at the end.

    A page may be short, or empty, and not the last: then the events that were looked at for it held no more.
    """

    happenings: list[Happening]
    next: int | None


def page(connection: sa.Connection, account_id: int | None, asked: Asked) -> Found:
    """A page of what happened to an account's mail; with None, to everybody's."""
    few = _few(connection, account_id, asked)
    ids: list[int] = []
    end: int | None = None
    if few is not None:
        ids = _of_messages(connection, few, asked)
    elif asked.kind != EventKind.ACCEPTED:
        ids, end = _walk(connection, account_id, asked)
    ids += _of_doors(connection, account_id, asked, few, end)
    ids.sort(reverse=not asked.ascending)
    if len(ids) > asked.limit:
        ids = ids[: asked.limit]
        end = ids[-1]
    return Found(_told(connection, ids), end)


def _few(connection: sa.Connection, account_id: int | None, asked: Asked) -> Collection[int] | None:
    """The messages whose events can be meant, if an index knows them and they are few."""
    m, r = t.message.c, t.recipient.c
    if asked.message_id is not None:
        statement = sa.select(m.id).where(m.id == asked.message_id)
        if account_id is not None:
            statement = statement.where(m.account_id == account_id)
        return set(connection.execute(statement).scalars())
    if asked.recipient is not None:
        statement = sa.select(r.message_id).where(r.address.in_(spellings(asked.recipient)))
        if account_id is not None:
            statement = statement.where(r.account_id == account_id)
    elif account_id is not None:
        statement = sa.select(m.id).where(m.account_id == account_id)
        if asked.end is not None:
            # Nothing is recorded of a message before there is one.
            statement = statement.where(m.id < asked.end)
    else:
        return None
    found = connection.execute(statement.limit(_FEW + 1)).scalars().all()
    return set(found) if len(found) <= _FEW else None


def _between(column: sa.ColumnElement[Any], asked: Asked) -> list[sa.ColumnElement[bool]]:
    bounds: list[sa.ColumnElement[bool]] = [column >= asked.first]
    return bounds if asked.end is None else [*bounds, column < asked.end]


def _in_order(column: sa.ColumnElement[Any], asked: Asked) -> sa.ColumnElement[Any]:
    return column.asc() if asked.ascending else column.desc()


def _of_messages(connection: sa.Connection, few: Collection[int], asked: Asked) -> list[int]:
    e, r = t.event.c, t.recipient.c
    statement = sa.select(e.id).where(e.message_id.in_(few), *_between(e.id, asked))
    if asked.kind is not None:
        statement = statement.where(e.kind == asked.kind)
    if asked.recipient is not None:
        meant = sa.select(r.id).where(r.address.in_(spellings(asked.recipient)), r.message_id.in_(few))
        statement = statement.where(e.recipient_id.in_(meant))
    found = connection.execute(statement.order_by(_in_order(e.id, asked)).limit(asked.limit + 1))
    return list(found.scalars())


def _walk(connection: sa.Connection, account_id: int | None, asked: Asked) -> tuple[list[int], int | None]:
    """One more than a page's worth of ids, and the last that was looked at; None when that is all there are."""
    e, m, r = t.event.c, t.message.c, t.recipient.c
    addresses = None if asked.recipient is None else spellings(asked.recipient)
    filters = account_id is not None or asked.kind is not None or addresses is not None
    size = _STEP if filters else asked.limit + 1
    found: list[int] = []
    bounds = _between(e.id, asked)
    for _ in range(SCAN // _STEP):
        step = sa.select(e.id, e.kind, e.message_id, e.recipient_id).where(*bounds)
        step = step.order_by(_in_order(e.id, asked)).limit(size)
        seen = step.subquery()
        joined = sa.join(seen, t.message, m.id == seen.c.message_id).outerjoin(
            t.recipient, r.id == seen.c.recipient_id
        )
        statement = sa.select(seen.c.id, seen.c.kind, m.account_id, r.address).select_from(joined)
        rows = connection.execute(statement.order_by(_in_order(seen.c.id, asked))).all()
        found += [
            row.id
            for row in rows
            if (account_id is None or row.account_id == account_id)
            and (asked.kind is None or row.kind == asked.kind)
            and (addresses is None or row.address in addresses)
        ]
        if len(rows) < size:
            return found, None
        if len(found) > asked.limit:
            break
        last = rows[-1].id
        bounds = [*_between(e.id, asked), e.id > last if asked.ascending else e.id < last]
    return found, rows[-1].id


def _of_doors(
    connection: sa.Connection,
    account_id: int | None,
    asked: Asked,
    few: Collection[int] | None,
    end: int | None,
) -> list[int]:
    """The messages themselves, each of which is the event of its being taken or refused, as far as `end`."""
    m, r = t.message.c, t.recipient.c
    if asked.kind is not None and asked.kind not in _OF_DOORS:
        return []
    statement = sa.select(m.id).where(*_between(m.id, asked))
    if account_id is not None:
        statement = statement.where(m.account_id == account_id)
    if few is not None and (asked.message_id is not None or asked.recipient is not None):
        statement = statement.where(m.id.in_(few))
    if few is None and asked.recipient is not None:
        to = sa.select(r.message_id).where(r.address.in_(spellings(asked.recipient)))
        statement = statement.where(m.id.in_(to))
    if end is not None:
        statement = statement.where(m.id <= end if asked.ascending else m.id >= end)
    if asked.kind == EventKind.ACCEPTED:
        statement = statement.where(m.accepted_at.is_not(None))
    elif asked.kind == EventKind.REFUSED:
        statement = messages.having_status(statement.where(m.accepted_at.is_(None)), Status.UNSENT)
    found = connection.execute(statement.order_by(_in_order(m.id, asked)).limit(asked.limit + 1))
    return list(found.scalars())


def _told(connection: sa.Connection, ids: Sequence[int]) -> list[Happening]:
    events = _by_id(connection, t.event, ids)
    others = [one for one in ids if one not in events]
    mails = _by_id(connection, t.message, [*others, *(one["message_id"] for one in events.values())])
    about = [one["recipient_id"] for one in events.values() if one["recipient_id"] is not None]
    recipients = _by_id(connection, t.recipient, about)
    told = []
    for one in ids:
        event = events.get(one)
        recipient = recipients.get(event["recipient_id"]) if event else None
        message = mails[event["message_id"] if event else one]
        told.append(Happening(one, message, event, recipient["address"] if recipient else None))
    return told


def _by_id(connection: sa.Connection, table: sa.Table, ids: Collection[int]) -> dict[int, dict[str, Any]]:
    rows = connection.execute(sa.select(table).where(table.c.id.in_(set(ids)))).mappings()
    return {row["id"]: dict(row) for row in rows}
