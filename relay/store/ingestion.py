"""From what was read to the timelines, and what becomes of the rest: reports that wait for their mail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from relay.core.inbox import InboxKind, InboxState
from relay.core.provider import Report
from relay.store import inbox
from relay.store.inbox import PutBack, Taken, Told
from relay.store.reports import Applied, Line, apply, encode_reports

#: seconds until reports that came before their mail are tried again, and again
_PAUSES = (2, 5, 15, 60, 300, 900)
#: reports in one row of those that wait
_TOGETHER = 500

_EARLY = "no mail is known by the ids that were told"
_ORPHAN = "no mail ever turned up by the ids that were told"
_UNKNOWN = "no mail has the token that was told"


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many reports became what."""

    applied: int = 0
    repeated: int = 0  #: told before
    early: int = 0  #: kept, and tried again, as their mail may turn up
    unknown: int = 0  #: kept for looking at; about no mail of ours
    #: how many of those applied, by who told them and their kind
    kinds: Mapping[tuple[str, str], int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Read:
    """A row of the inbox and what it tells."""

    taken: Taken
    reports: Sequence[Report]


def record(connection: sa.Connection, source: str, reports: Sequence[Report], *, now: datetime) -> Recorded:
    """Record reports that come without an inbox."""
    applied = apply(connection, [Line(source, report) for report in reports])
    inbox.put(connection, _kept(applied, now))
    return _counted(applied)


def finish(
    connection: sa.Connection, batch: Sequence[Read], *, now: datetime, patience: timedelta
) -> Recorded:
    """Record what rows tell and delete them, in one transaction; what another has taken since is left to it.

    Early reports are kept apart and tried again for `patience` after they came.
    """
    held = inbox.held(connection, [one.taken for one in batch])
    rows = [one for one in batch if one.taken.id in held]
    applied = apply(
        connection,
        [
            Line(one.taken.source, report, origin=number)
            for number, one in enumerate(rows)
            for report in one.reports
        ],
    )
    waited = {n for n, one in enumerate(rows) if one.taken.state is InboxState.EARLY}
    again = [
        _put_off(rows[n].taken, left, now, patience)
        for n in waited
        if (left := [line.report for line in applied.early if line.origin == n])
    ]
    inbox.put_back(connection, again)
    kept = {one.taken.id for one in again}
    inbox.done(connection, [one.taken.id for one in rows if one.taken.id not in kept])
    counted = _counted(applied)
    applied.early = [line for line in applied.early if line.origin not in waited]
    inbox.put(connection, _kept(applied, now))
    return counted


def _put_off(taken: Taken, left: Sequence[Report], now: datetime, patience: timedelta) -> PutBack:
    payload = encode_reports(left)
    if now >= taken.received_at + patience:
        return PutBack(taken, InboxState.ORPHAN, None, _ORPHAN, payload)
    pause = _PAUSES[min(taken.attempts, len(_PAUSES) - 1)]
    return PutBack(taken, InboxState.EARLY, now + timedelta(seconds=pause), _EARLY, payload)


def _kept(applied: Applied, now: datetime) -> list[Told]:
    soon = now + timedelta(seconds=_PAUSES[0])
    return [
        *_rows(applied.early, InboxState.EARLY, now, soon, _EARLY),
        *_rows(applied.unknown, InboxState.ORPHAN, now, None, _UNKNOWN),
    ]


def _rows(
    lines: Sequence[Line], state: InboxState, now: datetime, due_at: datetime | None, reason: str
) -> list[Told]:
    by_source: dict[str, list[Report]] = {}
    for line in lines:
        by_source.setdefault(line.source, []).append(line.report)
    return [
        Told(
            InboxKind.REPORTS,
            source,
            encode_reports(reports[start : start + _TOGETHER]),
            now,
            state=state,
            due_at=due_at,
            reason=reason,
        )
        for source, reports in by_source.items()
        for start in range(0, len(reports), _TOGETHER)
    ]


def _counted(applied: Applied) -> Recorded:
    return Recorded(
        applied.applied, applied.repeated, len(applied.early), len(applied.unknown), applied.kinds
    )
