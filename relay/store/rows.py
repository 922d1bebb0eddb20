"""Statements of the busiest paths, given to the drivers as they are: PostgreSQL's text, from which SQLite's follows.

SQLAlchemy compiles, binds and wraps anew for every execution, which costs more than a small statement itself. What
runs thousands of times a second is therefore text, in the transaction of the connection it is given. Everything else
uses SQLAlchemy.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any

import orjson
import sqlalchemy as sa

from relay.store.types import Instant

#: SQLite's bound parameters per statement (32,766), with some to spare
_MAX_PARAMETERS = 30_000
_MAX_ROWS = 32

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Row = Sequence[Any]
#: a statement and what is bound to it
Step = tuple[str, tuple[Any, ...]]
_Converter = Callable[[Any], Any]

_ANY = re.compile(r"= ANY\(\$\d+::\w+\[\]\)")
_CAST = re.compile(r"::\w+(\[\])?")
_LOCK = re.compile(r"\s+FOR UPDATE( SKIP LOCKED)?")
_PARAMETER = re.compile(r"\$\d+")


def _for_sqlite(text: str) -> str:
    text = _ANY.sub("IN (SELECT value FROM json_each(?))", text)
    return _PARAMETER.sub("?", _LOCK.sub("", _CAST.sub("", text)))


def micros(moment: datetime) -> int:
    """A time as SQLite's tables have it."""
    return (moment - _EPOCH) // _MICROSECOND


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def _moment(stored: int) -> datetime:
    return _EPOCH + timedelta(microseconds=stored)


class Statement:
    """PostgreSQL's text of one statement, with `$1`, `$2` … each once and in order.

    For SQLite casts and row locks go (there is one writer), and a list is bound as JSON.
    """

    def __init__(self, text: str) -> None:
        self._postgresql = text
        self._sqlite = _for_sqlite(text)

    def rows(self, connection: sa.Connection, *parameters: Any) -> list[Any]:
        """Run it; returns what it returns. Parameters are numbers, texts, lists of either, and times."""
        if connection.dialect.name == "sqlite":
            return run(connection, self._sqlite, [_plain(value) for value in parameters]).fetchall()  # type: ignore[no-any-return]
        return connection.exec_driver_sql(self._postgresql, parameters).fetchall()  # type: ignore[return-value]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return micros(value)
    return _dumps(value) if isinstance(value, list) else value


def run(connection: sa.Connection, text: str, parameters: Row) -> Any:
    """SQLite only: the driver's own cursor, in the connection's transaction."""
    return connection.connection.driver_connection.execute(text, parameters)  # type: ignore[union-attr]


class Columns:
    """How columns are bound and read by the drivers themselves."""

    def __init__(self, columns: Sequence[sa.ColumnElement[Any]]) -> None:
        self.names = tuple(column.key or "" for column in columns)
        self.types = tuple(_postgres_type(column.type) for column in columns)
        self.json = frozenset(i for i, column in enumerate(columns) if isinstance(column.type, sa.JSON))
        self._instants = [i for i, column in enumerate(columns) if isinstance(column.type, Instant)]
        self._booleans = [i for i, column in enumerate(columns) if isinstance(column.type, sa.Boolean)]
        self._written: list[tuple[int, _Converter]] = [(i, _dumps) for i in self.json]
        self._written += [(i, micros) for i in self._instants]

    def bound(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Rows as SQLite's driver takes them."""
        if not self._written:
            return rows
        found = []
        for row in rows:
            values = list(row)
            for place, convert in self._written:
                value = values[place]
                if value is not None:
                    values[place] = convert(value)
            found.append(values)
        return found

    def arrays(self, rows: Sequence[Row]) -> list[list[Any]]:
        """The same rows as PostgreSQL's driver takes them: one array for each column."""
        arrays = [list(values) for values in zip(*rows, strict=True)]
        for place in self.json:
            arrays[place] = [None if value is None else _dumps(value) for value in arrays[place]]
        return arrays

    def read(self, row: Row, *, sqlite: bool) -> dict[str, Any]:
        """A row of a `Statement` by name."""
        found = dict(zip(self.names, row, strict=False))
        names = self.names
        for place in self.json:
            name = names[place]
            # PostgreSQL's driver has been taught to read it.
            if isinstance(found[name], str):
                found[name] = orjson.loads(found[name])
        if sqlite:
            for place in self._instants:
                name = names[place]
                if found[name] is not None:
                    found[name] = _moment(found[name])
            for place in self._booleans:
                found[names[place]] = bool(found[names[place]])
        return found


def _postgres_type(kind: sa.types.TypeEngine[Any]) -> str:
    if isinstance(kind, Instant):
        return "timestamptz"
    for known, name in _POSTGRES_TYPES:
        if isinstance(kind, known):
            return name
    return "text"


_POSTGRES_TYPES: tuple[tuple[type[sa.types.TypeEngine[Any]], str], ...] = (
    (sa.BigInteger, "bigint"),
    (sa.Integer, "integer"),
    (sa.Boolean, "boolean"),
    (sa.LargeBinary, "bytea"),
)


class Many:
    """One statement about many rows `v`, given as tuples.

    SQLite's driver lets go of the interpreter's lock around every row of an `executemany`, and each time waits for a
    busy event loop to give it back. Statements of many rows make that a few times per group. There is one for each
    number of rows, few enough for the driver's cache of prepared statements to hold them all. PostgreSQL is given
    arrays.
    """

    def __init__(self, columns: Columns, sqlite: str, postgresql: str) -> None:
        """Both texts have `%s` where the rows go."""
        self.columns = columns
        self._opening, _, self._closing = sqlite.partition("%s")
        self._group = f"({','.join('?' * len(columns.names))})"
        self._most = min(_MAX_ROWS, _MAX_PARAMETERS // len(columns.names))
        self._texts: dict[int, str] = {}
        arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(columns.types, 1))
        self.postgresql = postgresql.replace("%s", f"unnest({arrays})")

    def run(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        bind([(self, rows)], connection.dialect.name).run(connection)

    def chunks(self, rows: Sequence[Row]) -> Iterator[Step]:
        """SQLite's statements, each with what is bound to it."""
        bound = self.columns.bound(rows)
        start = 0
        while start < len(bound):
            count = min(self._most, len(bound) - start)
            text = self._texts.get(count)
            if text is None:
                text = self._texts[count] = self._opening + ",".join([self._group] * count) + self._closing
            yield text, tuple(chain.from_iterable(bound[start : start + count]))
            start += count


def inserting(table: sa.Table, names: Sequence[str]) -> Many:
    """Inserts rows of these columns."""
    columns = Columns([table.c[name] for name in names])
    quoted = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(
        f'v."{name}"' + ("::jsonb" if place in columns.json else "") for place, name in enumerate(names)
    )
    opening = f'INSERT INTO "{table.name}" ({quoted}) '
    return Many(columns, f"{opening}VALUES %s", f"{opening}SELECT {values} FROM %s AS v({quoted})")  # noqa: S608


def updating(
    table: sa.Table, columns: Sequence[sa.ColumnElement[Any]], assignments: str, where: str = ""
) -> Many:
    """Updates the rows whose ids stand in the first column; the other texts speak of the others as `v.name`."""
    listed = Columns(columns)
    names = ", ".join(listed.names)
    text = (
        f'WITH v({names}) AS (%s) UPDATE "{table.name}" SET {assignments}'  # noqa: S608 - names of our own tables
        f' FROM v WHERE "{table.name}".id = v.id{where}'
    )
    # Of tables that were small when it made its plan PostgreSQL would read the whole, unless it expects a single row,
    # which a range makes it do.
    few = f"SELECT * FROM %s AS u({names}) WHERE u.id BETWEEN 0 AND {2**63 - 1}"  # noqa: S608
    return Many(listed, text.replace("%s", "VALUES %s"), text.replace("%s", few))


#: a statement and the rows it is about
Part = tuple[Many, Sequence[Row]]


class _Insertion:
    """Statements that insert rows of a table with these keys."""

    def __init__(self, table: sa.Table, names: tuple[str, ...], seldom: frozenset[str]) -> None:
        few = tuple(name for name in names if name not in seldom)
        self._all = (inserting(table, names), itemgetter(*names))
        self._few = (inserting(table, few), itemgetter(*few))
        # The first name is there so that even one more makes a tuple.
        self._seldom = itemgetter(names[0], *(name for name in names if name in seldom))
        self._none = (None,) * (len(names) - len(few))

    def part(self, rows: Sequence[dict[str, Any]]) -> Part:
        seldom, none = self._seldom, self._none
        statement, values = self._all
        if none and all(seldom(row)[1:] == none for row in rows):
            statement, values = self._few
        return statement, list(map(values, rows))


_insertions: dict[tuple[str, tuple[str, ...]], _Insertion] = {}
_together: dict[tuple[Many, ...], str] = {}


def insertion(table: sa.Table, rows: Sequence[dict[str, Any]], seldom: frozenset[str] = frozenset()) -> Part:
    """To insert rows that all have the same keys, of which there are two or more.

    Columns that are `seldom` used are left out if no row has anything in them: what is given to a database takes its
    time even where it is NULL.
    """
    names = tuple(rows[0])
    known = _insertions.get((table.name, names))
    if known is None:
        known = _insertions[table.name, names] = _Insertion(table, names, seldom)
    return known.part(rows)


def insert_rows(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same keys, of which there are two or more."""
    statement, values = insertion(table, rows)
    statement.run(connection, values)


@dataclass(frozen=True, slots=True)
class Bound:
    """Statements about different tables with all that is bound to them, made before a transaction begins."""

    #: on SQLite those of the first part, which are counted, and the others; on PostgreSQL one for them all
    first: Sequence[Step]
    others: Sequence[Step] = ()

    def run(self, connection: sa.Connection) -> int:
        """Returns how many rows the first part has changed."""
        if connection.dialect.name != "sqlite":
            ((text, arrays),) = self.first
            return int(connection.exec_driver_sql(text, arrays).scalar_one())
        driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        before = driver.total_changes
        text = ""
        try:
            for text, values in self.first:
                driver.execute(text, values)
            changed = driver.total_changes - before
            for text, values in self.others:
                driver.execute(text, values)
        except sqlite3.IntegrityError as error:
            raise sa.exc.IntegrityError(text, None, error) from error
        return changed


def bind(parts: Sequence[Part], dialect: str) -> Bound:
    """Parts to be run together, parents before children: on PostgreSQL in one journey to the server."""
    if dialect == "sqlite":
        (statement, rows), *others = parts
        return Bound(
            list(statement.chunks(rows)),
            [step for statement, rows in others for step in statement.chunks(rows)],
        )
    key = tuple(statement for statement, _ in parts)
    text = _together.get(key)
    if text is None:
        text = _together[key] = _one_text(key)
    return Bound(
        [(text, tuple(array for statement, rows in parts for array in statement.columns.arrays(rows)))]
    )


def _one_text(statements: Sequence[Many]) -> str:
    """PostgreSQL checks foreign keys when all of a statement is done, so a child may come with its parent.

    It returns how many rows the first part has changed.
    """
    texts = []
    before = 0
    for number, statement in enumerate(statements):
        returning = "" if number else " RETURNING 1"
        texts.append(f"part{number} AS ({_renumbered(statement.postgresql, before)}{returning})")
        before += len(statement.columns.names)
    return f"WITH {', '.join(texts)} SELECT count(*) FROM part0"  # noqa: S608 - made of our own statements


def _renumbered(text: str, by: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[0][1:]) + by}", text)
