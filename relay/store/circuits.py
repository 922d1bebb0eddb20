"""What workers share about providers: circuits, the operator's word, quotas, and the mail that waits for them.

It is kept in the record rather than in the queue server: without the record nothing is sent anyway, and without
the queue server everything still is. Workers read it once a second and write only when something changes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from relay.core.status import Lane
from relay.store import fairness
from relay.store import tables as t
from relay.store.fairness import Turn
from relay.store.rows import Statement

#: the row whose `mode_at` says when a reload of the configuration was asked for
_RELOAD = "*"


class Mode(StrEnum):
    """The operator's word on a provider."""

    ACTIVE = "active"
    PAUSED = "paused"  #: gets nothing at all
    DRAINING = "draining"  #: gets nothing but repeats of sends whose outcome is unclear


@dataclass(frozen=True, slots=True)
class Shared:
    """What is known about one provider."""

    name: str
    mode: Mode = Mode.ACTIVE
    mode_at: datetime | None = None
    circuit: str = "closed"
    circuit_at: datetime | None = None
    open_until: datetime | None = None
    openings: int = 0
    reason: str | None = None
    probe_owner: str | None = None
    probe_until: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.circuit == "open"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at everything that is shared."""

    states: Mapping[str, Shared]
    workers: int  #: alive now
    reload_asked: datetime | None


_s, _u, _w, _r = t.provider_state.c, t.provider_usage.c, t.worker.c, t.recipient.c
_STATES = sa.select(t.provider_state)
_ALIVE = sa.select(sa.func.count()).where(_w.seen_at > sa.bindparam("b_since", type_=t.worker.c.seen_at.type))


def snapshot(connection: sa.Connection, *, since: datetime) -> Snapshot:
    """The states of all providers ever named, and how many workers have been heard of after `since`."""
    states = {row.name: _shared(row) for row in connection.execute(_STATES)}
    reload = states.pop(_RELOAD, None)
    alive = connection.execute(_ALIVE, {"b_since": since}).scalar_one()
    return Snapshot(states, alive, reload.mode_at if reload else None)


def states(connection: sa.Connection) -> dict[str, Shared]:
    """Every provider that was ever named."""
    return {row.name: _shared(row) for row in connection.execute(_STATES) if row.name != _RELOAD}


def _shared(row: Any) -> Shared:
    return Shared(**{**row._mapping, "mode": Mode(row.mode)})


def _insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> int:
    """Insert what has no row of its key yet; returns how many that were."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return connection.execute(insert(table).values(rows).on_conflict_do_nothing()).rowcount if rows else 0


def ensure(connection: sa.Connection, names: Iterable[str]) -> None:
    """Make a row for each name that has none."""
    _insert_new(
        connection,
        t.provider_state,
        [{"name": name, "mode": Mode.ACTIVE.value, "circuit": "closed", "openings": 0} for name in names],
    )


def open_circuit(
    connection: sa.Connection,
    name: str,
    *,
    owner: str,
    now: datetime,
    pauses: Sequence[float],
    reason: str,
) -> Shared:
    """Open a circuit that is closed, or open again the one that `owner` has probed; another's is left alone.

    `pauses` are seconds after the first, second … opening in a row; the last one repeats. Returns what holds now.
    """
    row = connection.execute(
        sa.select(t.provider_state).where(_s.name == name).with_for_update()
    ).one_or_none()
    if row is None:
        ensure(connection, [name])
        return open_circuit(connection, name, owner=owner, now=now, pauses=pauses, reason=reason)
    if row.circuit == "closed" or row.probe_owner == owner:
        pause = pauses[min(row.openings, len(pauses) - 1)]
        values = {
            "circuit": "open",
            "circuit_at": now if row.circuit == "closed" else row.circuit_at,
            "open_until": now + timedelta(seconds=pause),
            "openings": row.openings + 1,
            "reason": reason,
            "probe_owner": None,
            "probe_until": None,
        }
        connection.execute(t.provider_state.update().where(_s.name == name).values(**values))
    return _shared(connection.execute(_STATES.where(_s.name == name)).one())


def take_probe(connection: sa.Connection, name: str, *, owner: str, now: datetime, lease: float) -> bool:
    """Whether `owner` is the one that may try the open circuit now; asked again, it keeps the probe."""
    taken = connection.execute(
        t.provider_state.update()
        .where(
            _s.name == name,
            _s.circuit == "open",
            _s.open_until <= now,
            sa.or_(_s.probe_until.is_(None), _s.probe_until <= now, _s.probe_owner == owner),
        )
        .values(probe_owner=owner, probe_until=now + timedelta(seconds=lease))
    )
    return bool(taken.rowcount)


def close_circuit(connection: sa.Connection, name: str, *, now: datetime) -> None:
    connection.execute(
        t.provider_state.update()
        .where(_s.name == name, _s.circuit == "open")
        .values(
            circuit="closed",
            circuit_at=now,
            open_until=None,
            openings=0,
            reason=None,
            probe_owner=None,
            probe_until=None,
        )
    )


def set_mode(connection: sa.Connection, name: str, mode: Mode, *, now: datetime) -> None:
    """The operator's word. Making a provider active also closes its circuit: somebody has looked at it."""
    ensure(connection, [name])
    connection.execute(t.provider_state.update().where(_s.name == name).values(mode=mode.value, mode_at=now))
    if mode is Mode.ACTIVE:
        close_circuit(connection, name, now=now)


def ask_for_reload(connection: sa.Connection, *, now: datetime) -> None:
    """Have every worker, on every machine, read its configuration file again within seconds."""
    set_mode(connection, _RELOAD, Mode.ACTIVE, now=now)


# The waiting room.


def release(
    connection: sa.Connection,
    key: str,
    *,
    limit: int,
    now: datetime,
    turns: defaultdict[str, Turn] | None = None,
) -> list[str]:
    """Make up to `limit` recipients that wait for `key` due; returns their lanes, one for each.

    Urgent ones go before all others, normal ones get three places where bulk ones get one, and in a lane each account
    has its turn, its oldest first; `turns` remembers by lane whose it was.
    """
    turns = defaultdict(Turn) if turns is None else turns

    def let(lane: str, most: int) -> list[str]:
        rows = fairness.share_out(
            lambda after, some: fairness.waiting(connection, key, lane, after, some),
            lambda account, few: _LET_IN.rows(connection, now, key, lane, account, few),
            most,
            turns[lane],
        )
        return [lane] * len(rows)

    lanes = let(Lane.URGENT.value, limit)
    left = limit - len(lanes)
    if left:
        normal = let(Lane.NORMAL.value, -(-3 * left // 4))
        bulk = let(Lane.BULK.value, left - len(normal))
        lanes += normal + bulk
        if len(lanes) < limit and normal:
            lanes += let(Lane.NORMAL.value, limit - len(lanes))
    return lanes


_LET_IN = Statement(
    "UPDATE recipient SET waiting_for = NULL,"
    " due_at = CASE WHEN state = 'queued' THEN $1::timestamptz ELSE due_at END"
    " WHERE id IN (SELECT id FROM recipient WHERE waiting_for IS NOT NULL AND waiting_for = $2::text"
    " AND lane = $3::text AND account_id = $4::bigint ORDER BY id LIMIT $5::integer FOR UPDATE SKIP LOCKED)"
    " RETURNING id"
)


def waiting(connection: sa.Connection) -> dict[str, int]:
    """How many recipients wait for what."""
    rows = connection.execute(
        sa.select(_r.waiting_for, sa.func.count()).where(_r.waiting_for.is_not(None)).group_by(_r.waiting_for)
    )
    return {row[0]: row[1] for row in rows}


# Quotas.


def reserve(
    connection: sa.Connection, provider: str, period: str, *, limit: int, wanted: int, share: int
) -> int:
    """Set aside up to `wanted` of what is left of a quota's period, and no more than one `share`-th of it.

    Returns how many there were; 0 means that the period is used up.
    """
    if _insert_new(connection, t.provider_usage, [{"provider": provider, "period": period, "used": 0}]):
        # A new period: the old ones are history that nobody reads.
        kind = period.partition(" ")[0]
        connection.execute(
            t.provider_usage.delete().where(
                _u.provider == provider, _u.period < period, _u.period.startswith(f"{kind} ")
            )
        )
    where = (_u.provider == provider, _u.period == period)
    used = connection.execute(sa.select(_u.used).where(*where).with_for_update()).scalar_one()
    left = limit - used
    granted = max(min(wanted, -(-left // share)), 0)
    if granted:
        connection.execute(t.provider_usage.update().where(*where).values(used=used + granted))
    return int(granted)


def give_back(connection: sa.Connection, provider: str, period: str, count: int) -> None:
    """Return what was set aside and not used."""
    connection.execute(
        t.provider_usage.update()
        .where(_u.provider == provider, _u.period == period)
        .values(used=_u.used - count)
    )


def usage(connection: sa.Connection) -> dict[tuple[str, str], int]:
    return {(row.provider, row.period): row.used for row in connection.execute(sa.select(t.provider_usage))}


# Workers.


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that was heard of lately."""

    owner: str
    seen_at: datetime
    in_hand: Mapping[str, int]
    providers: Sequence[str]
    config: str


def beat(
    connection: sa.Connection,
    owner: str,
    *,
    now: datetime,
    in_hand: Mapping[str, int],
    providers: Sequence[str],
    config: str,
) -> None:
    """Say that a worker is alive."""
    values = {
        "seen_at": now,
        "in_hand": dict(in_hand),
        "providers": list(providers),
        "config": config,
    }
    updated = connection.execute(t.worker.update().where(_w.owner == owner).values(**values))
    if not updated.rowcount:
        connection.execute(t.worker.insert().values(owner=owner, **values))
        connection.execute(t.worker.delete().where(_w.seen_at < now - timedelta(hours=1)))


def leave(connection: sa.Connection, owner: str) -> None:
    """A worker ends in good order."""
    connection.execute(t.worker.delete().where(_w.owner == owner))
    connection.execute(
        t.provider_state.update().where(_s.probe_owner == owner).values(probe_owner=None, probe_until=None)
    )


def workers(connection: sa.Connection, *, since: datetime) -> list[Worker]:
    rows = connection.execute(sa.select(t.worker).where(_w.seen_at > since).order_by(_w.owner))
    return [Worker(**row._mapping) for row in rows]


# Names for rules.


def names(connection: sa.Connection) -> tuple[dict[int, str], dict[int, str]]:
    """The names of all accounts and the labels of all keys, by id."""
    accounts = {row.id: row.name for row in connection.execute(sa.select(t.account.c.id, t.account.c.name))}
    keys = {row.id: row.label for row in connection.execute(sa.select(t.api_key.c.id, t.api_key.c.label))}
    return accounts, keys
