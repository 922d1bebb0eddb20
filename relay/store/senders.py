"""What accounts may send as: addresses, domains, or anything."""

from typing import Any

import sqlalchemy as sa

from relay.core.address import InvalidAddress, normalise
from relay.core.clock import now
from relay.core.errors import Conflict, NotFound, Refused
from relay.core.ids import new_id
from relay.store import tables as t

ANYTHING = "*"


def clean(pattern: str) -> str:
    """A pattern as it is kept: in lower case. Raises `Refused` for what is no address, domain or `*`."""
    lowered = pattern.strip().lower()
    if lowered == ANYTHING:
        return lowered
    try:
        normalise(lowered if "@" in lowered else f"x@{lowered}")
    except InvalidAddress:
        raise Refused(f"{pattern[:254]!r} is no sender: give an address, a domain or {ANYTHING}") from None
    return lowered


def add_sender(connection: sa.Connection, account_id: int, pattern: str) -> dict[str, Any]:
    """Returns the new row. Raises `Refused` for what is no sender and `Conflict` for one that is there already."""
    row = {"id": new_id(), "account_id": account_id, "pattern": clean(pattern), "created_at": now()}
    try:
        with connection.begin_nested():
            connection.execute(t.sender.insert(), row)
    except sa.exc.IntegrityError:
        raise Conflict(f"{row['pattern']} is a sender of this account already.") from None
    return row


def claim_sender(connection: sa.Connection, account_id: int, pattern: str) -> dict[str, Any]:
    """`add_sender` for an account that speaks for itself: what another account has is not to be had.

    That is the same address or domain, an address in another's domain, and a domain with another's address.
    """
    wanted = clean(pattern)
    s = t.sender.c
    if "@" in wanted:
        overlapping = s.pattern.in_((wanted, wanted.rpartition("@")[2]))
    else:
        escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        overlapping = sa.or_(s.pattern == wanted, s.pattern.like(f"%@{escaped}", escape="\\"))
    others = sa.select(s.id).where(s.account_id != account_id, overlapping).limit(1)
    if connection.execute(others).first():
        raise Conflict(f"{wanted} belongs to another account.")
    return add_sender(connection, account_id, wanted)


def get_sender(connection: sa.Connection, account_id: int, identifier: int) -> dict[str, Any]:
    """Raises `NotFound`, for another account's too."""
    s = t.sender.c
    row = (
        connection.execute(sa.select(t.sender).where(s.id == identifier, s.account_id == account_id))
        .mappings()
        .first()
    )
    if row is None:
        raise NotFound(f"There is no sender with ID {identifier}.")
    return dict(row)


def list_senders(
    connection: sa.Connection, account_id: int, *, limit: int | None = None, before: int | None = None
) -> list[dict[str, Any]]:
    """An account's senders, newest first, beginning below the id `before`."""
    s = t.sender.c
    statement = sa.select(t.sender).where(s.account_id == account_id).order_by(s.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(s.id < before)
    return [dict(row) for row in connection.execute(statement).mappings()]


def remove_sender(connection: sa.Connection, account_id: int, identifier: int) -> None:
    """Processes that know the account's keys go on for seconds. Raises `NotFound`."""
    s = t.sender.c
    gone = connection.execute(t.sender.delete().where(s.id == identifier, s.account_id == account_id))
    if not gone.rowcount:
        raise NotFound(f"There is no sender with ID {identifier}.")


def patterns(connection: sa.Connection, *, limit: int) -> list[str]:
    """What any account may send as, each once."""
    return list(connection.execute(sa.select(t.sender.c.pattern).distinct().limit(limit)).scalars())
