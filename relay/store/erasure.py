"""One person erased from the whole record: every table is searched for the address, whatever it is for.

Mail that names the person loses its content, in any other place a name that cannot be reversed stands where the
address was. What still waits to be sent to the person is cancelled. A suppression stays as a keyed hash, so that the
person is not written to again. The search goes in small steps over primary keys: it reads outside of any lock and
writes only the rows that it found.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from relay.core import seal
from relay.core.clock import now
from relay.core.event import EventKind
from relay.core.ids import made_at, new_id
from relay.core.status import State, Status
from relay.store import retention, secrets, timeline
from relay.store import tables as t
from relay.store.batches import OPEN, BatchState, RowState
from relay.store.suppressions import HASHED, PURPOSE, UNHASHED, clean, hashed

#: rows looked at in one step; of those that may be half a megabyte each, fewer
STEP, LARGE_STEP = 2000, 50
WAITING, DONE = "waiting", "done"
#: not searched: what operators and accounts have set up, our own words, and numbers
_SKIPPED = frozenset(
    {
        "account",
        "sender",
        "api_key",
        "dkim_key",
        "secret",
        "erasure",
        "rollup",
        "counted",
        "sweep",
        "leader_lease",
    }
)
#: the list of suppressions comes last, once every process knows that erased addresses may be on it
_TABLES = (
    *(one for one in t.metadata.sorted_tables if one.name not in {*_SKIPPED, "suppression"}),
    t.suppression,
)
_LARGE = (t.body,)
_KNOWN = timedelta(seconds=UNHASHED + 1)
_STOPPABLE = (State.QUEUED, State.HELD, State.PARKED)


def digest(connection: sa.Connection, address: str) -> str:
    """By which an erased address is known again, and only here."""
    return hashed(seal.derive(secrets.ensure(connection), PURPOSE), address).removeprefix(HASHED)


def begin(connection: sa.Connection, address: str, asked_by: str) -> dict[str, Any]:
    """Ask for a person to be erased; `step` does it. Raises `BadAddress`."""
    address = clean(address)
    row = {
        "id": new_id(),
        "digest": digest(connection, address),
        "address": address,
        "state": WAITING,
        "asked_by": asked_by[:64],
        "place": {},
        "counts": {},
        "ended_at": None,
    }
    connection.execute(t.erasure.insert(), row)
    return row


def get(connection: sa.Connection, identifier: int) -> dict[str, Any] | None:
    row = connection.execute(sa.select(t.erasure).where(t.erasure.c.id == identifier)).mappings().first()
    return dict(row) if row else None


def page(connection: sa.Connection, *, limit: int, before: int | None = None) -> list[dict[str, Any]]:
    """Up to `limit` erasures, newest first, below the id `before`."""
    statement = sa.select(t.erasure).order_by(t.erasure.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(t.erasure.c.id < before)
    return [dict(row) for row in connection.execute(statement).mappings()]


def waiting(connection: sa.Connection) -> list[dict[str, Any]]:
    """Those that have not ended, the oldest first."""
    statement = sa.select(t.erasure).where(t.erasure.c.state == WAITING).order_by(t.erasure.c.id).limit(20)
    return [dict(row) for row in connection.execute(statement).mappings()]


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of one table, in one window of its keys, that name the person."""

    table: str
    keys: list[tuple[Any, ...]]
    #: where the next window begins; None when the next table's turn has come
    position: int | None
    #: it is too early for this one
    wait: bool = False


def look(connection: sa.Connection, erasure: Mapping[str, Any]) -> Found | None:
    """Search the next window; None at the end of the last table. Reads only."""
    place = erasure["place"]
    index, position = place.get("table", 0), place.get("position", 0)
    if index >= len(_TABLES):
        return None
    table = _TABLES[index]
    if table is t.suppression and now() < made_at(erasure["id"]) + _KNOWN:
        return Found(table.name, [], position, wait=True)
    if table is t.batch_part:
        return Found(table.name, _unread(connection, erasure["id"]), None)
    keys = list(table.primary_key.columns)
    statement = sa.select(*keys).where(_names(connection, table, erasure["address"]))
    following = None
    if isinstance(keys[0].type, sa.BigInteger):
        first = keys[0]
        step = LARGE_STEP if table in _LARGE else STEP
        window = sa.select(first).where(first > position).order_by(first).offset(step - 1).limit(1)
        following = connection.execute(window).scalar()
        statement = statement.where(first > position)
        if following is not None:
            statement = statement.where(first <= following)
    return Found(table.name, [tuple(row) for row in connection.execute(statement)], following)


def _unread(connection: sa.Connection, before: int) -> list[tuple[Any, ...]]:
    """Lists that were there and are not read yet. A change would move what is in them, and their rows come anyway."""
    b = t.batch.c
    states = (BatchState.UPLOADING, BatchState.READING)
    rows = connection.execute(sa.select(b.id).where(b.state.in_(states), b.id < before))
    return [tuple(row) for row in rows]


def step(connection: sa.Connection, identifier: int, found: Found | None) -> dict[str, Any]:
    """Erase what `look` found, and remember where the search has come; returns the erasure as it stands now."""
    row = (
        connection.execute(sa.select(t.erasure).where(t.erasure.c.id == identifier).with_for_update())
        .mappings()
        .one()
    )
    erasure = dict(row)
    if erasure["state"] == DONE:
        return erasure
    retention.secure(connection)
    counts, place = dict(erasure["counts"]), dict(erasure["place"])
    if found is None:
        return _end(connection, erasure, counts)
    if found.keys:
        eraser = _Eraser(connection, erasure["address"], erasure["digest"], counts)
        eraser.erase(t.metadata.tables[found.table], found.keys)
        place["found"] = place.get("found", 0) + eraser.changed
        place["left"] = place.get("left", 0) + eraser.left
    if found.position is None:
        place |= {"table": place.get("table", 0) + 1, "position": 0}
    else:
        place["position"] = found.position
    values = {"place": place, "counts": counts}
    connection.execute(t.erasure.update().where(t.erasure.c.id == identifier).values(**values))
    return {**erasure, **values}


def _end(connection: sa.Connection, erasure: dict[str, Any], counts: dict[str, int]) -> dict[str, Any]:
    """A whole search that found nothing is the end; after any other one comes another."""
    place = erasure["place"]
    if place.get("found") or place.get("left"):
        values: dict[str, Any] = {"place": {"searches": place.get("searches", 0) + 1}}
        # What others still wait for is looked at again when the clock comes by.
        values["place"]["waits"] = not place.get("found")
    else:
        searches = place.get("searches", 0) + 1
        values = {
            "state": DONE,
            "address": None,
            "ended_at": now(),
            "place": {"searches": searches},
            "counts": counts,
        }
    connection.execute(t.erasure.update().where(t.erasure.c.id == erasure["id"]).values(**values))
    return {**erasure, **values}


# Finding.


def _names(connection: sa.Connection, table: sa.Table, address: str) -> sa.ColumnElement[bool]:
    """Whether any column of a row has the address in it, in any letter case."""
    lite = connection.dialect.name == "sqlite"
    has = sa.func.instr if lite else sa.func.strpos
    tests: list[sa.ColumnElement[bool]] = []
    for column in table.columns:
        kind = column.type.impl if isinstance(column.type, sa.TypeDecorator) else column.type
        if isinstance(kind, sa.LargeBinary):
            octets = sa.literal(address.encode(), sa.LargeBinary())
            if lite:
                # Of octets as text; what comes behind a NUL is found as it is written.
                tests.append(sa.func.instr(column, octets) > 0)
                tests.append(sa.func.instr(sa.func.lower(sa.cast(column, sa.Text)), address) > 0)
            else:
                lowered = sa.func.lower(sa.func.encode(column, "escape"))
                tests.append(sa.func.strpos(lowered, _escaped(address)) > 0)
        elif isinstance(kind, sa.JSON):
            written = sa.func.lower(sa.cast(column, sa.Text))
            tests += [has(written, one) > 0 for one in {address, _in_json(address)}]
        elif isinstance(kind, sa.String):
            tests.append(has(sa.func.lower(column), address) > 0)
    return sa.or_(*tests) if tests else sa.false()


def _in_json(address: str) -> str:
    r"""As SQLAlchemy writes it, with `\u` for what is not ASCII."""
    return address.encode("ascii", "backslashreplace").decode() if not address.isascii() else address


def _escaped(address: str) -> str:
    """As PostgreSQL's `encode(…, 'escape')` shows these octets."""
    return "".join(chr(one) if one < 128 else f"\\{one:03o}" for one in address.encode()).replace(
        "\\\\", "\\"
    )


#: what may stand right before an address and is no part of it, though it looks so: the end of an encoded character
_BEFORE = r"(?:(?<![A-Za-z0-9._+-])|(?<==[0-9A-F]{2})|(?<=%[0-9A-F]{2})|(?<=\\[nrtbf]))"
_BEHIND = r"(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"


def whole(address: str) -> re.Pattern[str]:
    """Finds the address, in any letter case, where it is not the end or the beginning of another one."""
    return re.compile(_BEFORE + re.escape(address) + _BEHIND, re.IGNORECASE)


class _Finder:
    """Tells rows that name the person from those in which the database found another's longer address."""

    def __init__(self, address: str) -> None:
        self.text = whole(address)
        self.octets = re.compile(self.text.pattern.encode(), re.IGNORECASE)

    def names(self, value: Any) -> bool:
        if isinstance(value, str):
            return self.text.search(value) is not None
        if isinstance(value, bytes | memoryview):
            return self.octets.search(bytes(value)) is not None
        if isinstance(value, Mapping):
            return any(self.names(one) for item in value.items() for one in item)
        return isinstance(value, list) and any(map(self.names, value))

    def keys(
        self, connection: sa.Connection, table: sa.Table, keys: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        columns = list(table.primary_key.columns)
        found = []
        for key in keys:
            where = sa.and_(*(column == value for column, value in zip(columns, key, strict=True)))
            row = connection.execute(sa.select(table).where(where)).first()
            if row is not None and any(map(self.names, row)):
                found.append(key)
        return found


# Erasing.


class _Eraser:
    def __init__(self, connection: sa.Connection, address: str, digest: str, counts: dict[str, int]) -> None:
        self._connection = connection
        self._address = address
        self._digest = digest
        self._instead = f"{digest[:16]}@erased.invalid"
        self._finder = _Finder(address)
        self._counts = counts
        self.changed = 0
        self.left = 0

    def erase(self, table: sa.Table, found: Sequence[tuple[Any, ...]]) -> None:
        if table is t.batch_part:
            self.left += len(found)
            return
        keys = self._finder.keys(self._connection, table, found)
        if not keys:
            return
        if table is t.body or table is t.params:
            self._redact({key[0] for key in keys})
        elif table is t.message:
            self._redact({key[0] for key in keys})
            self._rewrite(table, keys)
        elif table is t.recipient:
            self._cancel([key[0] for key in keys])
            self._redact(self._readable([key[0] for key in keys]))
            self._rewrite(table, self._in_no_hands(keys))
        elif table is t.batch_row:
            self._rewrite(table, self._off_their_lists(keys))
        elif table is t.suppression:
            self._hash([key[0] for key in keys])
        elif table is t.inbox:
            gone = self._connection.execute(
                t.inbox.delete().where(t.inbox.c.id.in_([key[0] for key in keys]))
            )
            self._count(table.name, gone.rowcount)
        else:
            self._rewrite(table, keys)

    def _count(self, name: str, number: int) -> None:
        if number:
            self._counts[name] = self._counts.get(name, 0) + number
            self.changed += number

    def _redact(self, ids: set[int]) -> None:
        """What a mail says goes, once nobody else waits for it."""
        c = t.recipient.c
        waiting = sa.select(c.message_id).where(c.message_id.in_(ids), c.state.in_(retention.UNSENT))
        held = set(self._connection.execute(waiting).scalars())
        theirs = self._connection.execute(
            sa.select(c.id).where(
                c.message_id.in_(held), c.state.in_(_STOPPABLE), sa.func.lower(c.address) == self._address
            )
        )
        self._cancel(list(theirs.scalars()))
        held = set(self._connection.execute(waiting).scalars())
        self.left += len(held)
        free = sorted(ids - held)
        for start in range(0, len(free), 100):
            some = free[start : start + 100]
            retention.redact(self._connection, some, now())
        self._count("redacted", len(free))

    def _readable(self, recipients: Sequence[int]) -> set[int]:
        """The messages to these recipients that still say something."""
        c, m = t.recipient.c, t.message.c
        wanted = sa.select(m.id).join(t.recipient, c.message_id == m.id)
        wanted = wanted.where(c.id.in_(recipients), m.redacted_at.is_(None))
        return set(self._connection.execute(wanted).scalars())

    def _off_their_lists(self, keys: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        """Rows to the person make no mail any more; returns those of which nothing else is to be made either."""
        b, c = t.batch.c, t.batch_row.c
        named = sa.tuple_(c.batch_id, c.number).in_(keys)
        mine = sa.func.lower(c.address) == self._address
        waits = sa.and_(c.state == RowState.VALID, c.batch_id.in_(sa.select(b.id).where(b.state.in_(OPEN))))
        stopped = self._connection.execute(sa.select(c.batch_id, c.number).where(named, mine, waits)).all()
        for one in {row.batch_id for row in stopped}:
            count = sum(row.batch_id == one for row in stopped)
            # A worker may have the row in hand: with another fence its step comes to nothing.
            self._connection.execute(
                t.batch.update()
                .where(b.id == one)
                .values(fence=b.fence + 1, lease_until=None, valid=b.valid - count, refused=b.refused + count)
            )
        if stopped:
            gone = sa.tuple_(c.batch_id, c.number).in_([tuple(row) for row in stopped])
            values = {"state": RowState.REFUSED, "reason": "the person was erased"}
            self._connection.execute(t.batch_row.update().where(gone).values(**values))
        self._connection.execute(
            t.batch_row.update().where(named, mine).values(variables=sa.null(), taken=sa.null())
        )
        others = {
            tuple(row)
            for row in self._connection.execute(sa.select(c.batch_id, c.number).where(named, waits))
        }
        self.left += len(others)
        return [key for key in keys if tuple(key) not in others]

    def _cancel(self, ids: Sequence[int]) -> None:
        """What was not sent to the person is not sent."""
        c = t.recipient.c
        moment = now()
        mine = (c.id.in_(ids), c.state.in_(_STOPPABLE), sa.func.lower(c.address) == self._address)
        rows = self._connection.execute(
            sa.select(c.id, c.message_id, c.account_id, c.position, c.status).where(*mine).with_for_update()
        ).all()
        if not rows:
            return
        gone = sa.case((c.status == Status.ACCEPTED, Status.UNSENT), else_=c.status)
        self._connection.execute(
            t.recipient.update()
            .where(c.id.in_([row.id for row in rows]))
            .values(
                state=State.CANCELLED, status=gone, due_at=sa.null(), waiting_for=sa.null(), updated_at=moment
            )
        )
        primary = [row.message_id for row in rows if row.position == 0 and row.status == Status.ACCEPTED]
        m = t.message
        self._connection.execute(
            m.update().where(m.c.id.in_(primary)).values(status=Status.UNSENT, updated_at=moment)
        )
        events = [
            {
                "id": new_id(),
                "message_id": row.message_id,
                "recipient_id": row.id,
                "kind": EventKind.CANCELLED.value,
                "at": moment,
                "detail": {"why": "erased"},
            }
            for row in rows
        ]
        timeline.add(self._connection, events, {row.message_id: row.account_id for row in rows})
        self._count("cancelled", len(rows))

    def _in_no_hands(self, keys: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        """Without those that a worker has: their turn comes with the next search."""
        c = t.recipient.c
        sending = sa.select(c.id).where(c.id.in_([key[0] for key in keys]), c.state == State.SENDING)
        held = set(self._connection.execute(sending.with_for_update()).scalars())
        self.left += len(held)
        return [key for key in keys if key[0] not in held]

    def _hash(self, ids: Sequence[int]) -> None:
        """Suppressed they stay; nobody can read any more who."""
        c = t.suppression.c
        name = HASHED + self._digest
        for row in self._connection.execute(sa.select(t.suppression).where(c.id.in_(ids))).mappings().all():
            if row["address"] != self._address:
                self._rewrite(t.suppression, [(row["id"],)])
                continue
            mine = c.account_id.is_(None) if row["account_id"] is None else c.account_id == row["account_id"]
            self._connection.execute(
                t.suppression.delete().where(mine, c.stream == row["stream"], c.address == name)
            )
            self._connection.execute(
                t.suppression.update().where(c.id == row["id"]).values(address=name, note=sa.null())
            )
            self._count("suppressions", 1)

    def _rewrite(self, table: sa.Table, keys: Sequence[tuple[Any, ...]]) -> None:
        """Put the other name into every column."""
        columns = list(table.primary_key.columns)
        for key in keys:
            where = sa.and_(*(column == value for column, value in zip(columns, key, strict=True)))
            row = self._connection.execute(sa.select(table).where(where).with_for_update()).mappings().first()
            changes = dict(self._changes(table, row)) if row is not None else {}
            if changes:
                self._connection.execute(table.update().where(where).values(changes))
                self._count(table.name, 1)

    def _changes(self, table: sa.Table, row: Mapping[Any, Any]) -> Iterable[tuple[sa.Column[Any], Any]]:
        for column in table.columns:
            before = row[column]
            after = self._without(before)
            if after != before:
                yield column, after

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._finder.text.sub(self._instead, value)
        if isinstance(value, bytes | memoryview):
            return self._finder.octets.sub(self._instead.encode(), bytes(value))
        if isinstance(value, dict):
            return {self._without(name): self._without(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._without(one) for one in value]
        return value


def remains(connection: sa.Connection, address: str) -> dict[str, int]:
    """How many rows of each table still have the address in them; for a proof."""
    finder = _Finder(address.lower())
    found = {}
    for table in _TABLES:
        keys = sa.select(*table.primary_key.columns).where(_names(connection, table, address.lower()))
        rows = [tuple(row) for row in connection.execute(keys)]
        count = len(finder.keys(connection, table, rows))
        if count:
            found[table.name] = count
    return found
