"""Keys under which clients repeat a request without repeating its effect, and what was answered the first time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from relay.store import tables as t
from relay.store.types import BigInt, Instant

#: how long a key is remembered
LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Earlier:
    """The message that a key stands for already."""

    message_id: int
    fingerprint: str
    #: status and body of the answer, where the door had it kept
    answer: tuple[int, bytes] | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that is to stand for a message about to be written."""

    account_id: int
    key: str
    fingerprint: str
    message_id: int
    at: datetime
    answer: tuple[int, bytes] | None


def find(connection: sa.Connection, account_id: int, key: str, *, now: datetime) -> Earlier | None:
    """What a key stands for; None when it is free."""
    row = connection.execute(_FIND, {"b_account_id": account_id, "b_key": key, "b_now": now}).first()
    return _earlier(row) if row is not None else None


def claim(connection: sa.Connection, claims: Sequence[Claim]) -> dict[int, Earlier]:
    """Take the keys that are free; for each other, by the id it was claimed for, the message it stands for.

    To be run in the transaction that writes the messages. A key being claimed by another transaction is waited
    for, so of two that race one finds the other's message.
    """
    for one in claims:
        connection.execute(_FREE, {"b_account_id": one.account_id, "b_key": one.key, "b_now": one.at})
    insert: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(t.idempotency)
    rows = [
        {
            "account_id": one.account_id,
            "key": one.key,
            "fingerprint": one.fingerprint,
            "message_id": one.message_id,
            "status": one.answer[0] if one.answer else None,
            "answer": one.answer[1] if one.answer else None,
            "expires_at": one.at + LIFETIME,
        }
        # Two transactions that take the same keys in different orders would wait for each other.
        for one in sorted(claims, key=lambda one: (one.account_id, one.key))
    ]
    statement = insert.values(rows).on_conflict_do_nothing().returning(t.idempotency.c.message_id)
    taken = set(connection.execute(statement).scalars())
    return {
        one.message_id: _earlier(
            connection.execute(
                _FIND, {"b_account_id": one.account_id, "b_key": one.key, "b_now": one.at}
            ).one()
        )
        for one in claims
        if one.message_id not in taken
    }


def any_expired(connection: sa.Connection, *, now: datetime) -> bool:
    """Whether `prune` has something to do."""
    return connection.execute(_ANY_EXPIRED, {"b_now": now}).first() is not None


def prune(connection: sa.Connection, *, now: datetime, limit: int = 1000) -> int:
    """Forget up to `limit` keys whose time is over; returns how many they were."""
    i = t.idempotency.c
    expired = sa.select(i.account_id, i.key).where(i.expires_at <= now).limit(limit)
    statement = t.idempotency.delete().where(sa.tuple_(i.account_id, i.key).in_(expired))
    return int(connection.execute(statement).rowcount)


def _earlier(row: Any) -> Earlier:
    answer = (row.status, bytes(row.answer)) if row.answer is not None else None
    return Earlier(row.message_id, row.fingerprint, answer)


_I = t.idempotency.c
_SAME = (
    _I.account_id == sa.bindparam("b_account_id", type_=BigInt),
    _I.key == sa.bindparam("b_key"),
)
_NOW = sa.bindparam("b_now", type_=Instant())
_FIND = sa.select(_I.message_id, _I.fingerprint, _I.status, _I.answer).where(*_SAME, _I.expires_at > _NOW)
_FREE = t.idempotency.delete().where(*_SAME, _I.expires_at <= _NOW)
_ANY_EXPIRED = sa.select(_I.key).where(_I.expires_at <= _NOW).limit(1)
