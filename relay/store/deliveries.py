"""The delivery queue as it stands in the record: claim, settle, recover.

A claim is one statement: it takes what is queued and due, counts the attempt and numbers the claim (`fence`).
A result is written only where the recipient still holds that number, so a worker that was away for longer than
its lease cannot overwrite what another has done since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from relay.core import clock
from relay.core.status import MAIL_LANES, State
from relay.store import fairness
from relay.store import tables as t
from relay.store.expiry import expire
from relay.store.fairness import Turn
from relay.store.rows import Columns, Statement
from relay.store.types import BigInt, Instant
from relay.store.withholding import withhold


# What is made for every mail is not frozen: that makes four times the cost of each.
@dataclass(slots=True)
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
    #: the provider that an operator wants it to go by
    route: str | None = None


@dataclass(slots=True)
class ClaimedMail:
    """A message with those of its recipients that were claimed together."""

    id: int
    row: dict[str, Any]
    claims: list[Claim] = field(default_factory=list)
    #: its bytes, where they are few
    body: bytes | None = None
    #: recipients who were due as well, but may not be written to any more
    withheld: int = 0
    #: monotonic time at which its claims were made or last renewed
    renewed: float = 0.0


_MAIL = Columns(
    (
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
)
#: octets up to which a mail is read together with its claim
_SMALL = 64 * 1024


def look(connection: sa.Connection, message_ids: Sequence[int]) -> dict[int, ClaimedMail]:
    """These messages as a claim has them, but without claims."""
    sqlite = connection.dialect.name == "sqlite"
    return {
        row[0]: ClaimedMail(row[0], _MAIL.read(row, sqlite=sqlite), body=body)
        for *row, body in _CLAIMED_MAIL.rows(connection, _SMALL, list(message_ids))
    }


def claim(
    connection: sa.Connection,
    message_ids: Sequence[int],
    *,
    now: datetime,
    lease: float,
    seen: Mapping[int, ClaimedMail] | None = None,
) -> list[ClaimedMail]:
    """Claim everything that is due of these messages, suspects apart. `seen` is what `look` found of them before."""
    until = now + timedelta(seconds=lease)
    rows = _CLAIM.rows(connection, State.SENDING.value, until, list(message_ids), State.QUEUED.value, now)
    return _mails(connection, _oldest_first(rows), seen)


def claim_due(
    connection: sa.Connection, lane: str, *, limit: int, now: datetime, lease: float, last: Turn | None = None
) -> list[ClaimedMail]:
    """Claim up to `limit` recipients of a lane that are due: of each account alike, longest due first.

    `last` remembers whose turn it was, for the next claim to go on from there.
    """
    until = now + timedelta(seconds=lease)
    rows = fairness.share_out(
        lambda after, most: fairness.with_due(connection, lane, now, after, most),
        lambda account, few: _oldest_first(
            _CLAIM_DUE.rows(connection, State.SENDING.value, until, lane, account, now, few)
        ),
        limit,
        last or Turn(),
    )
    return _mails(connection, rows)


def claim_suspect(connection: sa.Connection, *, now: datetime, lease: float) -> list[ClaimedMail]:
    """Claim one recipient that a worker vanished with: it is tried alone, so that no other is blamed for it."""
    until = now + timedelta(seconds=lease)
    return _mails(connection, _CLAIM_SUSPECT.rows(connection, State.SENDING.value, until, now))


def _oldest_first(rows: Sequence[Any]) -> list[Any]:
    """By message and position: neither database says in which order it returns what it has changed."""
    return sorted(rows, key=_ORDER)


_CLAIM_FIELDS = tuple(one.name for one in fields(Claim))
_ORDER = itemgetter(_CLAIM_FIELDS.index("message_id"), _CLAIM_FIELDS.index("position"))


def _mails(
    connection: sa.Connection, rows: Sequence[Any], seen: Mapping[int, ClaimedMail] | None = None
) -> list[ClaimedMail]:
    """The mails in the order of their claims: where a provider has no place for all, the last go without."""
    claims = [Claim(*row) for row in rows]
    if not claims:
        return []
    ids = dict.fromkeys(one.message_id for one in claims)
    known = dict(seen or {})
    if missing := [identifier for identifier in ids if identifier not in known]:
        known |= look(connection, missing)
    mails = {identifier: known[identifier] for identifier in ids}
    for one in claims:
        mails[one.message_id].claims.append(one)
    moment = clock.now()
    withhold(connection, list(mails.values()), now=moment)
    expire(connection, list(mails.values()), now=moment)
    return list(mails.values())


# Statements are built once: building one costs more than running it.
_IDS = sa.bindparam("b_ids", expanding=True, type_=BigInt)


def _claiming(wanted: str) -> Statement:
    # SKIP LOCKED lets several workers claim side by side; SQLite, with one writer, has no such words.
    return Statement(
        "UPDATE recipient SET state = $1::text, attempts = attempts + 1, fence = fence + 1,"  # noqa: S608
        f" lease_until = $2::timestamptz WHERE id IN (SELECT id FROM recipient WHERE {wanted} FOR UPDATE SKIP LOCKED)"
        f" RETURNING {', '.join(_CLAIM_FIELDS)}"
    )


# A state that is not plainly compared keeps planners from walking the index of everything that is due.
_CLAIM = _claiming(
    "message_id = ANY($3::bigint[]) AND COALESCE(state, '') = $4::text AND due_at <= $5::timestamptz AND crashes = 0"
)
_CLAIM_DUE = _claiming(
    "state = 'queued' AND lane = $3::text AND account_id = $4::bigint AND due_at <= $5::timestamptz"
    " AND crashes = 0 ORDER BY due_at LIMIT $6::integer"
)
_CLAIM_SUSPECT = _claiming(
    "state = 'queued' AND crashes > 0 AND due_at <= $3::timestamptz ORDER BY due_at LIMIT 1"
)
# A body is looked up for each mail: asked for a join, PostgreSQL reads all bodies while it does not know yet how many
# there are.
_CLAIMED_MAIL = Statement(
    f"SELECT {', '.join(f'm.{name}' for name in _MAIL.names)}, CASE WHEN m.size <= $1::integer"  # noqa: S608
    " THEN (SELECT b.data FROM body AS b WHERE b.message_id = m.id AND b.part = 0) END"
    " FROM message AS m WHERE m.id = ANY($2::bigint[])"
)
_HISTORY = (
    sa.select(t.event.c.recipient_id, t.event.c.kind, t.event.c.provider, t.event.c.detail)
    .where(
        t.event.c.message_id.in_(_IDS),
        t.event.c.kind.in_(["deferred", "ambiguous", "parked", "switched"]),
        # Not what providers report of mail that they have taken.
        sa.or_(t.event.c.attempt.is_not(None), t.event.c.kind == "switched"),
    )
    .order_by(t.event.c.id)
)
_BODIES = (
    sa.select(t.body.c.message_id, t.body.c.data)
    .where(t.body.c.message_id.in_(_IDS))
    .order_by(t.body.c.message_id, t.body.c.part)
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
    """The lanes with something due; costs a few index probes, whatever the length of the queue."""
    return [lane.value for lane in MAIL_LANES if fairness.with_due(connection, lane.value, now, 0, 1)]
