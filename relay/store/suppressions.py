"""Addresses that are not written to: by one account, or by nobody; in all streams, or in one."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from relay.core import seal
from relay.core.address import InvalidAddress, normalise
from relay.core.clock import now
from relay.core.errors import BadAddress, Conflict, NotFound
from relay.core.ids import new_id
from relay.store import secrets
from relay.store import tables as t
from relay.store.rows import Statement
from relay.store.types import BigInt, Instant


class Reason(StrEnum):
    """Why an address is not written to."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class NewSuppression:
    """An entry that a program makes."""

    account_id: int | None  #: None for all accounts
    address: str
    reason: Reason
    source: str  #: who knows: a provider's name, `unsubscribe`, `bounce mail`
    stream: str | None = None  #: None for all streams
    note: str | None = None
    expires_at: datetime | None = None


#: what stands before the keyed hash of an address that was erased; see `relay.store.erasure`
HASHED = "erased:"
#: seconds for which a process believes that nobody was ever erased
UNHASHED = 2.0

_S = t.suppression.c
_HOLDS = sa.or_(_S.expires_at.is_(None), _S.expires_at > sa.bindparam("b_now", type_=Instant()))
_ENTRY = (
    "SELECT account_id, address, stream FROM suppression WHERE account_id{} AND address = ANY(${}::text[])"
    " AND (expires_at IS NULL OR expires_at > ${}::timestamptz)"
)
# Two halves, so that each has an index of its own; an OR of both would have none.
_ENTRIES = Statement(
    _ENTRY.format(" = ANY($1::bigint[])", 2, 3) + " UNION ALL " + _ENTRY.format(" IS NULL", 4, 5)
)


def suppressed(
    connection: sa.Connection, account_id: int, addresses: Sequence[str], stream: str = ""
) -> set[str]:
    """Those of `addresses` that the account, or nobody, may write to now, as they are given here.

    Of entries for one stream only those of `stream` count. Letter case makes no difference, in the local part
    neither: a suppression must not be got round by it.
    """
    asked = [(account_id, stream, address) for address in addresses]
    return {address for _, _, address in blocked(connection, asked)}


def blocked(connection: sa.Connection, asked: Collection[tuple[int, str, str]]) -> set[tuple[int, str, str]]:
    """Those of `asked` that may not be written to now: account, stream, address. One query for any number."""
    if not asked:
        return set()
    moment = now()
    account_ids = list({account_id for account_id, _, _ in asked})
    lowered = list({address.lower() for _, _, address in asked})
    hashes = _hashes(connection, lowered)
    sought = [*lowered, *hashes]
    rows = _ENTRIES.rows(connection, account_ids, sought, moment, sought, moment)
    entries = {(account_id, hashes.get(address, address), stream) for account_id, address, stream in rows}
    return {one for one in asked if _is_blocked(entries, *one)} if entries else set()


def _hashes(connection: sa.Connection, lowered: Sequence[str]) -> dict[str, str]:
    """How these addresses stand on the list if they were erased, where anybody on it was."""
    engine = connection.engine
    until, key = _keys.get(engine, (0.0, None))
    if time.monotonic() >= until:
        key = None
        if connection.execute(_ANY_ERASED).first() is not None:
            key = seal.derive(secrets.ensure(connection), PURPOSE)
        _keys[engine] = (time.monotonic() + UNHASHED, key)
    if key is None:
        return {}
    return {hashed(key, address): address for address in lowered}


def hashed(key: bytes, address: str) -> str:
    """How an erased address stands on the list: HMAC-SHA256 with a key that only this installation has."""
    return HASHED + seal.sign(key, address.lower().encode(), 32).hex()


#: of the key by which erased addresses are known
PURPOSE = "erasure"
_keys: WeakKeyDictionary[sa.Engine, tuple[float, bytes | None]] = WeakKeyDictionary()
_ANY_ERASED = sa.select(t.erasure.c.id).limit(1)


def _is_blocked(entries: set[tuple[Any, ...]], account_id: int, stream: str, address: str) -> bool:
    lowered = address.lower()
    return any((whose, lowered, which) in entries for whose in (account_id, None) for which in {"", stream})


def addresses(connection: sa.Connection, account_id: int, *, limit: int) -> list[tuple[str, str]]:
    """Up to `limit` addresses, in lower case, that the account, or nobody, may write to now; and in which stream."""
    parameters = {"b_account_id": account_id, "b_now": now(), "b_limit": limit}
    return [(row.address, row.stream) for row in connection.execute(_ALL, parameters)]


_ALL = (
    sa.select(_S.address, _S.stream)
    .where(
        sa.or_(_S.account_id == sa.bindparam("b_account_id", type_=BigInt), _S.account_id.is_(None)), _HOLDS
    )
    .limit(sa.bindparam("b_limit", type_=sa.Integer()))
)


def clean(address: str) -> str:
    """An address as it is kept here. Raises `BadAddress`."""
    try:
        return normalise(address.strip()).lower()
    except InvalidAddress as error:
        raise BadAddress(f"{address[:254]}: {error}.") from None


def add(
    connection: sa.Connection,
    account_id: int | None,
    address: str,
    *,
    reason: Reason = Reason.MANUAL,
    source: str,
    stream: str | None = None,
    note: str | None = None,
    expires_at: datetime | None = None,
    replace: bool = True,
) -> dict[str, Any]:
    """Stop writing to an address: for one account, or for all where `account_id` is None. Returns the entry.

    An entry that is there already is brought up to date; without `replace` one that still holds raises `Conflict`.
    Raises `BadAddress`.
    """
    address = clean(address)
    values = {"reason": reason, "source": source, "note": note, "expires_at": expires_at}
    there = find(connection, account_id, address, stream)
    if there is None:
        row = {
            "id": new_id(),
            "account_id": account_id,
            "address": address,
            "stream": stream or "",
            "created_at": now(),
            **values,
        }
        try:
            with connection.begin_nested():
                connection.execute(t.suppression.insert(), row)
        except sa.exc.IntegrityError:
            there = find(connection, account_id, address, stream)
        else:
            return _shown(row)
    assert there is not None
    if not replace and (there["expires_at"] is None or there["expires_at"] > now()):
        raise Conflict(f"{address} is on the list already.")
    connection.execute(t.suppression.update().where(_S.id == there["id"]).values(**values))
    return {**there, **values}


def add_many(connection: sa.Connection, entries: Iterable[NewSuppression], *, replace: bool = False) -> None:
    """Stop writing to many addresses in few statements, where `add` would take several for each.

    An entry that is there already and does not end stays as it is, whoever made it and for whatever reason; with
    `replace` it is brought up to date. What is no address is left out: a report may name anything.
    """
    rows: dict[tuple[int | None, str, str], dict[str, Any]] = {}
    moment = now()
    for one in entries:
        try:
            address = clean(one.address)
        except BadAddress:
            continue
        # One statement must not meet the same entry twice.
        rows[one.account_id, address, one.stream or ""] = {
            "id": new_id(),
            "account_id": one.account_id,
            "address": address,
            "stream": one.stream or "",
            "reason": one.reason,
            "source": one.source[:64],
            "note": one.note[:1000] if one.note else None,
            "created_at": moment,
            "expires_at": one.expires_at,
        }
    # In one order, so that two processes cannot wait for each other.
    ordered = sorted(rows.values(), key=lambda row: (row["account_id"] or 0, row["address"], row["stream"]))
    for everywhere in (False, True):
        group = [row for row in ordered if (row["account_id"] is None) is everywhere]
        if group:
            connection.execute(_UPSERTS[connection.dialect.name, everywhere, replace], group)


def _upsert(dialect: Any, *, everywhere: bool, replace: bool) -> Any:
    insert = dialect.insert(t.suppression)
    changed = {name: insert.excluded[name] for name in ("reason", "source", "note", "expires_at")}
    columns = [_S.address, _S.stream] if everywhere else [_S.account_id, _S.address, _S.stream]
    return insert.on_conflict_do_update(
        index_elements=columns,
        index_where=sa.text("account_id IS NULL") if everywhere else None,
        set_=changed,
        where=None if replace else _S.expires_at.is_not(None),
    )


_UPSERTS = {
    (name, everywhere, replace): _upsert(dialect, everywhere=everywhere, replace=replace)
    for name, dialect in (("postgresql", postgresql), ("sqlite", sqlite))
    for everywhere in (False, True)
    for replace in (False, True)
}


def find(
    connection: sa.Connection, account_id: int | None, address: str, stream: str | None = None
) -> dict[str, Any] | None:
    """The entry of exactly this account, or of all where `account_id` is None; an expired one too.

    The entry for all streams, or with `stream` the one for that.
    """
    statement = sa.select(t.suppression).where(
        _mine(account_id), _S.address == address.lower(), _S.stream == (stream or "")
    )
    row = connection.execute(statement).mappings().first()
    return _shown(row) if row else None


def holding(connection: sa.Connection, account_id: int, address: str) -> list[dict[str, Any]]:
    """Every entry that keeps the account from writing to an address now: first those for all streams."""
    statement = (
        sa.select(t.suppression)
        .where(_S.address == address.lower(), sa.or_(_mine(account_id), _mine(None)), _HOLDS)
        .order_by(_S.stream, _S.account_id.is_(None), _S.id)
    )
    return [_shown(row) for row in connection.execute(statement, {"b_now": now()}).mappings()]


def remove(
    connection: sa.Connection, account_id: int | None, address: str, stream: str | None = None
) -> None:
    """Write to an address again: the entry for all streams goes, or with `stream` the one for that.

    Raises `NotFound` when there is no such entry; it names the streams for which there are others.
    """
    address = address.strip().lower()
    mine = sa.and_(_mine(account_id), _S.address == address)
    gone = connection.execute(t.suppression.delete().where(mine, _S.stream == (stream or "")))
    if gone.rowcount:
        return
    others = list(connection.execute(sa.select(_S.stream).where(mine).order_by(_S.stream)).scalars())
    where = f" of {stream}" if stream else ""
    also = " and ".join(one or "all mail" for one in others)
    raise NotFound(f"{address[:254]} is not on the list{where}{f', but on that of {also}' if also else ''}.")


def page(
    connection: sa.Connection,
    account_id: int | None,
    *,
    limit: int,
    before: int | None = None,
    reason: Reason | None = None,
    stream: str | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` entries of an account, or of those for all, newest first, beginning below the id `before`."""
    statement = sa.select(t.suppression).where(_mine(account_id))
    if before is not None:
        statement = statement.where(_S.id < before)
    if reason is not None:
        statement = statement.where(_S.reason == reason)
    if stream is not None:
        statement = statement.where(_S.stream == stream)
    rows = connection.execute(statement.order_by(_S.id.desc()).limit(limit)).mappings()
    return [_shown(row) for row in rows]


def _mine(account_id: int | None) -> sa.ColumnElement[bool]:
    found: sa.ColumnElement[bool] = (
        _S.account_id.is_(None) if account_id is None else _S.account_id == account_id
    )
    return found


def _shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {**row, "stream": row["stream"] or None}
