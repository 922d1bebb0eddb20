"""The delivery queue as it stands in the record: claim, settle, recover.

A claim is one statement: it takes what is queued and due, counts the attempt and numbers the claim (`fence`).
A result is written only where the recipient still holds that number, so a worker that was away for longer than
its lease cannot overwrite what another has done since.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from relay.core.event import EventKind
from relay.core.ids import new_id
from relay.core.status import MAIL_LANES, State, Status, advance
from relay.store import tables as t
from relay.store import timeline
from relay.store.types import BigInt, Instant


@dataclass(frozen=True, slots=True)
class Claim:
    """One recipient in a worker's hands."""

    id: int
    message_id: int
    account_id: int
    position: int
    address: str
    attempts: int
    fence: int
    notify: str | None
    orcpt: str | None
    #: workers that vanished with it in hand
    crashes: int = 0


@dataclass(slots=True)
class ClaimedMail:
    """A message with those of its recipients that were claimed together."""

    id: int
    row: dict[str, Any]
    claims: list[Claim] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Switch:
    """Routing went from one provider to another."""

    at: datetime
    came_from: str
    went_to: str
    why: str
    words: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What to record about one claimed recipient."""

    claim: Claim
    state: State
    status: Status | None  #: None leaves it as it is
    kind: EventKind
    at: datetime
    reply: str
    provider: str
    due_at: datetime | None = None
    ref: str | None = None
    error_code: str | None = None
    error_sub_type: str | None = None
    detail: dict[str, Any] | None = None
    #: what its next try waits for besides `due_at`; see `relay.store.circuits.release`
    waiting_for: str | None = None
    switches: tuple[Switch, ...] = ()


_CLAIMED = (
    t.recipient.c.id,
    t.recipient.c.message_id,
    t.recipient.c.account_id,
    t.recipient.c.position,
    t.recipient.c.address,
    t.recipient.c.attempts,
    t.recipient.c.fence,
    t.recipient.c.notify,
    t.recipient.c.orcpt,
    t.recipient.c.crashes,
)

_MAIL = (
    t.message.c.id,
    t.message.c.account_id,
    t.message.c.key_id,
    t.message.c.sender,
    t.message.c.tag,
    t.message.c.classification,
    t.message.c.lane,
    t.message.c.size,
    t.message.c.smtputf8,
    t.message.c.eight_bit,
    t.message.c.ret,
    t.message.c.envid,
    t.message.c.metadata,
    t.message.c.options,
    t.message.c.accepted_at,
)


def claim(
    connection: sa.Connection, message_ids: Sequence[int], *, now: datetime, lease: float
) -> list[ClaimedMail]:
    """Claim everything that is due of these messages, suspects apart."""
    return _claimed(connection, _CLAIM, {"b_ids": list(message_ids)}, now, lease)


def claim_due(
    connection: sa.Connection, lane: str, *, limit: int, now: datetime, lease: float
) -> list[ClaimedMail]:
    """Claim up to `limit` recipients of a lane that are due, longest due first."""
    return _claimed(connection, _CLAIM_DUE, {"b_lane": lane, "b_limit": limit}, now, lease)


def claim_suspect(connection: sa.Connection, *, now: datetime, lease: float) -> list[ClaimedMail]:
    """Claim one recipient that a worker vanished with: it is tried alone, so that no other is blamed for it."""
    return _claimed(connection, _CLAIM_SUSPECT, {}, now, lease)


def _claimed(
    connection: sa.Connection,
    statement: sa.Executable,
    parameters: dict[str, Any],
    now: datetime,
    lease: float,
) -> list[ClaimedMail]:
    parameters |= {"b_now": now, "b_lease_until": now + timedelta(seconds=lease)}
    claims = [Claim(*row) for row in connection.execute(statement, parameters)]
    if not claims:
        return []
    mails: dict[int, ClaimedMail] = {}
    rows = connection.execute(_CLAIMED_MAIL, {"b_ids": list({c.message_id for c in claims})})
    for row in rows.mappings():
        mails[row["id"]] = ClaimedMail(row["id"], dict(row))
    claims.sort(key=lambda c: c.position)
    for one in claims:
        mails[one.message_id].claims.append(one)
    return list(mails.values())


# Statements are built once: building one costs more than running it.
_NOW = sa.bindparam("b_now", type_=Instant())
_IDS = sa.bindparam("b_ids", expanding=True, type_=BigInt)
_QUEUED: sa.ColumnElement[str] = sa.literal_column("'queued'")


def _claiming(wanted: sa.Select[tuple[int]]) -> ReturningUpdate[Any]:
    # SKIP LOCKED lets several workers claim side by side; SQLite, with one writer, has no such words.
    statement: ReturningUpdate[Any] = (
        t.recipient.update()
        .where(t.recipient.c.id.in_(wanted.with_for_update(skip_locked=True)))
        .values(
            state=State.SENDING,
            attempts=t.recipient.c.attempts + 1,
            fence=t.recipient.c.fence + 1,
            lease_until=sa.bindparam("b_lease_until", type_=Instant()),
        )
        .returning(*_CLAIMED)
    )
    return statement


_CLAIM = _claiming(
    sa.select(t.recipient.c.id).where(
        t.recipient.c.message_id.in_(_IDS),
        # A bound state keeps the planner from walking the index of everything that is due.
        t.recipient.c.state == State.QUEUED,
        t.recipient.c.due_at <= _NOW,
        t.recipient.c.crashes == 0,
    )
)
_CLAIM_DUE = _claiming(
    sa.select(t.recipient.c.id)
    .where(
        t.recipient.c.state == _QUEUED,
        t.recipient.c.lane == sa.bindparam("b_lane"),
        t.recipient.c.due_at <= _NOW,
        t.recipient.c.crashes == 0,
    )
    .order_by(t.recipient.c.due_at)
    .limit(sa.bindparam("b_limit", type_=sa.Integer()))
)
_CLAIM_SUSPECT = _claiming(
    sa.select(t.recipient.c.id)
    .where(
        t.recipient.c.state == _QUEUED,
        t.recipient.c.crashes > sa.literal_column("0"),
        t.recipient.c.due_at <= _NOW,
    )
    .order_by(t.recipient.c.due_at)
    .limit(1)
)
_HISTORY = (
    sa.select(t.event.c.recipient_id, t.event.c.kind, t.event.c.provider, t.event.c.detail)
    .where(
        t.event.c.message_id.in_(_IDS),
        t.event.c.kind.in_(["deferred", "ambiguous", "switched"]),
    )
    .order_by(t.event.c.id)
)
_CLAIMED_MAIL = sa.select(*_MAIL).where(t.message.c.id.in_(_IDS))
_BODIES = (
    sa.select(t.body.c.message_id, t.body.c.data)
    .where(t.body.c.message_id.in_(_IDS))
    .order_by(t.body.c.message_id, t.body.c.part)
)
_HELD = (
    sa.select(t.recipient.c.id, t.recipient.c.fence, t.recipient.c.status)
    .where(t.recipient.c.id.in_(_IDS), t.recipient.c.state == State.SENDING)
    .with_for_update()
)
_DUE = (
    sa.select(t.recipient.c.id)
    .where(
        t.recipient.c.state == _QUEUED,
        t.recipient.c.lane == sa.bindparam("b_lane"),
        t.recipient.c.due_at <= _NOW,
    )
    .limit(1)
)


def bodies(connection: sa.Connection, message_ids: Sequence[int]) -> dict[int, bytes]:
    """The mails' bytes by message id; a redacted one is missing."""
    parts: dict[int, list[bytes]] = {}
    for message_id, data in connection.execute(_BODIES, {"b_ids": list(message_ids)}):
        parts.setdefault(message_id, []).append(data)
    return {
        message_id: pieces[0] if len(pieces) == 1 else b"".join(pieces)
        for message_id, pieces in parts.items()
    }


def history(
    connection: sa.Connection, message_ids: Sequence[int]
) -> dict[int, list[tuple[str, str | None, dict[str, Any]]]]:
    """What earlier tries of each recipient came to, oldest first: kind of event, provider, detail."""
    found: dict[int, list[tuple[str, str | None, dict[str, Any]]]] = {}
    for row in connection.execute(_HISTORY, {"b_ids": list(message_ids)}):
        found.setdefault(row.recipient_id, []).append((row.kind, row.provider, row.detail or {}))
    return found


def settle(connection: sa.Connection, settlements: Sequence[Settlement]) -> list[Settlement]:
    """Record results in one transaction; returns those whose claim was no longer held and that changed nothing."""
    current = {row.id: row for row in connection.execute(_HELD, {"b_ids": [s.claim.id for s in settlements]})}
    stale: list[Settlement] = []
    recipients: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    for s in settlements:
        row = current.get(s.claim.id)
        if row is None or row.fence != s.claim.fence:
            stale.append(s)
            continue
        status = advance(Status(row.status), s.status) if s.status else Status(row.status)
        recipients.append(
            {
                "b_id": s.claim.id,
                "b_state": s.state,
                "b_status": status,
                "b_due_at": s.due_at,
                "b_provider": s.provider,
                "b_provider_ref": s.ref,
                "b_reply": s.reply,
                "b_at": s.at,
                "b_waiting_for": s.waiting_for,
            }
        )
        events.extend(_switched(s, switch) for switch in s.switches)
        events.append(
            {
                "id": new_id(),
                "message_id": s.claim.message_id,
                "recipient_id": s.claim.id,
                "kind": s.kind,
                "at": s.at,
                "provider": s.provider,
                "attempt": s.claim.attempts,
                "reply": s.reply,
                "detail": s.detail,
            }
        )
        if s.claim.position == 0 and status != row.status:
            messages.append(
                {
                    "b_id": s.claim.message_id,
                    "b_status": status,
                    "b_at": s.at,
                    "b_sent_at": s.at if s.kind is EventKind.SENT else None,
                    "b_error_code": s.error_code,
                    "b_error_sub_type": s.error_sub_type,
                }
            )
    if recipients:
        connection.execute(_SETTLE_RECIPIENT, recipients)
        timeline.add(connection, events, {s.claim.message_id: s.claim.account_id for s in settlements})
    if messages:
        connection.execute(_SETTLE_MESSAGE, messages)
    return stale


def _switched(s: Settlement, switch: Switch) -> dict[str, Any]:
    return {
        "id": new_id(),
        "message_id": s.claim.message_id,
        "recipient_id": s.claim.id,
        "kind": EventKind.SWITCHED,
        "at": switch.at,
        "provider": switch.came_from,
        "attempt": s.claim.attempts,
        "reply": switch.words,
        "detail": {"from": switch.came_from, "to": switch.went_to, "why": switch.why},
    }


_SETTLE_RECIPIENT = (
    t.recipient.update()
    .where(t.recipient.c.id == sa.bindparam("b_id"))
    .values(
        state=sa.bindparam("b_state"),
        status=sa.bindparam("b_status"),
        due_at=sa.bindparam("b_due_at"),
        lease_until=sa.null(),
        provider=sa.bindparam("b_provider"),
        provider_ref=sa.bindparam("b_provider_ref"),
        reply=sa.bindparam("b_reply"),
        waiting_for=sa.bindparam("b_waiting_for"),
        updated_at=sa.bindparam("b_at"),
    )
)

_SETTLE_MESSAGE = (
    t.message.update()
    .where(t.message.c.id == sa.bindparam("b_id"))
    .values(
        status=sa.bindparam("b_status"),
        updated_at=sa.bindparam("b_at"),
        sent_at=sa.func.coalesce(
            t.message.c.sent_at, sa.bindparam("b_sent_at", type_=t.message.c.sent_at.type)
        ),
        error_code=sa.bindparam("b_error_code"),
        error_sub_type=sa.bindparam("b_error_sub_type"),
    )
)


@dataclass(frozen=True, slots=True)
class HandBack:
    """A claim that came to nothing because no provider could be given the mail now."""

    claim: Claim
    due_at: datetime
    waiting_for: str | None = None


def hand_back(connection: sa.Connection, returned: Sequence[HandBack]) -> None:
    """Return unsent claims to the queue as if they had not been taken."""
    connection.execute(
        _HAND_BACK,
        [
            {
                "b_id": one.claim.id,
                "b_fence": one.claim.fence,
                "b_due_at": one.due_at,
                "b_waiting_for": one.waiting_for,
            }
            for one in returned
        ],
    )


_HAND_BACK = (
    t.recipient.update()
    .where(
        t.recipient.c.id == sa.bindparam("b_id"),
        t.recipient.c.fence == sa.bindparam("b_fence"),
        t.recipient.c.state == State.SENDING,
    )
    .values(
        state=State.QUEUED,
        attempts=t.recipient.c.attempts - 1,
        lease_until=sa.null(),
        due_at=sa.bindparam("b_due_at", type_=Instant()),
        waiting_for=sa.bindparam("b_waiting_for"),
    )
)


def renew(connection: sa.Connection, claims: Sequence[Claim], *, until: datetime) -> None:
    """Keep claims that are still being worked on from being given away."""
    statement = (
        t.recipient.update()
        .where(
            t.recipient.c.id == sa.bindparam("b_id"),
            t.recipient.c.fence == sa.bindparam("b_fence"),
            t.recipient.c.state == State.SENDING,
        )
        .values(lease_until=until)
    )
    connection.execute(statement, [{"b_id": c.id, "b_fence": c.fence} for c in claims])


def due_lanes(connection: sa.Connection, *, now: datetime) -> list[str]:
    """The lanes with something due; costs one index probe per lane, whatever the length of the queue."""
    return [
        lane.value
        for lane in MAIL_LANES
        if connection.execute(_DUE, {"b_lane": lane, "b_now": now}).first() is not None
    ]
