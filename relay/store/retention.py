"""What was kept for long enough goes, a few messages at a time; and what somebody wants gone goes now.

Every part has its own walk over the messages, in the order of their ids and so of their age. A walk remembers how far
it has come, so that it goes on where it was after a restart, and begins again an hour after its end, for what it had
to leave. Nothing that a recipient still waits for is ever touched.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from relay.core.errors import Refused
from relay.core.ids import floor_at, new_id
from relay.core.status import State
from relay.core.stream import DEFAULT
from relay.core.strip import Stripped
from relay.store import streams
from relay.store import tables as t
from relay.store.messages import PART_SIZE
from relay.store.types import BigInt, Instant

#: what stands where an address was
GONE = "redacted@invalid"
#: in which mail is still to be sent, or to be decided about
UNSENT = (State.QUEUED, State.SENDING, State.HELD, State.PARKED)
#: how long a walk rests at its end
_REST = timedelta(hours=1)
#: octets of mail deleted in one transaction, apart from the last
_OCTETS = 8 * 1024 * 1024

_M, _R, _E = t.message.c, t.recipient.c, t.event.c


class Part(StrEnum):
    """What can be kept for a time of its own."""

    BODY = "body"
    ATTACHMENTS = "attachments"
    PARAMS = "params"
    ADDRESSES = "addresses"
    EVENTS = "events"
    MESSAGES = "messages"


Days = Mapping[str, int]
_NAMES = frozenset(part.value for part in Part)


@dataclass(frozen=True, slots=True)
class Rules:
    """How many days each part is kept: as the most particular rule says that says anything; 0 is for ever."""

    default: Days
    of: Mapping[tuple[int, str], Days] = field(default_factory=dict)

    def days(self, part: Part, account_id: int, stream: str) -> int:
        for key in ((account_id, stream), (account_id, "")):
            found = self.of.get(key, {}).get(part)
            if found is not None:
                return found
        return self.default.get(part, 0)

    def shortest(self, part: Part) -> int:
        """The fewest days that any rule says; 0 where all is kept for ever."""
        every = [days for one in (self.default, *self.of.values()) if (days := one.get(part, 0))]
        return min(every, default=0)


def rules(connection: sa.Connection, default: Days) -> Rules:
    """The rules as they are now; `default` are the installation's."""
    rows = connection.execute(sa.select(t.retention))
    return Rules(default, {(row.account_id, row.stream): row.days for row in rows})


def set_rule(connection: sa.Connection, account_id: int, stream: str, days: Days) -> None:
    """Keep an account's mail, or that of one of its streams, for other times; without any it is kept as all is.

    Raises `Refused` for parts that nobody knows and for impossible numbers, `NotFound` for a stream that is none.
    """
    for part, number in days.items():
        if part not in _NAMES or not 0 <= number <= 36500:
            raise Refused(f"{part}={number}: parts are {', '.join(Part)}, days 0 (for ever) to 36500")
    if days and stream:
        streams.get(connection, account_id, stream)
    c = t.retention.c
    connection.execute(t.retention.delete().where(c.account_id == account_id, c.stream == stream))
    if days:
        row = {"id": new_id(), "account_id": account_id, "stream": stream, "days": dict(days)}
        connection.execute(t.retention.insert(), row)


def of_account(connection: sa.Connection, account_id: int) -> dict[str, Days]:
    """An account's own rules by stream; the empty one is for all its mail."""
    c = t.retention.c
    rows = connection.execute(
        sa.select(c.stream, c.days).where(c.account_id == account_id).order_by(c.stream)
    )
    return {row.stream: row.days for row in rows}


@dataclass(slots=True)
class Swept:
    """What one step came to."""

    messages: int = 0
    #: left because somebody still waits for it
    unsent: int = 0
    #: where the next step goes on; None at the end of the walk
    position: int | None = None


def sweep(
    connection: sa.Connection,
    part: Part,
    known: Rules,
    *,
    now: datetime,
    limit: int,
    position: int,
    dry_run: bool = False,
) -> Swept:
    """One step of a walk: what `look` finds loses the part. Attachments go by `keep_stripped`, one mail at a time."""
    found = look(connection, part, known, now=now, limit=limit, position=position)
    if found.ids and not dry_run:
        secure(connection)
        _RULES[part](connection, found.ids, now)
    return Swept(len(found.ids), found.unsent, found.position)


@dataclass(frozen=True, slots=True)
class Due:
    """The messages of one step of a walk whose time has come."""

    ids: Sequence[int] = ()
    #: left because somebody still waits for it
    unsent: int = 0
    #: where the next step goes on; None at the end of the walk
    position: int | None = None


def look(
    connection: sa.Connection, part: Part, known: Rules, *, now: datetime, limit: int, position: int
) -> Due:
    """Look at up to `limit` messages, behind the message `position`, that still have the part. Changes nothing."""
    days = known.shortest(part)
    if not days:
        return Due()
    bound = floor_at(now - timedelta(days=days))
    parameters = {"b_after": position, "b_bound": bound, "b_limit": limit}
    ids = list(connection.execute(_WALKS[part], parameters).scalars())
    if not ids:
        return Due()
    rows = connection.execute(_ROWS, {"b_ids": ids}).all()
    due = [row for row in rows if _is_due(row, part, known, now)]
    waiting = _unsent(connection, [row.id for row in due])
    wanted: list[int] = []
    octets = 0
    last = ids[-1]
    for row in due:
        if row.id in waiting:
            continue
        if wanted and octets + row.size > _OCTETS:
            last = wanted[-1]
            break
        wanted.append(row.id)
        octets += row.size
    ended = last == ids[-1] and len(ids) < limit
    unsent = sum(1 for one in waiting if one <= last)
    return Due(wanted, unsent, None if ended else last)


def _is_due(row: Any, part: Part, known: Rules, now: datetime) -> bool:
    stream = (row.options or {}).get("stream") or DEFAULT
    days = known.days(part, row.account_id, stream)
    return bool(days) and row.id < floor_at(now - timedelta(days=days))


def _unsent(connection: sa.Connection, ids: Sequence[int]) -> set[int]:
    return set(connection.execute(_WAITING, {"b_ids": list(ids)}).scalars()) if ids else set()


_IDS = sa.bindparam("b_ids", expanding=True, type_=BigInt)
_AFTER, _BOUND = sa.bindparam("b_after", type_=BigInt), sa.bindparam("b_bound", type_=BigInt)
_LIMIT = sa.bindparam("b_limit", type_=sa.Integer())
_WAITING = sa.select(_R.message_id).distinct().where(_R.message_id.in_(_IDS), _R.state.in_(UNSENT))
_ROWS = sa.select(_M.id, _M.account_id, _M.options, _M.size).where(_M.id.in_(_IDS)).order_by(_M.id)


def _walk(column: sa.ColumnElement[int], *also: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return (
        sa.select(column)
        .distinct()
        .where(column > _AFTER, column < _BOUND, *also)
        .order_by(column)
        .limit(_LIMIT)
    )


#: the messages that still have something of the part, read from where it lies
_WALKS: dict[Part, sa.Select[Any]] = {
    Part.BODY: _walk(t.body.c.message_id),
    Part.ATTACHMENTS: _walk(_M.id, _M.stripped_at.is_(None), _M.redacted_at.is_(None)),
    Part.PARAMS: _walk(t.params.c.message_id),
    Part.ADDRESSES: _walk(_M.id, _M.recipient != GONE),
    Part.EVENTS: _walk(_E.message_id),
    Part.MESSAGES: _walk(_M.id),
}


def secure(connection: sa.Connection) -> None:
    """Have SQLite write zeros over what it deletes, whatever it was built with."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


# What goes with each part.


def _hold(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Let nobody give messages anything new until all of this is committed: it would be there afterwards."""
    connection.execute(sa.select(_M.id).where(_M.id.in_(ids)).order_by(_M.id).with_for_update())


def redact(connection: sa.Connection, ids: Sequence[int], now: datetime) -> None:
    """Delete what messages say."""
    _hold(connection, ids)
    connection.execute(t.body.delete().where(t.body.c.message_id.in_(ids)))
    connection.execute(t.params.delete().where(t.params.c.message_id.in_(ids)))
    connection.execute(
        t.message.update()
        .where(_M.id.in_(ids))
        .values(
            subject="",
            attachments=sa.null(),
            metadata=sa.null(),
            redacted_at=sa.func.coalesce(_M.redacted_at, sa.literal(now, Instant())),
        )
    )
    _of_rows(connection, ids, {"variables": sa.null()})


def _of_rows(connection: sa.Connection, ids: Sequence[int], values: Mapping[str, Any]) -> None:
    """Change the rows of recipient lists that messages were made of."""
    connection.execute(t.batch_row.update().where(t.batch_row.c.message_id.in_(ids)).values(**values))


def without_files(connection: sa.Connection, ids: Sequence[int], now: datetime) -> None:
    """Remember that messages have no attachments, so that nobody looks again."""
    connection.execute(
        t.message.update().where(_M.id.in_(ids), _M.stripped_at.is_(None)).values(stripped_at=now)
    )


def keep_stripped(connection: sa.Connection, identifier: int, stripped: Stripped, now: datetime) -> bool:
    """Have a mail without its files take the place of the one with them; False where nobody may touch it any more."""
    wanted = sa.select(_M.attachments, _M.redacted_at, _M.stripped_at).where(_M.id == identifier)
    row = connection.execute(wanted.with_for_update()).first()
    if row is None or row.redacted_at or row.stripped_at or _unsent(connection, [identifier]):
        return False
    secure(connection)
    connection.execute(t.body.delete().where(t.body.c.message_id == identifier))
    connection.execute(
        t.body.insert(),
        [
            {"message_id": identifier, "part": number, "data": stripped.mail[start : start + PART_SIZE]}
            for number, start in enumerate(range(0, len(stripped.mail), PART_SIZE))
        ],
    )
    connection.execute(
        t.message.update()
        .where(_M.id == identifier)
        .values(stripped_at=now, attachments=row.attachments or stripped.files)
    )
    return True


def _params(connection: sa.Connection, ids: Sequence[int], _now: datetime) -> None:
    connection.execute(t.params.delete().where(t.params.c.message_id.in_(ids)))
    connection.execute(t.message.update().where(_M.id.in_(ids)).values(metadata=sa.null()))
    _of_rows(connection, ids, {"variables": sa.null()})


def forget(connection: sa.Connection, ids: Sequence[int], _now: datetime) -> None:
    """Delete who messages were for, and the replies and reports that name them."""
    connection.execute(
        t.recipient.update()
        .where(_R.message_id.in_(ids))
        .values(address=GONE, orcpt=sa.null(), reply=sa.null())
    )
    connection.execute(
        t.message.update().where(_M.id.in_(ids)).values(recipient=GONE, cc=sa.null(), bcc=sa.null())
    )
    rows = connection.execute(
        sa.select(_E.id, _E.detail).where(_E.message_id.in_(ids), _E.detail.is_not(None))
    ).all()
    connection.execute(t.event.update().where(_E.message_id.in_(ids)).values(reply=sa.null()))
    for row in rows:
        kept = {name: value for name, value in row.detail.items() if name in _KEPT}
        if kept != row.detail:
            connection.execute(t.event.update().where(_E.id == row.id).values(detail=kept or sa.null()))
    _of_rows(connection, ids, NOBODY)


#: a row of a recipient list that is about nobody any more
NOBODY = {"address": GONE, "taken": sa.null(), "variables": sa.null(), "reason": sa.null()}
#: what of an event is about nobody
_KEPT = frozenset(
    {"outcome", "bounce", "why", "from", "to", "told_by", "machine", "crashes", "as", "feedback_type"}
)


def _events(connection: sa.Connection, ids: Sequence[int], _now: datetime) -> None:
    connection.execute(t.event.delete().where(_E.message_id.in_(ids)))


def remove(connection: sa.Connection, ids: Sequence[int], _now: datetime) -> None:
    """Delete messages whole."""
    _hold(connection, ids)
    _of_rows(connection, ids, NOBODY)
    for table in (t.body, t.params, t.event, t.recipient):
        connection.execute(table.delete().where(table.c.message_id.in_(ids)))
    connection.execute(t.message.delete().where(_M.id.in_(ids)))


_RULES: dict[Part, Callable[[sa.Connection, Sequence[int], datetime], None]] = {
    Part.BODY: redact,
    Part.PARAMS: _params,
    Part.ADDRESSES: forget,
    Part.EVENTS: _events,
    Part.MESSAGES: remove,
}


def redact_one(
    connection: sa.Connection, account_id: int | None, identifier: int, *, addresses: bool, now: datetime
) -> bool:
    """Delete what one message says, and with `addresses` for whom it was; False when there is no such message.

    Raises `Refused` while somebody still waits for it.
    """
    if not sent(connection, account_id, identifier, lock=True):
        return False
    secure(connection)
    redact(connection, [identifier], now)
    # What is old enough for a sweep has none of these any more.
    connection.execute(t.idempotency.delete().where(t.idempotency.c.message_id == identifier))
    notices = sa.select(t.notice.c.id).where(t.notice.c.message_id == identifier)
    connection.execute(t.notice_attempt.delete().where(t.notice_attempt.c.notice_id.in_(notices)))
    connection.execute(t.notice.delete().where(t.notice.c.message_id == identifier))
    if addresses:
        forget(connection, [identifier], now)
    return True


def sent(connection: sa.Connection, account_id: int | None, identifier: int, *, lock: bool = False) -> bool:
    """Whether there is such a message; raises `Refused` while somebody still waits for it."""
    mine = sa.true() if account_id is None else _M.account_id == account_id
    wanted = sa.select(_M.id).where(_M.id == identifier, mine)
    if connection.execute(wanted.with_for_update() if lock else wanted).first() is None:
        return False
    if _unsent(connection, [identifier]):
        raise Refused("The message is not sent to everybody yet; cancel it first.")
    return True


# Where walks have come.


def place(connection: sa.Connection, name: str, now: datetime) -> int | None:
    """Where a walk goes on; None while it rests."""
    row = connection.execute(sa.select(t.sweep).where(t.sweep.c.name == name)).first()
    if row is None:
        return 0
    resting = not row.position and row.ended_at is not None and row.ended_at > now - _REST
    return None if resting else row.position


def advance(connection: sa.Connection, name: str, position: int | None, now: datetime) -> None:
    """Remember where a walk has come; None is its end."""
    values: dict[str, Any] = {"position": position or 0}
    if position is None:
        values["ended_at"] = now
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(t.sweep)
    connection.execute(
        insert.values(name=name, **values).on_conflict_do_update(index_elements=[t.sweep.c.name], set_=values)
    )


def forget_hours(connection: sa.Connection, *, before: datetime, limit: int = 1000) -> int:
    """Delete some statistics of before that time; returns how many rows."""
    c = t.rollup.c
    key = (c.dimension, c.account_id, c.hour, c.value, c.heard)
    rows = connection.execute(sa.select(*key).where(c.hour < before).limit(limit)).all()
    for row in rows:
        connection.execute(
            t.rollup.delete().where(*(one == value for one, value in zip(key, row, strict=True)))
        )
    return len(rows)
