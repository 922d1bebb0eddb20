"""What customers are to be told, written in the transaction in which it happened.

Which accounts have endpoints is known to every process for up to a second, so that mail of those that have none
costs nothing but a look at a table in memory.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import orjson
import sqlalchemy as sa

from relay.core import notice
from relay.core.clock import now
from relay.core.ids import new_id
from relay.core.notice import EndpointState, NoticeState
from relay.store import tables as t
from relay.store.rows import insert_rows
from relay.store.types import BigInt

#: seconds for which a process works with the endpoints it knows
MAX_AGE = 1.0


@dataclass(frozen=True, slots=True)
class Listener:
    """An enabled endpoint and what it wants to hear; None means everything."""

    id: int
    kinds: frozenset[str] | None
    streams: frozenset[str] | None
    tags: frozenset[str] | None

    def wants(self, kind: str) -> bool:
        return self.kinds is None or kind in self.kinds

    def cares_for(self, message: Mapping[str, Any]) -> bool:
        """Whether mail like this row of `message` is what it asked about."""
        return (self.streams is None or notice.stream_of(message) in self.streams) and (
            self.tags is None or message["tag"] in self.tags
        )


Listeners = Mapping[int, Sequence[Listener]]

_known: WeakKeyDictionary[sa.Engine, tuple[float, Listeners]] = WeakKeyDictionary()


def listeners(connection: sa.Connection) -> Listeners:
    """The enabled endpoints by account, as they were up to `MAX_AGE` seconds ago."""
    engine = connection.engine
    found = _known.get(engine)
    if found is not None and time.monotonic() < found[0]:
        return found[1]
    moment = time.monotonic()
    by_account: dict[int, list[Listener]] = {}
    for row in connection.execute(_LISTENERS):
        by_account.setdefault(row.account_id, []).append(listener_of(dict(row._mapping)))
    _known[engine] = (moment + MAX_AGE, by_account)
    return by_account


def quiet(engine: sa.Engine, accounts: Iterable[int]) -> bool:
    """Whether this process knows, without a look at the database, that none of these accounts has endpoints."""
    found = _known.get(engine)
    return found is not None and time.monotonic() < found[0] and found[1].keys().isdisjoint(accounts)


def listener_of(row: Mapping[str, Any]) -> Listener:
    """From the columns id, kinds, streams and tags."""
    return Listener(row["id"], *(frozenset(row[name]) if row[name] else None for name in _FILTERS))


def forget(connection: sa.Connection) -> None:
    """Have this process look at the endpoints again; others do within `MAX_AGE` seconds."""
    _known.pop(connection.engine, None)


_FILTERS = ("kinds", "streams", "tags")
_E = t.endpoint.c
_LISTENERS = sa.select(_E.id, _E.account_id, _E.kinds, _E.streams, _E.tags).where(
    _E.state == EndpointState.ENABLED
)
_IDS = sa.bindparam("b_ids", expanding=True, type_=BigInt)
_MESSAGES = sa.select(
    t.message.c.id,
    t.message.c["from"],
    t.message.c.tag,
    t.message.c.metadata,
    t.message.c.options,
).where(t.message.c.id.in_(_IDS))
_RECIPIENTS = sa.select(t.recipient.c.id, t.recipient.c.address, t.recipient.c.status).where(
    t.recipient.c.id.in_(_IDS)
)


def happened(
    connection: sa.Connection, rows: Sequence[Mapping[str, Any]], accounts: Mapping[int, int]
) -> None:
    """Tell of lines that were added to timelines. `accounts` has the account of every message they are about."""
    known = listeners(connection)
    if not known:
        return
    told = [
        (row, who)
        for row in rows
        if (kind := notice.TYPES.get(row["kind"]))
        and (who := [one for one in known.get(accounts.get(row["message_id"], 0), ()) if one.wants(kind)])
    ]
    if told:
        _write(connection, _notices(connection, told, now()))


def accepted(
    connection: sa.Connection,
    messages: Sequence[Mapping[str, Any]],
    recipients: Sequence[Mapping[str, Any]],
) -> None:
    """Tell of messages that a door has just stored: their rows, and those of their recipients."""
    known = listeners(connection)
    if not known:
        return
    mine = {row["id"]: row for row in messages if row["account_id"] in known}
    made: list[dict[str, Any]] = []
    for recipient in recipients if mine else ():
        message = mine.get(recipient["message_id"])
        if message is None:
            continue
        refused = message["error_code"] is not None
        event = {"id": None, "kind": "refused" if refused else "accepted", "reply": message["error_code"]}
        kind, at = notice.TYPES[event["kind"]], message["created_at"]
        who = [one for one in known[message["account_id"]] if one.wants(kind) and one.cares_for(message)]
        if who:
            body = encoded(kind, at, notice.data_of(event, message, recipient))
            made += [row_of(one.id, kind, body, now(), message_id=message["id"]) for one in who]
    if made:
        _write(connection, made)


def again(
    connection: sa.Connection, listener: Listener, events: Sequence[Mapping[str, Any]], at: datetime
) -> int:
    """Tell one endpoint of lines that are in timelines already; returns how many it wanted to hear of."""
    told = [
        (row, [listener])
        for row in events
        if (kind := notice.TYPES.get(row["kind"])) and listener.wants(kind)
    ]
    made = _notices(connection, told, at) if told else []
    if made:
        _write(connection, made)
    return len(made)


def _notices(
    connection: sa.Connection,
    told: Sequence[tuple[Mapping[str, Any], Sequence[Listener]]],
    due_at: datetime,
) -> list[dict[str, Any]]:
    messages = _found(connection, _MESSAGES, (row["message_id"] for row, _ in told))
    recipients = _found(connection, _RECIPIENTS, (row["recipient_id"] for row, _ in told))
    made: list[dict[str, Any]] = []
    for row, who in told:
        message = messages.get(row["message_id"])
        caring = [one for one in who if message is not None and one.cares_for(message)]
        if message is None or not caring:
            continue
        kind = notice.TYPES[row["kind"]]
        body = encoded(kind, row["at"], notice.data_of(row, message, recipients.get(row["recipient_id"])))
        made += [
            row_of(one.id, kind, body, due_at, message_id=row["message_id"], event_id=row["id"])
            for one in caring
        ]
    return made


def _found(
    connection: sa.Connection, statement: sa.Select[Any], ids: Iterable[int | None]
) -> dict[int, Mapping[str, Any]]:
    wanted = list({one for one in ids if one is not None})
    rows = connection.execute(statement, {"b_ids": wanted}).mappings() if wanted else ()
    return {row["id"]: dict(row) for row in rows}


def encoded(kind: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """A payload as it is signed and sent; what would make it too large is left out, and `truncated` says so."""
    body = _json(notice.payload(kind, at, data))
    if len(body) >= notice.MAX_PAYLOAD:
        body = _json(notice.payload(kind, at, {**data, "metadata": None, "truncated": True}))
    return body


def _json(payload: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(payload)
    except TypeError:
        # A customer's metadata may have numbers and halves of characters that only JSON itself can hold.
        return json.dumps(payload).encode()


def row_of(
    endpoint_id: int,
    kind: str,
    body: bytes,
    due_at: datetime,
    *,
    message_id: int | None = None,
    event_id: int | None = None,
) -> dict[str, Any]:
    """A row of `notice` to be sent from `due_at` on."""
    return {
        "id": new_id(),
        "endpoint_id": endpoint_id,
        "message_id": message_id,
        "event_id": event_id,
        "kind": kind,
        "payload": body,
        "state": NoticeState.PENDING,
        "due_at": due_at,
        "attempts": 0,
        "fence": 0,
    }


def _write(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    insert_rows(connection, t.notice, rows)
