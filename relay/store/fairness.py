"""Whose mail goes next: each account in turn, so that one with much of it keeps no other waiting.

Accounts with mail are found by going from one to the next along an index, which costs a probe for each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.store.rows import Statement
from relay.store.types import Instant

#: accounts that take part at one time at most
_ACCOUNTS = 64


@dataclass(slots=True)
class Turn:
    """Whose turn it was last."""

    account: int = 0


def share_out(
    accounts: Callable[[int, int], list[int]],
    take: Callable[[int, int], Sequence[Any]],
    limit: int,
    turn: Turn,
) -> list[Any]:
    """Up to `limit` rows, of each account alike as far as it has any.

    `accounts` gives some with mail, as many as asked for, behind an account; `take` up to so many rows of one.
    """
    # One more than can be served, to know whether there is another at all.
    most = min(limit, _ACCOUNTS) + 1
    found = accounts(turn.account, most)
    if turn.account and len(found) < most:
        found += [one for one in accounts(0, most - len(found)) if one <= turn.account]
    hungry = found[: most - 1]
    if len(found) > 1:
        turn.account = hungry[-1]
    rows: list[Any] = []
    while hungry and len(rows) < limit:
        part = -(-(limit - len(rows)) // len(hungry))
        more = []
        for account in hungry:
            few = min(part, limit - len(rows))
            if few <= 0:
                break
            taken = take(account, few)
            rows += taken
            if len(taken) == few:
                more.append(account)
        hungry = more
    return rows


# Queued mail of a lane.

_SOME = "SELECT min(account_id) FROM recipient WHERE state = 'queued' AND lane = $%d::text AND account_id > "
#: the accounts with queued mail in a lane, one after the other; $1 and $3 are the lane, $2 where to begin
_WITH_MAIL = (
    f"WITH RECURSIVE one(account_id) AS ({_SOME % 1}$2::bigint"  # noqa: S608
    f" UNION ALL SELECT ({_SOME % 3}one.account_id) FROM one WHERE one.account_id IS NOT NULL)"
)
# A value and not EXISTS: PostgreSQL makes that a join with all that is due while it does not know how much that is.
_DUE_OF_ONE = (
    "SELECT 1 FROM recipient WHERE state = 'queued' AND lane = $4::text"
    " AND account_id = one.account_id AND due_at <= $5::timestamptz LIMIT 1"
)
_WITH_DUE = Statement(
    f"{_WITH_MAIL} SELECT account_id FROM one"  # noqa: S608
    f" WHERE account_id IS NOT NULL AND ({_DUE_OF_ONE}) IS NOT NULL LIMIT $6::integer"
)
_FIRST_DUE = Statement(
    f"{_WITH_MAIL} SELECT min((SELECT min(due_at) FROM recipient WHERE state = 'queued'"  # noqa: S608
    " AND lane = $4::text AND account_id = one.account_id)) FROM one"
)


def with_due(connection: sa.Connection, lane: str, now: datetime, after: int, most: int) -> list[int]:
    """Up to `most` accounts with mail due in the lane, behind the account `after`."""
    return [row[0] for row in _WITH_DUE.rows(connection, lane, after, lane, lane, now, most)]


def first_due(connection: sa.Connection, lane: str) -> datetime | None:
    """When the mail of a lane that is due first is, or was, due."""
    ((moment,),) = _FIRST_DUE.rows(connection, lane, 0, lane, lane)
    return Instant().process_result_value(moment, connection.dialect)


# Mail that waits for a provider.

_ROOM = (
    "SELECT min(account_id) FROM recipient WHERE waiting_for IS NOT NULL"
    " AND waiting_for = $%d::text AND lane = $%d::text AND account_id > "
)
_WAITING = Statement(
    f"WITH RECURSIVE one(account_id) AS ({_ROOM % (1, 2)}$3::bigint"  # noqa: S608
    f" UNION ALL SELECT ({_ROOM % (4, 5)}one.account_id) FROM one WHERE one.account_id IS NOT NULL)"
    " SELECT account_id FROM one WHERE account_id IS NOT NULL LIMIT $6::integer"
)


def waiting(connection: sa.Connection, key: str, lane: str, after: int, most: int) -> list[int]:
    """Up to `most` accounts with mail of the lane that waits for `key`, behind the account `after`."""
    return [row[0] for row in _WAITING.rows(connection, key, lane, after, key, lane, most)]
