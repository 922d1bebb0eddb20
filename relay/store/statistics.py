"""Counts by hour that outlive the mail they were made of.

They are made of the record itself, by the clock, and never on the way of a mail. What was heard of in one minute, by
the times in the ids of rows, is counted together: as soon as it is there, again while transactions that began in it
may still commit, and a last time for good a quarter of an hour later. Then its counts are added to those of the
hours in which things happened. Counting a minute again replaces what was counted of it before, and how far all is
counted for good changes in the same transaction: a clock that ends in between, or two at a time, count nothing twice.

An event counts in the hour in which it happened (UTC), whenever it was heard of. Of each recipient only the first of
its kind counts, so that `opened` are people and `opens` are times.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from relay.core.event import EventKind
from relay.core.ids import floor_at, made_at
from relay.core.stream import DEFAULT
from relay.store import tables as t
from relay.store.types import BigInt


class Dimension(StrEnum):
    """By what is counted; each is counted by itself."""

    ACCOUNT = "account"  #: everything of an account; its value is empty
    KEY = "key"  #: by the id of the API key
    TAG = "tag"
    STREAM = "stream"
    PROVIDER = "provider"
    DOMAIN = "domain"  #: of the recipient


#: the counts, in the order in which they are shown
COUNTS = tuple(
    column.name
    for column in t.rollup.columns
    if column.name not in {"dimension", "account_id", "hour", "value", "heard"}
)
#: minutes after which a minute is counted for good
CLOSED = 15
#: minutes counted in one transaction while catching up
_AT_ONCE = 30
#: rows read at once
_PAGE = 5000
_NAME = "events"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_M, _R, _E, _C = t.message.c, t.recipient.c, t.event.c, t.rollup.c
_AFTER, _BOUND = sa.bindparam("b_after", type_=BigInt), sa.bindparam("b_bound", type_=BigInt)


Key = tuple[str, int, datetime, str]
Counts = dict[Key, dict[str, int]]


def minute_of(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds() // 60)


def start_of(minute: int) -> datetime:
    return _EPOCH + timedelta(minutes=minute)


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


# Counting.


def count(connection: sa.Connection, first: datetime, before: datetime) -> Counts:
    """What was heard of from `first` until `before`, by the ids of messages and events. Reads only."""
    found: Counts = defaultdict(lambda: defaultdict(int))
    for row in _rows(connection, _ACCEPTED, first, before):
        whats = ["accepted" if row.accepted_at is not None else "refused"]
        if row.position == 0:
            whats.append("messages")
        _add(found, row, made_at(row.message_id), None, whats)
    for row in _rows(connection, _HAPPENED, first, before):
        if row.account_id is not None:
            _add(found, row, row.at, row.event_provider, _whats(row))
    return found


def _rows(
    connection: sa.Connection, statement: sa.Select[Any], first: datetime, before: datetime
) -> Iterable[Any]:
    after, bound = floor_at(first) - 1, floor_at(before)
    while True:
        rows = connection.execute(statement, {"b_after": after, "b_bound": bound}).all()
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


_OF_MESSAGE = (_M.account_id, _M.key_id, _M.tag, _M.options)
# By the ids of recipients, which are made with those of their messages or a moment later.
_ACCEPTED = (
    sa.select(_R.id, _R.message_id, _R.position, _R.address, _M.accepted_at, *_OF_MESSAGE)
    .join(t.message, _M.id == _R.message_id)
    .where(_R.id > _AFTER, _R.id < _BOUND)
    .order_by(_R.id)
    .limit(_PAGE)
)
_earlier = t.event.alias("earlier")
_BY_MACHINE = sa.and_(
    _earlier.c.kind == EventKind.OPENED,
    sa.func.coalesce(_earlier.c.detail["machine"].as_boolean(), sa.false()),
)
_HAPPENED = (
    sa.select(
        _E.id,
        _E.kind,
        _E.at,
        _E.provider.label("event_provider"),
        _E.detail,
        _E.recipient_id,
        _R.address,
        *_OF_MESSAGE,
        sa.exists()
        .where(
            _earlier.c.message_id == _E.message_id,
            _earlier.c.id < _E.id,
            _earlier.c.recipient_id == _E.recipient_id,
            _earlier.c.kind == _E.kind,
            sa.not_(_BY_MACHINE),
        )
        .label("again"),
    )
    .join(t.message, _M.id == _E.message_id)
    .outerjoin(t.recipient, _R.id == _E.recipient_id)
    .where(_E.id > _AFTER, _E.id < _BOUND)
    .order_by(_E.id)
    .limit(_PAGE)
)

#: counted once for each recipient
_FIRSTS = {
    EventKind.SENT: "sent",
    EventKind.DELIVERED: "delivered",
    EventKind.CLICKED: "clicked",
    EventKind.COMPLAINED: "complained",
    EventKind.UNSUBSCRIBED: "unsubscribed",
    EventKind.EXPIRED: "expired",
    EventKind.CANCELLED: "cancelled",
}
#: counted every time
_TIMES = {EventKind.DEFERRED: "deferred", EventKind.CLICKED: "clicks"}


def _whats(row: Any) -> list[str]:
    kind = EventKind(row.kind)
    detail = row.detail or {}
    if kind is EventKind.OPENED:
        if detail.get("machine") is True:
            return ["machine_opens"]
        return ["opens"] if row.again else ["opens", "opened"]
    if kind is EventKind.BOUNCED:
        return [] if row.again else [f"bounced_{(detail.get('bounce') or {}).get('class', 'soft')}"]
    whats = [_TIMES[kind]] if kind in _TIMES else []
    if kind in _FIRSTS and not row.again:
        whats.append(_FIRSTS[kind])
    return whats


def _add(found: Counts, row: Any, at: datetime, provider: str | None, whats: Sequence[str]) -> None:
    hour = hour_of(at)
    options = row.options or {}
    values: dict[Dimension, str | None] = {
        Dimension.ACCOUNT: "",
        Dimension.KEY: str(row.key_id) if row.key_id else None,
        Dimension.TAG: row.tag,
        Dimension.STREAM: options.get("stream") or DEFAULT,
        Dimension.PROVIDER: provider,
        Dimension.DOMAIN: row.address.rpartition("@")[2].lower() if row.address else None,
    }
    for dimension, value in values.items():
        if value is not None:
            counts = found[dimension.value, row.account_id, hour, value[:255]]
            for what in whats:
                counts[what] += 1


# Keeping the counts.


@dataclass(frozen=True, slots=True)
class Work:
    """Minutes to be counted, the last one excluded."""

    first: int
    before: int
    #: for good; until then they may be counted again
    closed: bool


def due(connection: sa.Connection, now: datetime) -> list[Work]:
    """What is to be counted now: some that are to be closed, else what is open. Empty before the first mail."""
    ends = minute_of(now) - CLOSED
    done = connection.execute(sa.select(t.counted.c.minute).where(t.counted.c.name == _NAME)).scalar()
    if done is None:
        first = _first(connection, 0)
        if first is None:
            return []
        done = minute_of(first)
        return [Work(done, done, closed=True)]
    if done < ends:
        # Whole days without mail are passed at once.
        following = _first(connection, floor_at(start_of(done)))
        start = max(done, min(ends, minute_of(following) if following is not None else ends))
        return [Work(done, min(start + _AT_ONCE, ends), closed=True)]
    return [Work(minute, minute + 1, closed=False) for minute in range(done, minute_of(now) + 1)]


def _first(connection: sa.Connection, after: int) -> datetime | None:
    ids = [
        connection.execute(sa.select(sa.func.min(column)).where(column >= after)).scalar()
        for column in (_R.id, _E.id)
    ]
    found = [one for one in ids if one is not None]
    return made_at(min(found)) if found else None


def keep(connection: sa.Connection, work: Work, counts: Counts) -> bool:
    """Write what was counted; False where another clock was faster, and nothing is changed."""
    if not work.closed:
        connection.execute(t.rollup.delete().where(_C.heard == work.first))
        _insert(connection, counts, work.first)
        return True
    c = t.counted.c
    if work.first == work.before:
        insert = _dialect(connection).insert(t.counted).values(name=_NAME, minute=work.first)
        connection.execute(insert.on_conflict_do_nothing())
        return True
    moved = connection.execute(
        t.counted.update().where(c.name == _NAME, c.minute == work.first).values(minute=work.before)
    )
    if not moved.rowcount:
        return False
    connection.execute(t.rollup.delete().where(_C.heard >= work.first, _C.heard < work.before, _C.heard != 0))
    _insert(connection, counts, 0)
    return True


def _dialect(connection: sa.Connection) -> Any:
    return sqlite if connection.dialect.name == "sqlite" else postgresql


def _insert(connection: sa.Connection, counts: Counts, heard: int) -> None:
    rows = [
        {
            "dimension": dimension,
            "account_id": account_id,
            "hour": hour,
            "value": value,
            "heard": heard,
            **{name: found.get(name, 0) for name in COUNTS},
        }
        for (dimension, account_id, hour, value), found in sorted(counts.items())
        if found
    ]
    if rows:
        insert = _dialect(connection).insert(t.rollup)
        added = {name: t.rollup.c[name] + insert.excluded[name] for name in COUNTS}
        connection.execute(
            insert.on_conflict_do_update(index_elements=list(t.rollup.primary_key.columns), set_=added), rows
        )


# Reading.


@dataclass(frozen=True, slots=True)
class Query:
    """Which counts. `account_id` None is everybody's, all together."""

    dimension: Dimension
    first: datetime
    before: datetime
    account_id: int | None
    value: str | None = None
    #: hour, day, month (UTC), or total
    by: str = "day"
    #: only so many values, those with the most accepted in all of the time
    top: int | None = None


def read(connection: sa.Connection, query: Query, *, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` rows, in the order of time and value: `at` (None in a total), `value` and the counts."""
    wanted = [_C.dimension == query.dimension.value, _C.hour >= query.first, _C.hour < query.before]
    if query.account_id is not None:
        wanted.append(_C.account_id == query.account_id)
    if query.value is not None:
        wanted.append(_C.value == query.value)
    if query.top is not None:
        most = sa.select(_C.value).where(*wanted).group_by(_C.value)
        order = (sa.func.sum(_C.accepted).desc(), sa.func.sum(_C.sent).desc(), _C.value)
        wanted.append(
            _C.value.in_(connection.execute(most.order_by(*order).limit(query.top)).scalars().all())
        )
    # A total is summed up where the rows are: there may be millions of them.
    group = [_C.value] if query.by == "total" else [_C.hour, _C.value]
    sums = [sa.func.sum(_C[name]).label(name) for name in COUNTS]
    found: dict[tuple[datetime | None, str], dict[str, int]] = {}
    for row in connection.execute(sa.select(*group, *sums).where(*wanted).group_by(*group)).mappings():
        at = None if query.by == "total" else _bucket(row["hour"], query.by)
        kept = found.setdefault((at, row["value"]), dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            kept[name] += int(row[name])
    ordered = sorted(found.items(), key=lambda item: (item[0][0] or _EPOCH, item[0][1]))
    return [{"at": at, "value": value, **counts} for (at, value), counts in ordered[:limit]]


def _bucket(hour: datetime, by: str) -> datetime:
    if by == "hour":
        return hour
    return hour.replace(hour=0) if by == "day" else hour.replace(day=1, hour=0)


def counted_until(connection: sa.Connection) -> datetime | None:
    """Everything heard of before is counted for good; None before the first count."""
    minute = connection.execute(sa.select(t.counted.c.minute).where(t.counted.c.name == _NAME)).scalar()
    return start_of(minute) if minute is not None else None


def totals(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    found = dict.fromkeys(COUNTS, 0)
    for row in rows:
        for name in COUNTS:
            found[name] += row[name]
    return found


def as_csv(dimension: Dimension, month: datetime, rows: Sequence[Mapping[str, Any]]) -> str:
    """A month's totals, one line for each value, most accepted first (RFC 4180)."""
    out = io.StringIO(newline="")
    lines = csv.writer(out)
    lines.writerow(("month", dimension.value, *COUNTS))
    for row in sorted(rows, key=lambda row: (-row["accepted"], row["value"])):
        lines.writerow((f"{month:%Y-%m}", _harmless(row["value"]), *(row[name] for name in COUNTS)))
    return out.getvalue()


def _harmless(value: str) -> str:
    """A tag that a spreadsheet would take for a formula is shown as text."""
    return f"'{value}" if value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value
