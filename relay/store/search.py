"""Finding messages by what is known of them, page by page in an order that stays; taking one back."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.core.address import InvalidAddress, normalise
from relay.core.clock import now
from relay.core.errors import Conflict
from relay.core.event import EventKind
from relay.core.ids import EPOCH, MAX_ID, floor_at, made_at, new_id
from relay.core.status import State, Status
from relay.store import messages, timeline
from relay.store import tables as t
from relay.store.tables.mail import FAILED

_FAILED = frozenset({Status.UNSENT, Status.BOUNCED, Status.COMPLAINT})
_LAST = made_at(MAX_ID) - timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Search:
    """What to find. Times are from, inclusive, and before, exclusive."""

    limit: int = 50
    cursor: int | None = None  #: the id of the last message seen
    ascending: bool = False
    recipient: str | None = None  #: any recipient's address
    from_: str | None = None  #: the address of the From field
    status: Status | None = None
    tag: str | None = None
    error_code: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    updated_from: datetime | None = None
    updated_before: datetime | None = None


def search(connection: sa.Connection, account_id: int, wanted: Search) -> tuple[list[dict[str, Any]], bool]:
    """A page of an account's messages by id, which is by creation, and whether there are more."""
    m = t.message.c
    statement = sa.select(t.message).where(m.account_id == account_id)
    if wanted.recipient is not None:
        r = t.recipient.c
        having = sa.select(r.message_id).where(
            r.account_id == account_id, r.address.in_(_spellings(wanted.recipient))
        )
        statement = statement.where(m.id.in_(having))
    if wanted.from_ is not None:
        statement = statement.where(m.from_address == wanted.from_.lower())
    if wanted.status is not None:
        statement = statement.where(m.status == wanted.status)
        if wanted.status in _FAILED:
            # SQLite uses the index of the failed ones only where a query has its very words.
            statement = statement.where(sa.text(FAILED))
    if wanted.tag is not None:
        statement = statement.where(m.tag == wanted.tag)
    if wanted.error_code is not None:
        statement = statement.where(m.error_code == wanted.error_code)
    # created_at is the time in the id, so its bounds are bounds on the index.
    if wanted.created_from is not None:
        statement = statement.where(m.id >= _first_at(wanted.created_from))
    if wanted.created_before is not None:
        statement = statement.where(m.id < _first_at(wanted.created_before))
    if wanted.updated_from is not None:
        statement = statement.where(m.updated_at >= wanted.updated_from)
    if wanted.updated_before is not None:
        statement = statement.where(m.updated_at < wanted.updated_before)
    if wanted.cursor is not None:
        statement = statement.where(m.id > wanted.cursor if wanted.ascending else m.id < wanted.cursor)
    order = m.id.asc() if wanted.ascending else m.id.desc()
    rows = connection.execute(statement.order_by(order).limit(wanted.limit + 1)).mappings().all()
    return [dict(row) for row in rows[: wanted.limit]], len(rows) > wanted.limit


def _spellings(address: str) -> set[str]:
    """How an address may be kept: as it was given to the SMTP door, or in lower case by the other."""
    try:
        return {normalise(address), address.lower()}
    except InvalidAddress:
        return {address}


def _first_at(moment: datetime) -> int:
    """The first id of `moment` or later; times that no id can have are as good as the nearest that one can."""
    return floor_at(min(max(moment, EPOCH), _LAST))


def source(
    connection: sa.Connection, account_id: int, identifier: int
) -> tuple[dict[str, Any], bytes] | None:
    """A message and its bytes, empty once it has been redacted; None when the account has no such message."""
    row = messages.get(connection, account_id, identifier)
    return None if row is None else (row, messages.raw(connection, identifier))


def cancel(connection: sa.Connection, account_id: int, identifier: int) -> int | None:
    """Take a message's waiting recipients out of the queue; returns how many, None when there is no such message.

    What a worker has in hand, and what is done, stays as it is. Raises `Conflict` when nobody is waiting.
    """
    if messages.get(connection, account_id, identifier) is None:
        return None
    r = t.recipient.c
    moment = now()
    statement = (
        t.recipient.update()
        .where(r.message_id == identifier, r.state.in_((State.QUEUED, State.HELD)))
        .values(state=State.CANCELLED, status=Status.UNSENT, due_at=sa.null(), updated_at=moment)
        .returning(r.id, r.position)
    )
    taken = connection.execute(statement).all()
    if not taken:
        raise Conflict("None of the recipients is waiting any more.")
    events = [
        {
            "id": new_id(),
            "message_id": identifier,
            "recipient_id": row.id,
            "kind": EventKind.CANCELLED,
            "at": moment,
        }
        for row in taken
    ]
    timeline.add(connection, events, {identifier: account_id})
    if any(row.position == 0 for row in taken):
        shown = t.message.update().where(t.message.c.id == identifier)
        connection.execute(shown.values(status=Status.UNSENT, updated_at=moment))
    return len(taken)
