"""Addresses that are not written to, by one account or by nobody."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from relay.core.address import InvalidAddress, normalise
from relay.core.clock import now
from relay.core.errors import BadAddress, Conflict, NotFound
from relay.core.ids import new_id
from relay.store import tables as t
from relay.store.types import BigInt, Instant


class Reason(StrEnum):
    """Why an address is not written to."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    MANUAL = "manual"


def suppressed(connection: sa.Connection, account_id: int, addresses: Sequence[str]) -> set[str]:
    """Those of `addresses` that the account, or nobody, may write to now, as they are given here.

    Letter case makes no difference, in the local part neither: a suppression must not be got round by it.
    """
    if not addresses:
        return set()
    lowered = {address.lower() for address in addresses}
    found = set(
        connection.execute(
            _SUPPRESSED, {"b_account_id": account_id, "b_addresses": list(lowered), "b_now": now()}
        ).scalars()
    )
    return {address for address in addresses if address.lower() in found} if found else set()


_S = t.suppression.c
_ADDRESS = sa.select(_S.address).where(
    _S.address.in_(sa.bindparam("b_addresses", expanding=True)),
    sa.or_(_S.expires_at.is_(None), _S.expires_at > sa.bindparam("b_now", type_=Instant())),
)
# Two halves, so that each has an index of its own; an OR of both would have none.
_SUPPRESSED = sa.union_all(
    _ADDRESS.where(_S.account_id == sa.bindparam("b_account_id", type_=BigInt)),
    _ADDRESS.where(_S.account_id.is_(None)),
)


def addresses(connection: sa.Connection, account_id: int, *, limit: int) -> list[str]:
    """Up to `limit` addresses, in lower case, that the account, or nobody, may write to now."""
    return list(
        connection.execute(_ALL, {"b_account_id": account_id, "b_now": now(), "b_limit": limit}).scalars()
    )


_ALL = (
    sa.select(_S.address)
    .where(
        sa.or_(_S.account_id == sa.bindparam("b_account_id", type_=BigInt), _S.account_id.is_(None)),
        sa.or_(_S.expires_at.is_(None), _S.expires_at > sa.bindparam("b_now", type_=Instant())),
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
    there = find(connection, account_id, address)
    if there is None:
        row = {"id": new_id(), "account_id": account_id, "address": address, "created_at": now(), **values}
        try:
            with connection.begin_nested():
                connection.execute(t.suppression.insert(), row)
        except sa.exc.IntegrityError:
            there = find(connection, account_id, address)
        else:
            return row
    assert there is not None
    if not replace and (there["expires_at"] is None or there["expires_at"] > now()):
        raise Conflict(f"{address} is on the list already.")
    connection.execute(t.suppression.update().where(_S.id == there["id"]).values(**values))
    return {**there, **values}


def find(connection: sa.Connection, account_id: int | None, address: str) -> dict[str, Any] | None:
    """The entry of exactly this account, or of all where `account_id` is None; an expired one too."""
    row = (
        connection.execute(sa.select(t.suppression).where(_mine(account_id), _S.address == address.lower()))
        .mappings()
        .first()
    )
    return dict(row) if row else None


def remove(connection: sa.Connection, account_id: int | None, address: str) -> None:
    """Write to an address again. Raises `NotFound` when there is no such entry."""
    gone = connection.execute(
        t.suppression.delete().where(_mine(account_id), _S.address == address.strip().lower())
    )
    if not gone.rowcount:
        raise NotFound(f"{address[:254]} is not on the list.")


def page(
    connection: sa.Connection,
    account_id: int | None,
    *,
    limit: int,
    before: int | None = None,
    reason: Reason | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` entries of an account, or of those for all, newest first, beginning below the id `before`."""
    statement = sa.select(t.suppression).where(_mine(account_id))
    if before is not None:
        statement = statement.where(_S.id < before)
    if reason is not None:
        statement = statement.where(_S.reason == reason)
    rows = connection.execute(statement.order_by(_S.id.desc()).limit(limit)).mappings()
    return [dict(row) for row in rows]


def _mine(account_id: int | None) -> sa.ColumnElement[bool]:
    found: sa.ColumnElement[bool] = (
        _S.account_id.is_(None) if account_id is None else _S.account_id == account_id
    )
    return found
