"""Recipient lists on their way: uploaded, read, made into mail. Every step is one short transaction.

A worker holds a batch by a lease and a fence number. A step that writes begins by showing both, so one that was
paused, cancelled or taken over meanwhile changes nothing, and a step that is repeated after a crash finds what the
last one left: the rows, the counts and the place in the list change together or not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.errors import Conflict, NotFound
from relay.core.status import Lane, State, Status
from relay.store import messages, suppressions
from relay.store import tables as t
from relay.store.messages import Group, Stored
from relay.store.rows import Columns, Many, insert_rows
from relay.store.tables.batches import SCHEDULED, WORKING

#: octets of a list per row of `batch_part`
PART = 512 * 1024


class BatchState(StrEnum):
    """Where a batch stands."""

    UPLOADING = "uploading"  #: not known to anybody yet; gone after an hour
    READING = "reading"
    READY = "ready"  #: read, and waits for a start
    SENDING = "sending"
    PAUSED = "paused"  #: by its owner, or because the account was disabled
    HALTED = "halted"  #: by itself, for its bounces
    DONE = "done"  #: nothing of it waits any more
    CANCELLED = "cancelled"
    FAILED = "failed"  #: its list cannot be read


#: in which rows may still become mail
OPEN = (
    BatchState.READING, BatchState.READY, BatchState.SENDING, BatchState.PAUSED, BatchState.HALTED,
)  # fmt: skip


class RowState(StrEnum):
    """Where a row stands; what becomes of a queued one, its message says."""

    VALID = "valid"
    REFUSED = "refused"
    QUEUED = "queued"


class Lost(Exception):
    """The batch is not this worker's any more."""


@dataclass(frozen=True, slots=True)
class Held:
    """A batch in a worker's hands, as it was when it was taken."""

    id: int
    fence: int
    state: BatchState
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was read."""

    number: int
    address: str
    variables: dict[str, Any] | None
    reason: str | None = None


_B, _P, _R, _M = t.batch.c, t.batch_part.c, t.batch_row.c, t.message.c


# Working.


def any_free(connection: sa.Connection, *, now: datetime) -> bool:
    """Whether `claim` would find one."""
    return connection.execute(_free(now).limit(1)).first() is not None


def _free(now: datetime) -> sa.Select[Any]:
    free = sa.or_(_B.lease_until.is_(None), _B.lease_until <= now)
    return sa.select(_B.id).where(sa.text(WORKING), free, _B.fed.is_(sa.false()), _MAY)


#: a disabled account sends nothing further; its list may be read
_ENABLED = sa.exists().where(t.account.c.id == _B.account_id, t.account.c.disabled_at.is_(None))
_MAY = sa.or_(_B.state != BatchState.SENDING, _ENABLED)


def claim(connection: sa.Connection, *, now: datetime, lease: float) -> Held | None:
    """Take the batch that has waited longest for a worker, if any does."""
    found = connection.execute(
        _free(now)
        .order_by(_B.lease_until.asc().nulls_first(), _B.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).scalar()
    if found is None:
        return None
    taken = (
        t.batch.update()
        .where(_B.id == found)
        .values(fence=_B.fence + 1, lease_until=now + timedelta(seconds=lease))
        .returning(t.batch)
    )
    row = dict(connection.execute(taken).mappings().one())
    return Held(row["id"], row["fence"], BatchState(row["state"]), row)


def show(connection: sa.Connection, held: Held, *, lease: float, **values: Any) -> None:
    """Begin a step: raises `Lost` unless the batch is still in these hands and in this state."""
    shown = (
        t.batch.update()
        .where(_B.id == held.id, _B.fence == held.fence, _B.state == held.state, _MAY)
        .values(lease_until=now() + timedelta(seconds=lease), **values)
    )
    if connection.execute(shown).rowcount != 1:
        raise Lost


def let_go(connection: sa.Connection, held: Held) -> None:
    """Give a batch back: any worker may take it once those that waited longer had their turn."""
    connection.execute(
        t.batch.update().where(_B.id == held.id, _B.fence == held.fence).values(lease_until=now())
    )


def octets(connection: sa.Connection, identifier: int, offset: int) -> bytes:
    """What of the list begins at `offset`: at least `PART` octets, or all that is left."""
    part = offset // PART
    wanted = (
        sa.select(_P.data).where(_P.batch_id == identifier, _P.part.in_((part, part + 1))).order_by(_P.part)
    )
    data = b"".join(connection.execute(wanted).scalars())
    return data[offset - part * PART :]


def stage(
    connection: sa.Connection,
    held: Held,
    rows: Sequence[Row],
    *,
    offset: int,
    stream: str,
    once_each: bool,
    lease: float,
    columns: Sequence[str | None],
    delimiter: str | None,
    ended: BatchState | None = None,
) -> None:
    """Keep rows that were read, refusing those whose address is suppressed or was there before.

    `ended` is where the batch goes from here, once the list is at its end.
    """
    show(connection, held, lease=lease)
    kept = _kept(connection, held, rows, stream, once_each=once_each)
    if kept:
        insert_rows(connection, t.batch_row, kept)
    refused = sum(one["state"] == RowState.REFUSED for one in kept)
    changes: dict[str, Any] = {
        "offset": offset,
        "rows": _B.rows + len(kept),
        "valid": _B.valid + len(kept) - refused,
        "refused": _B.refused + refused,
        "columns": list(columns),
        "delimiter": delimiter,
    }
    if ended is not None:
        changes |= {"state": ended, "lease_until": sa.null()}
        connection.execute(t.batch_part.delete().where(_P.batch_id == held.id))
        if ended is BatchState.SENDING:
            changes["started_at"] = now()
    connection.execute(t.batch.update().where(_B.id == held.id).values(**changes))


def _kept(
    connection: sa.Connection, held: Held, rows: Sequence[Row], stream: str, *, once_each: bool
) -> list[dict[str, Any]]:
    account_id = held.row["account_id"]
    good = [row for row in rows if row.reason is None]
    blocked = suppressions.blocked(connection, [(account_id, stream, row.address) for row in good])
    lowered = [row.address.lower() for row in good]
    seen: set[str] = set()
    if once_each and lowered:
        there = sa.select(_R.taken).where(_R.batch_id == held.id, _R.taken.in_(lowered))
        seen.update(connection.execute(there).scalars())
    kept = []
    for row in rows:
        reason, key = row.reason, row.address.lower()
        if reason is None and (account_id, stream, row.address) in blocked:
            reason = "the address is suppressed"
        if reason is None and once_each and key in seen:
            reason = "the address was in the list before"
        if reason is None:
            seen.add(key)
        kept.append({
            "batch_id": held.id,
            "number": row.number,
            "state": (RowState.VALID if reason is None else RowState.REFUSED).value,
            "address": row.address[:255],
            "taken": key if reason is None and once_each else None,
            "variables": row.variables,
            "reason": reason[:500] if reason else None,
        })  # fmt: skip
    return kept


def end(connection: sa.Connection, held: Held, state: BatchState, reason: str | None = None) -> None:
    """The batch goes no further. A list that failed may be uploaded again."""
    show(connection, held, lease=0)
    values: dict[str, Any] = {"state": state, "reason": (reason or "")[:500] or None, "lease_until": None}
    if state is BatchState.FAILED:
        values |= {"once": None, "ended_at": now()}
        connection.execute(t.batch_part.delete().where(_P.batch_id == held.id))
    connection.execute(t.batch.update().where(_B.id == held.id).values(**values))


def waiting(connection: sa.Connection, identifier: int, after: int, limit: int) -> list[dict[str, Any]]:
    """The next valid rows."""
    wanted = (
        sa.select(_R.number, _R.address, _R.variables)
        .where(_R.batch_id == identifier, _R.number > after, _R.state == RowState.VALID)
        .order_by(_R.number)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(wanted).mappings()]


def in_queue(connection: sa.Connection, account_id: int, *, most: int) -> int:
    """Mails of an account that wait in the bulk lane for their turn, counted up to `most`.

    What was tried and is put off to a later time does not count: it would hold up the rest for days.
    """
    r = t.recipient.c
    waiting = (
        sa.select(r.id)
        .where(
            sa.text("state = 'queued'"),
            r.lane == Lane.BULK,
            r.account_id == account_id,
            sa.or_(r.due_at <= now(), r.waiting_for.is_not(None)),
        )
        .limit(most)
    )
    return int(connection.execute(sa.select(sa.func.count()).select_from(waiting.subquery())).scalar_one())


_QUEUE = (
    "WITH v(batch_id, number, message_id) AS (%s) UPDATE batch_row"  # noqa: S608 - our own words
    f" SET state = '{RowState.QUEUED.value}', message_id = v.message_id FROM v"
    " WHERE batch_row.batch_id = v.batch_id AND batch_row.number = v.number"
)
_QUEUED = Many(
    Columns((_R.batch_id, _R.number, _R.message_id)),
    _QUEUE.replace("%s", "VALUES %s"),
    _QUEUE.replace("%s", "SELECT * FROM %s"),
)


def queue(
    connection: sa.Connection,
    held: Held,
    group: Group,
    numbers: Sequence[int],
    refused: Mapping[int, str],
    *,
    cursor: int,
    fed: bool,
    lease: float,
) -> list[Stored]:
    """Mail for some rows, and the rows marked so: both, or neither. `numbers` are the rows of the group's mails."""
    show(
        connection,
        held,
        lease=lease,
        cursor=cursor,
        queued=_B.queued + len(numbers),
        valid=_B.valid - len(refused),
        refused=_B.refused + len(refused),
        fed=fed,
    )
    stored = messages.insert(connection, group) if numbers else []
    if numbers:
        _QUEUED.run(
            connection,
            [(held.id, number, one.id) for number, one in zip(numbers, stored, strict=True)],
        )
    for number, reason in refused.items():
        connection.execute(
            t.batch_row.update()
            .where(_R.batch_id == held.id, _R.number == number)
            .values(state=RowState.REFUSED, reason=reason[:500])
        )
    return stored


# Looking.


def get(connection: sa.Connection, account_id: int | None, identifier: int) -> dict[str, Any]:
    """Raises `NotFound`; `account_id` None looks in all accounts."""
    statement = sa.select(t.batch).where(_B.id == identifier, _B.state != BatchState.UPLOADING)
    if account_id is not None:
        statement = statement.where(_B.account_id == account_id)
    row = connection.execute(statement).mappings().first()
    if row is None:
        raise NotFound("There is no such batch.")
    return dict(row)


def page(
    connection: sa.Connection, account_id: int | None, *, limit: int, before: int | None
) -> list[dict[str, Any]]:
    """Batches, newest first."""
    statement = sa.select(t.batch).where(_B.state != BatchState.UPLOADING).order_by(_B.id.desc()).limit(limit)
    if account_id is not None:
        statement = statement.where(_B.account_id == account_id)
    if before is not None:
        statement = statement.where(_B.id < before)
    return [dict(row) for row in connection.execute(statement).mappings()]


def counts(connection: sa.Connection, identifier: int) -> dict[str, int]:
    """How many of the batch's messages have which status."""
    counted = sa.select(_M.status, sa.func.count()).where(_M.batch_id == identifier).group_by(_M.status)
    return {row[0]: row[1] for row in connection.execute(counted)}


def rows(
    connection: sa.Connection,
    identifier: int,
    *,
    limit: int,
    after: int = 0,
    state: RowState | None = None,
) -> list[dict[str, Any]]:
    """Rows in their order, with what became of their mail."""
    statement = (
        sa.select(
            _R.number, _R.state, _R.address, _R.reason, _R.message_id,
            _M.status, _M.error_code, _M.updated_at,
        )
        .select_from(t.batch_row.outerjoin(t.message, _M.id == _R.message_id))
        .where(_R.batch_id == identifier, _R.number > after)
        .order_by(_R.number)
        .limit(limit)
    )  # fmt: skip
    if state is RowState.REFUSED:
        statement = statement.where(sa.text("batch_row.state = 'refused'"))
    elif state is not None:
        statement = statement.where(_R.state == state)
    return [dict(row) for row in connection.execute(statement).mappings()]


def row(connection: sa.Connection, identifier: int, number: int) -> dict[str, Any]:
    """Raises `NotFound`."""
    found = connection.execute(
        sa.select(t.batch_row).where(_R.batch_id == identifier, _R.number == number)
    ).mappings().first()  # fmt: skip
    if found is None:
        raise NotFound(f"The batch has no row {number}; perhaps it is not read yet.")
    return dict(found)


# What owners do.


def move(
    connection: sa.Connection,
    account_id: int | None,
    identifier: int,
    state: BatchState,
    *,
    of: Sequence[BatchState],
    reason: str | None = None,
) -> dict[str, Any]:
    """Bring a batch from one of the states `of` to another.

    Raises `Conflict` from others, `NotFound`, and `Conflict` where a disabled account would send.
    """
    before = get(connection, account_id, identifier)
    if (
        state is BatchState.SENDING
        and not connection.execute(
            sa.select(_ENABLED).select_from(t.batch).where(_B.id == identifier)
        ).scalar()
    ):
        raise Conflict("The account is disabled.")
    moment = now()
    values: dict[str, Any] = {"state": state, "reason": reason, "lease_until": None}
    if state is BatchState.SENDING:
        values["started_at"] = before["started_at"] or moment
        if before["state"] == BatchState.HALTED:
            # What was so before its owner said to go on is forgiven, or it would halt again at once.
            values["forgiven"], values["before"] = (
                hard_bounces(connection, identifier),
                processed(connection, identifier),
            )
    if state is BatchState.CANCELLED:
        values |= {"once": None, "ended_at": moment}
        connection.execute(t.batch_part.delete().where(_P.batch_id == identifier))
    changed = t.batch.update().where(_B.id == identifier, _B.state.in_(of)).values(**values)
    if connection.execute(changed).rowcount != 1:
        raise Conflict(f"The batch is {before['state']}.")
    return get(connection, account_id, identifier)


def reschedule(connection: sa.Connection, account_id: int | None, identifier: int, send_at: datetime) -> None:
    """Start a list that has not begun at another time. Raises `Conflict` where none was to start by itself."""
    before = get(connection, account_id, identifier)
    waits = sa.or_(_B.state == BatchState.READING, sa.text(SCHEDULED))
    # Who reads it knows the old time: with another fence the step in hand comes to nothing.
    changed = (
        t.batch.update()
        .where(_B.id == identifier, waits, _B.send_at.is_not(None))
        .values(send_at=send_at, fence=_B.fence + 1, lease_until=None)
    )
    if connection.execute(changed).rowcount != 1:
        raise Conflict(f"The batch is {before['state']}, and waits for no time.")


def due(connection: sa.Connection, now: datetime) -> list[int]:
    """Lists that are read and whose time has come."""
    wanted = sa.select(_B.id).where(sa.text(SCHEDULED), _B.send_at <= now).order_by(_B.send_at).limit(100)
    return list(connection.execute(wanted).scalars())


def waiting_recipients(
    connection: sa.Connection, identifier: int, states: Sequence[State], *, after: int, limit: int
) -> list[int]:
    """Recipients of the batch's mail in these states, in the order of their mail, after the mail `after`."""
    r = t.recipient.c
    found = (
        sa.select(r.id)
        .select_from(t.message.join(t.recipient, r.message_id == _M.id))
        .where(_M.batch_id == identifier, _M.status == Status.ACCEPTED, r.state.in_(states), r.id > after)
        .order_by(r.id)
        .limit(limit)
    )
    return list(connection.execute(found).scalars())


# Halting.


def sending(connection: sa.Connection) -> list[dict[str, Any]]:
    """The batches whose mail is going out, and whether their accounts are `enabled`."""
    wanted = sa.select(t.batch, _ENABLED.label("enabled")).where(
        sa.text(WORKING), _B.state == BatchState.SENDING
    )
    return [dict(row) for row in connection.execute(wanted).mappings()]


def hard_bounces(connection: sa.Connection, identifier: int) -> int:
    r = t.recipient.c
    counted = (
        sa.select(sa.func.count())
        .select_from(t.message.join(t.recipient, sa.and_(r.message_id == _M.id, r.position == 0)))
        .where(_M.batch_id == identifier, _M.status == Status.BOUNCED, r.bounce_class == "hard")
    )
    return int(connection.execute(counted).scalar_one())


def processed(connection: sa.Connection, identifier: int) -> int:
    """Mails of which something is known."""
    found = counts(connection, identifier)
    return sum(count for status, count in found.items() if status not in {Status.ACCEPTED, Status.UNSENT})


def finish(connection: sa.Connection, identifier: int) -> bool:
    """Close a batch all of whose rows have their mail, of which none waits; whether it was."""
    waits = sa.exists().where(_M.batch_id == identifier, _M.status == Status.ACCEPTED)
    closed = (
        t.batch.update()
        .where(_B.id == identifier, _B.state == BatchState.SENDING, _B.fed.is_(sa.true()), ~waits)
        .values(state=BatchState.DONE, ended_at=now(), lease_until=None)
    )
    return bool(connection.execute(closed).rowcount)
