"""Finding messages by what is known of them, page by page in an order that stays; taking one back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.core.address import InvalidAddress, normalise
from relay.core.clock import now
from relay.core.errors import Conflict
from relay.core.event import EventKind
from relay.core.ids import EPOCH, MAX_ID, floor_at, made_at, new_id
from relay.core.status import Door, State, Status
from relay.store import messages, timeline
from relay.store import tables as t

#: messages looked at for one page, where no index knows which ones are wanted
SCAN = 50_000
#: accounts whose own indexes are asked one after another when all of them are searched
_ACCOUNTS = 500

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
    provider: str | None = None  #: that any recipient's mail went to last
    door: Door | None = None
    subject: str | None = None  #: words in it, in any case

    @property
    def scans(self) -> bool:
        """Whether something is asked for that no index knows."""
        return (
            (self.status is not None and not messages.has_index(self.status))
            or self.provider is not None
            or self.door is not None
            or self.subject is not None
        )

    @property
    def by_account(self) -> bool:
        """Whether an index knows what is asked for, account by account."""
        return (
            (self.status is not None and messages.has_index(self.status))
            or self.tag is not None
            or self.from_ is not None
            or self.error_code is not None
        ) and self.recipient is None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of messages. `next` is where the page after it begins, None at the end.

    A page may be short, or empty, and not the last: then what was looked at for it held no more.
    """

    rows: list[dict[str, Any]]
    next: int | None


def search(connection: sa.Connection, account_id: int | None, wanted: Search) -> Found:
    """A page of an account's messages by id, which is by creation; with None, of all accounts'.

    Its cost is bounded: where no index knows which messages are wanted, no more than `SCAN` are looked at.
    """
    end = _end(connection, account_id, wanted) if wanted.scans else None
    if account_id is None and wanted.by_account:
        rows = _by_account(connection, wanted, end)
    else:
        statement = _statement(wanted, account_id, end).limit(wanted.limit + 1)
        rows = [dict(row) for row in connection.execute(statement).mappings()]
    if len(rows) > wanted.limit:
        return Found(rows[: wanted.limit], rows[wanted.limit - 1]["id"])
    return Found(rows, end)


def _end(connection: sa.Connection, account_id: int | None, wanted: Search) -> int | None:
    """The last message that is looked at for this page; None when that is all there are."""
    m = t.message.c
    statement = _bounded(sa.select(m.id), wanted, account_id).order_by(_order(wanted))
    return connection.execute(statement.offset(SCAN - 1).limit(1)).scalar()


def _by_account(connection: sa.Connection, wanted: Search, end: int | None) -> list[dict[str, Any]]:
    """The first rows of all accounts, from each one's own index; they all come from one, at most."""
    m = t.message.c
    ids: list[int] = []
    accounts = connection.execute(sa.select(t.account.c.id).limit(_ACCOUNTS + 1)).scalars().all()
    each: Sequence[int | None] = accounts if len(accounts) <= _ACCOUNTS else (None,)
    for account_id in each:
        statement = _statement(wanted, account_id, end).with_only_columns(m.id).limit(wanted.limit + 1)
        ids += connection.execute(statement).scalars()
    ids = sorted(ids, reverse=not wanted.ascending)[: wanted.limit + 1]
    rows = connection.execute(sa.select(t.message).where(m.id.in_(ids)).order_by(_order(wanted)))
    return [dict(row) for row in rows.mappings()]


def _order(wanted: Search) -> sa.ColumnElement[Any]:
    column: sa.ColumnElement[Any] = t.message.c.id
    return column.asc() if wanted.ascending else column.desc()


def _bounded(statement: sa.Select[Any], wanted: Search, account_id: int | None) -> sa.Select[Any]:
    """What bounds the walk along the ids."""
    m = t.message.c
    if account_id is not None:
        statement = statement.where(m.account_id == account_id)
    # created_at is the time in the id, so its bounds are bounds on the index.
    if wanted.created_from is not None:
        statement = statement.where(m.id >= first_at(wanted.created_from))
    if wanted.created_before is not None:
        statement = statement.where(m.id < first_at(wanted.created_before))
    if wanted.cursor is not None:
        statement = statement.where(m.id > wanted.cursor if wanted.ascending else m.id < wanted.cursor)
    return statement


def _statement(wanted: Search, account_id: int | None, end: int | None) -> sa.Select[Any]:
    m, r = t.message.c, t.recipient.c
    statement = _bounded(sa.select(t.message), wanted, account_id).order_by(_order(wanted))
    if end is not None:
        statement = statement.where(m.id <= end if wanted.ascending else m.id >= end)
    if wanted.recipient is not None:
        having = sa.select(r.message_id).where(r.address.in_(spellings(wanted.recipient)))
        if account_id is not None:
            having = having.where(r.account_id == account_id)
        statement = statement.where(m.id.in_(having))
    if wanted.from_ is not None:
        statement = statement.where(m.from_address == wanted.from_.lower())
    if wanted.status is not None:
        statement = messages.having_status(statement, wanted.status)
    if wanted.tag is not None:
        statement = statement.where(m.tag == wanted.tag)
    if wanted.error_code is not None:
        statement = statement.where(m.error_code == wanted.error_code)
    if wanted.provider is not None:
        went = sa.select(r.id).where(r.message_id == m.id, r.provider == wanted.provider)
        statement = statement.where(went.exists())
    if wanted.door is not None:
        statement = statement.where(m.door == wanted.door)
    if wanted.subject is not None:
        statement = statement.where(m.subject.icontains(wanted.subject, autoescape=True))
    if wanted.updated_from is not None:
        statement = statement.where(m.updated_at >= wanted.updated_from)
    if wanted.updated_before is not None:
        statement = statement.where(m.updated_at < wanted.updated_before)
    return statement


def spellings(address: str) -> set[str]:
    """How an address may be kept: as it was given to the SMTP door, or in lower case by the other."""
    try:
        return {normalise(address), address.lower()}
    except InvalidAddress:
        return {address}


def first_at(moment: datetime) -> int:
    """The first id of `moment` or later; times that no id can have are as good as the nearest that one can."""
    return floor_at(min(max(moment, EPOCH), _LAST))


def source(
    connection: sa.Connection, account_id: int | None, identifier: int
) -> tuple[dict[str, Any], bytes] | None:
    """A message and its bytes, empty once it has been redacted; None when the account has no such message."""
    row = messages.get(connection, account_id, identifier)
    return None if row is None else (row, messages.raw(connection, identifier))


def cancel(connection: sa.Connection, account_id: int | None, identifier: int) -> int | None:
    """Take a message's waiting recipients out of the queue; returns how many, None when there is no such message.

    What a worker has in hand, and what is done, stays as it is. Raises `Conflict` when nobody is waiting.
    """
    message = messages.get(connection, account_id, identifier)
    if message is None:
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
    timeline.add(connection, events, {identifier: message["account_id"]})
    if any(row.position == 0 for row in taken):
        shown = t.message.update().where(t.message.c.id == identifier)
        connection.execute(shown.values(status=Status.UNSENT, updated_at=moment))
    return len(taken)
