"""Mail that is to be sent later: what waits, and another time for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.errors import Conflict, Refused
from relay.core.status import MAIL_LANES, State
from relay.core.timing import EXPIRES_AT, SEND_AT, fault, options_with, timing_of
from relay.store import messages
from relay.store import tables as t
from relay.store.types import BigInt, Instant

_R, _M = t.recipient.c, t.message.c
_WAITING = (State.QUEUED, State.HELD)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind this time, and at it behind this message."""

    due_at: datetime
    message_id: int


def page(
    connection: sa.Connection, account_id: int, *, limit: int, after: Place | None = None
) -> list[dict[str, Any]]:
    """Up to `limit` messages that are to be sent later, with their `due_at`, the next one first."""
    moment = now()
    place = after or Place(moment, 0)
    found: list[tuple[datetime, int]] = []
    for lane in MAIL_LANES:
        rows = connection.execute(
            _LATER,
            {
                "b_lane": lane.value,
                "b_account_id": account_id,
                "b_now": max(moment, place.due_at),
                "b_due_at": place.due_at,
                "b_message_id": place.message_id,
                "b_limit": limit,
            },
        )
        found += [(row.due_at, row.message_id) for row in rows]
    listed = sorted(found)[:limit]
    ids = [message_id for _, message_id in listed]
    by_id = {row["id"]: dict(row) for row in connection.execute(_MESSAGES, {"b_ids": ids}).mappings()}
    return [{**by_id[message_id], "due_at": due_at} for due_at, message_id in listed if message_id in by_id]


# The lane and the account first, and the state as a literal: the words of the index of what is due.
_LATER = (
    sa.select(_R.due_at, _R.message_id)
    .distinct()
    .where(
        _R.state == sa.literal_column("'queued'"),
        _R.lane == sa.bindparam("b_lane"),
        _R.account_id == sa.bindparam("b_account_id", type_=BigInt),
        _R.due_at >= sa.bindparam("b_now", type_=Instant()),
        sa.or_(
            _R.due_at > sa.bindparam("b_due_at", type_=Instant()),
            _R.message_id > sa.bindparam("b_message_id", type_=BigInt),
        ),
        _R.fence == 0,
    )
    .order_by(_R.due_at, _R.message_id)
    .limit(sa.bindparam("b_limit", type_=sa.Integer()))
)
_MESSAGES = sa.select(t.message).where(_M.id.in_(sa.bindparam("b_ids", expanding=True, type_=BigInt)))


@dataclass(frozen=True, slots=True)
class Changed:
    """A message with its new times."""

    row: dict[str, Any]
    due_at: datetime
    lane: str
    #: it is due already
    due: bool


def change(
    connection: sa.Connection, account_id: int | None, identifier: int, changes: dict[str, datetime | None]
) -> Changed | None:
    """Give a message other times: `send_at`, where None is now, and `expires_at`, where None is never.

    None when there is no such message. Raises `Conflict` once anybody's mail was tried or nobody's waits, `Refused`
    for times that cannot be.
    """
    message = messages.get(connection, account_id, identifier)
    if message is None:
        return None
    waiting = _waiting(connection.execute(_RECIPIENTS, {"b_id": identifier}).all())
    moment = now()
    timing = timing_of(message["accepted_at"], message["options"])
    before = timing.began if timing.began > moment else None
    send_at = changes.get(SEND_AT, before)
    if send_at is not None and send_at <= moment:
        send_at = None
    expires_at = changes.get(EXPIRES_AT, timing.expires_at)
    wrong = fault(send_at, expires_at, moment)
    if wrong is not None:
        raise Refused(f'"{wrong[0]}" {wrong[1]}')
    wanted = send_at or moment
    if timing.quiet is not None:
        wanted = timing.quiet.until(wanted) or wanted
    options = options_with(message["options"], wanted if wanted > moment else None, expires_at)
    due_at = timing_of(message["accepted_at"], options).due(wanted)
    connection.execute(
        t.recipient.update()
        .where(_R.id.in_([row.id for row in waiting]))
        .values(due_at=due_at, waiting_for=sa.null(), updated_at=moment)
    )
    values = {"options": options or None, "updated_at": moment}
    connection.execute(t.message.update().where(_M.id == identifier).values(**values))
    return Changed({**message, **values}, due_at, waiting[0].lane, due_at <= moment)


def _waiting(rows: Sequence[Any]) -> Sequence[Any]:
    if any(row.attempts or row.state == State.SENDING for row in rows):
        raise Conflict("The message has left, or was tried already; its times cannot be changed any more.")
    waiting = [row for row in rows if row.state in _WAITING]
    if not waiting:
        raise Conflict("None of the recipients is waiting any more.")
    return waiting


_RECIPIENTS = (
    sa.select(_R.id, _R.state, _R.lane, _R.attempts)
    .where(_R.message_id == sa.bindparam("b_id", type_=BigInt))
    .order_by(_R.id)
    .with_for_update()
)
