"""Accounts' own streams, and their own settings of the built-in ones."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.errors import Conflict, NotFound, Refused
from relay.core.ids import new_id
from relay.core.status import Lane
from relay.core.stream import BUILT_IN, Leaving, Stream, Track, is_name
from relay.core.timing import QuietHours
from relay.store import tables as t
from relay.store.types import BigInt

#: streams of one account; doors keep them all in memory
MAX_STREAMS = 100
#: the lanes that a stream may name
LANES = (Lane.NORMAL, Lane.BULK)
_S = t.stream.c
_QUIET = ("quiet_from", "quiet_to", "timezone")
_MINE = (
    sa.select(t.stream)
    .where(_S.account_id == sa.bindparam("b_account_id", type_=BigInt))
    .order_by(_S.name)
    .limit(MAX_STREAMS + len(BUILT_IN))
)


def of_account(connection: sa.Connection, account_id: int) -> dict[str, Stream]:
    """Every stream that the account's mail may name, the built-in ones first."""
    rows = connection.execute(_MINE, {"b_account_id": account_id}).mappings()
    return dict(BUILT_IN) | {row["name"]: _stream(row) for row in rows}


def create(connection: sa.Connection, account_id: int, stream: Stream) -> Stream:
    """Raises `Conflict` when there is one of that name, `Refused` for what can be no stream or is one too many."""
    _check(stream)
    known = of_account(connection, account_id)
    if stream.name in known:
        raise Conflict(f"There is a stream named {stream.name} already.")
    if len(known) >= MAX_STREAMS + len(BUILT_IN):
        raise Refused(f"An account has at most {MAX_STREAMS} streams of its own.")
    try:
        with connection.begin_nested():
            _insert(connection, account_id, stream)
    except sa.exc.IntegrityError:
        raise Conflict(f"There is a stream named {stream.name} already.") from None
    return stream


def get(connection: sa.Connection, account_id: int, name: str) -> Stream:
    """Raises `NotFound`."""
    found = of_account(connection, account_id).get(name)
    if found is None:
        raise NotFound(f"There is no stream named {name[:64]}.")
    return found


def replace(connection: sa.Connection, account_id: int, stream: Stream) -> Stream:
    """Give a stream, a built-in one too, other settings. Raises `NotFound`, and `Refused` for impossible ones."""
    get(connection, account_id, stream.name)
    _check(stream)
    where = sa.and_(_S.account_id == account_id, _S.name == stream.name)
    if not connection.execute(t.stream.update().where(where).values(**_values(stream))).rowcount:
        _insert(connection, account_id, stream)
    return stream


def remove(connection: sa.Connection, account_id: int, name: str) -> None:
    """Remove an account's own stream; a built-in one gets its first settings back.

    Suppressions of the stream stay, so that a new one of the same name does not write to those who left.
    Raises `NotFound`.
    """
    gone = connection.execute(t.stream.delete().where(_S.account_id == account_id, _S.name == name))
    if not gone.rowcount and name not in BUILT_IN:
        raise NotFound(f"There is no stream named {name[:64]}.")


def _check(stream: Stream) -> None:
    if not is_name(stream.name):
        raise Refused(
            "A stream's name has 1 to 64 of a-z, 0-9, dot, underscore and hyphen, and begins with a letter or digit."
        )
    if stream.lane not in LANES:
        raise Refused(
            f"A stream's lane is {' or '.join(LANES)}; URGENT mail takes the urgent lane by itself."
        )


def _insert(connection: sa.Connection, account_id: int, stream: Stream) -> None:
    row = {"id": new_id(), "account_id": account_id, "name": stream.name, "created_at": now()}
    connection.execute(t.stream.insert(), {**row, **_values(stream)})


def _values(stream: Stream) -> dict[str, Any]:
    return {
        "title": stream.title,
        "lane": stream.lane,
        "track_opens": stream.track.opens,
        "track_clicks": stream.track.clicks,
        "unsubscribe": stream.unsubscribe,
        "unsubscribe_from": stream.unsubscribe_from,
        "complaint_from": stream.complaint_from,
        "provider": stream.provider,
        **dict(zip(_QUIET, stream.quiet.words() if stream.quiet else (None, None, None), strict=True)),
    }


def _stream(row: Mapping[Any, Any]) -> Stream:
    return Stream(
        name=row["name"],
        lane=Lane(row["lane"]),
        track=Track(row["track_opens"], row["track_clicks"]),
        unsubscribe=row["unsubscribe"],
        unsubscribe_from=Leaving(row["unsubscribe_from"]),
        complaint_from=Leaving(row["complaint_from"]),
        title=row["title"],
        provider=row["provider"],
        quiet=QuietHours.parse(*(row[name] for name in _QUIET)) if row["quiet_from"] else None,
    )
