"""What operators do to mail that waits: hold, release, try now, send another way, cancel, purge.

Each call is one step of a walk (`relay.store.backlog`) in one short transaction, so that a hundred thousand
recipients hold up neither doors nor workers. A step that is repeated changes nothing twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from relay.core.event import EventKind
from relay.core.ids import new_id
from relay.core.status import State, Status
from relay.store import backlog, retention, timeline
from relay.store import tables as t
from relay.store.backlog import Position, Selection, Step
from relay.store.types import Instant


class Action(StrEnum):
    """What can be done. What a worker has in its hands is left alone."""

    HOLD = "hold"  #: not to be tried before it is released
    RELEASE = "release"  #: held and parked mail goes back into the queue
    RETRY = "retry"  #: queued mail is tried now; what is to be sent at a time of its own is left, unless it is named
    REROUTE = "reroute"  #: by a provider that the operator names
    CANCEL = "cancel"  #: it is not sent
    PURGE = "purge"  #: neither sent nor kept: what the mail says is deleted


@dataclass(frozen=True, slots=True)
class Order:
    """An action, and who wants it."""

    action: Action
    by: str
    note: str | None = None
    #: for `REROUTE`: by which one; None gives the mail back to its route
    provider: str | None = None


@dataclass(slots=True)
class Done:
    """What one step came to."""

    changed: int = 0
    #: recipients that were named, and to whom this cannot or need not be done
    unchanged: int = 0
    #: lanes with mail that is due because of it
    lanes: set[str] = field(default_factory=set)
    position: Position | None = None


_R, _M = t.recipient.c, t.message.c
#: where a deleted body may be large, fewer go together
_FEW = 100


def step(
    connection: sa.Connection,
    order: Order,
    wanted: Selection,
    position: Position,
    *,
    now: datetime,
    limit: int,
    dry_run: bool = False,
) -> Done:
    """Do it to up to `limit` of the wanted recipients; the answer's `position` is where to go on, None at the end."""
    rule = _RULES[order.action]
    applies = rule.applies(order, wanted, now)
    most = min(limit, _FEW if order.action is Action.PURGE else backlog.STEP)
    if wanted.listed:
        found = backlog.walk(connection, wanted, position, most=most)
    else:
        found = backlog.walk(connection, wanted.narrowed(rule.states), position, also=applies, most=most)
    if not found.ids:
        return Done(position=found.position)
    rows = connection.execute(_locked(found, rule.states, applies, lock=not dry_run)).all()
    done = Done(len(rows), len(found.ids) - len(rows), position=found.position)
    if rows and not dry_run:
        ids = [row.id for row in rows]
        connection.execute(
            t.recipient.update().where(_R.id.in_(ids)).values(updated_at=now, **rule.values(order, now))
        )
        timeline.add(
            connection,
            [_event(rule.kind, order, row, now) for row in rows],
            {row.message_id: row.account_id for row in rows},
        )
        if rule.finish is not None:
            rule.finish(connection, rows, now)
        if rule.wakes:
            done.lanes = {
                row.lane for row in rows if row.state != State.HELD or rule.kind is EventKind.RELEASED
            }
    return done


def _locked(
    found: Step, states: Sequence[State], applies: sa.ColumnElement[bool], *, lock: bool
) -> sa.Select[Any]:
    """In the order in which workers lock them too; what has changed hands since is left out."""
    statement = (
        sa.select(
            _R.id, _R.message_id, _R.account_id, _R.position, _R.lane, _R.state, _R.provider, _R.waiting_for
        )
        .where(_R.id.in_(found.ids), _R.state.in_(states), applies)
        .order_by(_R.id)
    )
    return statement.with_for_update() if lock else statement


def _event(kind: EventKind, order: Order, row: Any, now: datetime) -> dict[str, Any]:
    detail: dict[str, Any] = {"by": order.by, "from": row.state}
    if order.note:
        detail["note"] = order.note
    before = row.provider
    if order.action is Action.REROUTE:
        before = (row.waiting_for or "").partition("/")[0] or row.provider
        detail |= {"from": before, "to": order.provider, "why": "operator"}
    return {
        "id": new_id(),
        "message_id": row.message_id,
        "recipient_id": row.id,
        "kind": kind.value,
        "at": now,
        "provider": before if order.action is Action.REROUTE else None,
        "reply": order.note,
        "detail": detail,
    }


# What each action is.


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: EventKind
    #: in which it can be done
    states: Sequence[State]
    values: Callable[[Order, datetime], dict[str, Any]]
    applies: Callable[[Order, Selection, datetime], sa.ColumnElement[bool]] = lambda _o, _w, _n: sa.true()
    finish: Callable[[sa.Connection, Sequence[Any], datetime], None] | None = None
    wakes: bool = False


def _hold(_order: Order, _now: datetime) -> dict[str, Any]:
    return {"state": State.HELD, "waiting_for": None}


def _unless_scheduled(now: datetime) -> sa.ColumnElement[Any]:
    """Now, but for mail that was never tried because it is to go at a time of its own."""
    return sa.case((sa.and_(_R.fence == 0, _R.due_at > now), _R.due_at), else_=sa.literal(now, Instant()))


def _release(_order: Order, now: datetime) -> dict[str, Any]:
    return {"state": State.QUEUED, "due_at": _unless_scheduled(now), "waiting_for": None}


def _retry(_order: Order, now: datetime) -> dict[str, Any]:
    return {"due_at": now, "waiting_for": None}


def _can_be_sooner(_order: Order, wanted: Selection, now: datetime) -> sa.ColumnElement[bool]:
    waits = sa.or_(_R.due_at > now, _R.waiting_for.is_not(None))
    return waits if wanted.listed else sa.and_(waits, sa.or_(_R.fence > 0, _R.due_at <= now))


def _reroute(order: Order, now: datetime) -> dict[str, Any]:
    queued = _R.state == State.QUEUED
    return {
        "route": order.provider,
        "waiting_for": None,
        "due_at": sa.case((queued, _unless_scheduled(now)), else_=_R.due_at),
    }


def _goes_otherwise(order: Order, _wanted: Selection, _now: datetime) -> sa.ColumnElement[bool]:
    other: sa.ColumnElement[bool] = _R.route.is_distinct_from(order.provider)
    return other


def _cancel(_order: Order, _now: datetime) -> dict[str, Any]:
    gone = sa.case((_R.status == Status.ACCEPTED, Status.UNSENT), else_=_R.status)
    return {"state": State.CANCELLED, "status": gone, "due_at": sa.null(), "waiting_for": None}


def _show_cancelled(connection: sa.Connection, rows: Sequence[Any], now: datetime) -> None:
    primary = [row.message_id for row in rows if row.position == 0]
    if primary:
        connection.execute(
            t.message.update()
            .where(_M.id.in_(primary), _M.status == Status.ACCEPTED)
            .values(status=Status.UNSENT, updated_at=now)
        )


def _purge(connection: sa.Connection, rows: Sequence[Any], now: datetime) -> None:
    """Delete what a mail says once nobody is left who is to get it."""
    _show_cancelled(connection, rows, now)
    ids = {row.message_id for row in rows}
    open_ = sa.select(_R.message_id).where(_R.message_id.in_(ids), _R.state.in_(backlog.WAITING))
    closed = list(ids - set(connection.execute(open_).scalars()))
    if closed:
        retention.secure(connection)
        retention.redact(connection, closed, now)


_STOPPABLE = (State.QUEUED, State.HELD, State.PARKED)
_RULES: dict[Action, _Rule] = {
    Action.HOLD: _Rule(EventKind.HELD, (State.QUEUED,), _hold),
    Action.RELEASE: _Rule(EventKind.RELEASED, (State.HELD, State.PARKED), _release, wakes=True),
    Action.RETRY: _Rule(EventKind.RESENT, (State.QUEUED,), _retry, _can_be_sooner, wakes=True),
    Action.REROUTE: _Rule(EventKind.SWITCHED, _STOPPABLE, _reroute, _goes_otherwise, wakes=True),
    Action.CANCEL: _Rule(EventKind.CANCELLED, _STOPPABLE, _cancel, finish=_show_cancelled),
    Action.PURGE: _Rule(EventKind.CANCELLED, _STOPPABLE, _cancel, finish=_purge),
}
