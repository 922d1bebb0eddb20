"""Results of tries, written: a result counts only while its recipient is still in the hands of who has it.

Nearly always that is so, and nobody has reported anything of the mail yet. The rows for that are made before the
transaction begins, so that on SQLite, where one writes at a time, others do not wait for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from relay.core.bounce import Bounce, BounceClass
from relay.core.event import EventKind
from relay.core.ids import new_id
from relay.core.status import State, Status, advance
from relay.store import outbox, standings, timeline
from relay.store import tables as t
from relay.store.database import Database, Unexpected
from relay.store.deliveries import Claim
from relay.store.rows import Bound, Part, Statement, updating


@dataclass(frozen=True, slots=True)
class Switch:
    """Routing went from one provider to another."""

    at: datetime
    came_from: str
    went_to: str
    why: str
    words: str


# What is made for every mail is not frozen: that makes four times the cost of each.
@dataclass(slots=True)
class Settlement:
    """What to record about one claimed recipient."""

    claim: Claim
    state: State
    kind: EventKind
    at: datetime
    reply: str
    provider: str
    due_at: datetime | None = None
    ref: str | None = None
    #: where the provider reports by `ref`; see `relay.store.reports.ref_key`
    ref_key: int | None = None
    #: of what ends as BOUNCED
    bounce: Bounce | None = None
    detail: dict[str, Any] | None = None
    #: what its next try waits for besides `due_at`; see `relay.store.circuits.release`
    waiting_for: str | None = None
    switches: tuple[Switch, ...] = ()


@dataclass(slots=True)
class Prepared:
    """What `settle_as_claimed` writes."""

    #: recipients, each of them once
    count: int
    bound: Bound
    events: list[dict[str, Any]]
    accounts: Mapping[int, int]
    bounced: list[standings.Bounced]


@dataclass(slots=True)
class _Rows:
    recipients: list[tuple[Any, ...]] = field(default_factory=list)
    messages: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    bounced: list[standings.Bounced] = field(default_factory=list)

    def bound(self, settling: Part, dialect: str) -> Bound:
        parts = [settling, (_SETTLE_MESSAGE, self.messages)] if self.messages else [settling]
        return timeline.bound(self.events, parts, dialect)


async def record(database: Database, settlements: Sequence[Settlement]) -> list[Settlement]:
    """Record results; returns those whose claim was no longer held and that changed nothing.

    Raises `Unavailable`.
    """
    prepared = prepare(settlements, database.dialect)
    alone = not prepared.bounced and outbox.quiet(database.engine, prepared.accounts.values())
    try:
        if alone:
            await database.write_alone(prepared.bound, expecting=prepared.count)
        else:
            await database.write(settle_as_claimed, prepared)
    except Unexpected:
        return await database.write(settle, settlements)
    return []


def prepare(settlements: Sequence[Settlement], dialect: str) -> Prepared:
    """Results of recipients that are as they were claimed, as far as this process knows."""
    rows = _Rows()
    # In this order reports lock them, too.
    for settlement in sorted(settlements, key=_BY_ID):
        _add(rows, settlement, Status.ACCEPTED)
    return Prepared(
        len(settlements),
        rows.bound((_SETTLE_CLAIMED, rows.recipients), dialect),
        rows.events,
        _accounts(settlements),
        rows.bounced,
    )


def settle_as_claimed(connection: sa.Connection, prepared: Prepared) -> None:
    """Record results in one transaction.

    Raises `Unexpected` where somebody else has changed one of these recipients since it was claimed: `settle` finds
    out then what is to be recorded.
    """
    if timeline.add_bound(connection, prepared.bound, prepared.events, prepared.accounts) != prepared.count:
        raise Unexpected
    if prepared.bounced:
        standings.bounce(connection, prepared.bounced)


def settle(connection: sa.Connection, settlements: Sequence[Settlement]) -> list[Settlement]:
    """Record results in one transaction; returns those whose claim was no longer held and that changed nothing."""
    held = _HELD.rows(connection, [s.claim.id for s in settlements], State.SENDING.value)
    current = {identifier: (fence, status) for identifier, fence, status in held}
    stale: list[Settlement] = []
    rows = _Rows()
    for settlement in settlements:
        fence, status = current.get(settlement.claim.id, (None, ""))
        if fence != settlement.claim.fence:
            stale.append(settlement)
        else:
            _add(rows, settlement, Status(status))
    if rows.recipients:
        bound = rows.bound((_SETTLE, rows.recipients), connection.dialect.name)
        timeline.add_bound(connection, bound, rows.events, _accounts(settlements))
    if rows.bounced:
        standings.bounce(connection, rows.bounced)
    return stale


def _add(rows: _Rows, settlement: Settlement, before: Status) -> None:
    claim, at = settlement.claim, settlement.at
    state, due_at, waiting_for = settlement.state, settlement.due_at, settlement.waiting_for
    if before in standings.GONE and state is not State.DONE:
        # A report was here first: some try of it has gone out, and another would be a double.
        state, due_at, waiting_for = State.DONE, None, None
    sent = settlement.kind is EventKind.SENT
    status = (advance(before, Status.SENT) if sent else before).value
    rows.recipients.append(
        (
            claim.id,
            claim.fence,
            state.value,
            status,
            due_at,
            settlement.provider,
            settlement.ref,
            settlement.ref_key,
            settlement.reply,
            waiting_for,
            at,
            at if sent else None,
        )
    )
    if settlement.switches:
        rows.events.extend(_switched(settlement, switch) for switch in settlement.switches)
    rows.events.append(
        {
            "id": new_id(),
            "message_id": claim.message_id,
            "recipient_id": claim.id,
            "kind": settlement.kind.value,
            "at": at,
            "provider": settlement.provider,
            "attempt": claim.attempts,
            "reply": settlement.reply,
            "detail": settlement.detail,
        }
    )
    if sent and claim.position == 0:
        rows.messages.append((claim.message_id, status, at, at))
    if settlement.kind is EventKind.BOUNCED:
        bounce = settlement.bounce or _UNCLEAR
        rows.bounced.append(standings.Bounced(claim.id, at, bounce, settlement.provider, settlement.reply))


_BY_ID = attrgetter("claim.id")
_UNCLEAR = Bounce(BounceClass.SOFT)


def _switched(settlement: Settlement, switch: Switch) -> dict[str, Any]:
    return {
        "id": new_id(),
        "message_id": settlement.claim.message_id,
        "recipient_id": settlement.claim.id,
        "kind": EventKind.SWITCHED.value,
        "at": switch.at,
        "provider": switch.came_from,
        "attempt": settlement.claim.attempts,
        "reply": switch.words,
        "detail": {"from": switch.came_from, "to": switch.went_to, "why": switch.why},
    }


def _accounts(settlements: Sequence[Settlement]) -> dict[int, int]:
    return {settlement.claim.message_id: settlement.claim.account_id for settlement in settlements}


_HELD = Statement(
    "SELECT id, fence, status FROM recipient WHERE id = ANY($1::bigint[]) AND state = $2::text ORDER BY id FOR UPDATE"
)
_R, _M = t.recipient.c, t.message.c
_EARLIER = "CASE WHEN {1} IS NULL OR {0} < {1} THEN {0} ELSE {1} END"
_COLUMNS = (
    _R.id,
    _R.fence,
    _R.state,
    _R.status,
    _R.due_at,
    _R.provider,
    _R.provider_ref,
    _R.ref_key,
    _R.reply,
    _R.waiting_for,
    _R.updated_at,
    _R.sent_at,
)
_ASSIGNMENTS = (
    # A try that has come to an end clears a suspect.
    "state = v.state, crashes = CASE WHEN v.state = 'queued' THEN 0 ELSE recipient.crashes END,"
    " status = v.status, due_at = v.due_at, lease_until = NULL, provider = v.provider,"
    " provider_ref = v.provider_ref, ref_key = v.ref_key, reply = v.reply, waiting_for = v.waiting_for,"
    " updated_at = v.updated_at, sent_at = " + _EARLIER.format("recipient.sent_at", "v.sent_at")
)
_SETTLE = updating(t.recipient, _COLUMNS, _ASSIGNMENTS)
# Asked for the state alone, PostgreSQL goes through the index of all that is being sent, once for each of these rows.
_SETTLE_CLAIMED = updating(
    t.recipient,
    _COLUMNS,
    _ASSIGNMENTS,
    " AND recipient.fence = v.fence AND recipient.state || ' ' || recipient.status = 'sending ACCEPTED'",
)
_SETTLE_MESSAGE = updating(
    t.message,
    (_M.id, _M.status, _M.updated_at, _M.sent_at),
    "status = v.status, updated_at = v.updated_at, sent_at = "
    + _EARLIER.format("message.sent_at", "v.sent_at"),
)
