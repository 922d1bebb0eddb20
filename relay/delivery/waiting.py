"""Why mail waits, in a word and in words: from what the record has of it, of its provider and of the workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from relay.config import Settings
from relay.core.clock import now, wire_time
from relay.core.status import State
from relay.delivery.board import ALIVE
from relay.routing import Meter
from relay.sections import ProviderLimits
from relay.store import backlog, circuits
from relay.store.circuits import Mode, Shared

if TYPE_CHECKING:
    import sqlalchemy as sa

#: seconds for which mail may be due before that needs a word
_MOMENT = 10.0


class Reason(StrEnum):
    """A closed list, for programs."""

    SENDING = "sending"  #: a worker has it in hand
    DUE = "due"  #: a worker takes it next
    NO_WORKERS = "no_workers"  #: it is due, and no worker is alive
    SUSPECT = "suspect"  #: workers vanished with it in hand, so it is tried by itself
    SCHEDULED = "scheduled"  #: it is to go at a time of its own
    DEFERRED = "deferred"  #: a try came to nothing; the next one is later
    PAUSED = "paused"  #: an operator has its provider paused
    DRAINING = "draining"  #: its provider gets no new mail
    CIRCUIT = "circuit"  #: its provider has failed too often lately
    QUOTA = "quota"  #: its provider's quota is used up
    RATE = "rate"  #: its provider's rate is reached, or all places are taken
    DOMAIN = "domain"  #: all of its provider's places for the recipient's domain are taken
    REMOVED = "removed"  #: its provider is not configured any more
    NO_PROVIDER = "no_provider"  #: no provider on its route can take it now
    HELD = "held"  #: an operator stopped it
    PARKED = "parked"  #: it was taken out of the queue for a person


@dataclass(frozen=True, slots=True)
class Why:
    """`until` is when it is looked at again at the latest, where that is known."""

    reason: Reason
    words: str
    until: datetime | None = None


class Knowledge:
    """What reasons depend on, read once for any number of recipients."""

    def __init__(self, connection: "sa.Connection", settings: Settings) -> None:
        self.moment = now()
        self._settings = settings
        self._states = circuits.states(connection)
        self._usage = circuits.usage(connection)
        self.workers = len(circuits.workers(connection, since=self.moment - timedelta(seconds=ALIVE)))

    def why(self, row: Mapping[str, Any]) -> Why:
        """Of one row of `relay.store.backlog`."""
        match row["state"]:
            case State.SENDING:
                return Why(Reason.SENDING, "a worker has it in hand", row["lease_until"])
            case State.HELD:
                return Why(Reason.HELD, f"held{_by(row['stopped'])}")
            case State.PARKED:
                return Why(Reason.PARKED, _parked(row))
        return self._queued(row)

    def _queued(self, row: Mapping[str, Any]) -> Why:
        due, waiting_for = row["due_at"], row["waiting_for"]
        late = (self.moment - due).total_seconds()
        if late >= 0:
            return self._due(row, late)
        if waiting_for is not None:
            reason, words = self.room(waiting_for)
            return Why(reason, words, due)
        if row["fence"] == 0:
            return Why(Reason.SCHEDULED, f"to be sent at {wire_time(due)}", due)
        if row["attempts"] and row["reply"]:
            tries = "1 try" if row["attempts"] == 1 else f"{row['attempts']} tries"
            provider = f" by {row['provider']}" if row["provider"] else ""
            return Why(Reason.DEFERRED, f"{tries}{provider}, the last answer: {row['reply']}", due)
        return Why(Reason.NO_PROVIDER, "no provider on its route can take it now", due)

    def _due(self, row: Mapping[str, Any], late: float) -> Why:
        since = f" for {late:.0f} s" if late > _MOMENT else ""
        if not self.workers:
            return Why(Reason.NO_WORKERS, f"due{since}, and no worker is alive")
        if row["crashes"]:
            times = "a worker" if row["crashes"] == 1 else f"{row['crashes']} workers"
            return Why(Reason.SUSPECT, f"due{since}; {times} vanished with it, so it is tried by itself")
        return Why(Reason.DUE, f"due{since}; workers take it when they have places free")

    def room(self, key: str) -> tuple[Reason, str]:
        """What mail waits for that waits for `key`: a provider, or `provider/domain`."""
        name, _, domain = key.partition("/")
        if name not in self._settings.ways_out:
            return Reason.REMOVED, f"{name} is not configured any more; it is to choose again"
        shared = self._states.get(name) or Shared(name)
        if shared.mode is Mode.PAUSED:
            return Reason.PAUSED, f"{name} is paused"
        if shared.mode is Mode.DRAINING:
            return Reason.DRAINING, f"{name} is being drained"
        if shared.is_open:
            return Reason.CIRCUIT, f"the circuit of {name} is open: {shared.reason}"
        limits = self._settings.limits_of(name)
        if domain:
            return Reason.DOMAIN, f"{name} has {limits.per_domain} at {domain} in hand, its limit"
        for window, limit in Meter(limits, 1, lambda: 0.0).allowances(self.moment).items():
            if self._usage.get((name, window.key(self.moment)), 0) >= limit:
                return Reason.QUOTA, f"the quota of {name}, {limit} this {window.value}, is used up"
        return Reason.RATE, _busy(name, limits)


def _busy(name: str, limits: ProviderLimits) -> str:
    rate = f"the rate of {name}, {limits.rate}, is reached, or " if limits.rate else ""
    return f"{rate}all places at {name} are taken; it goes as they come free"


def _by(stopped: Mapping[str, Any] | None) -> str:
    if stopped is None:
        return ""
    detail = stopped["detail"] or {}
    by = f" by {detail['by']}" if detail.get("by") else ""
    note = f": {detail['note']}" if detail.get("note") else ""
    return f"{by} since {wire_time(stopped['at'])}{note}"


def _parked(row: Mapping[str, Any]) -> str:
    stopped = row["stopped"] or {}
    detail = stopped.get("detail") or {}
    if "crashes" in detail:
        return f"{detail['crashes']} workers vanished while they had it in hand"
    words = stopped.get("reply") or row["reply"] or "taken out of the queue"
    if detail.get("outcome") == "ambiguous":
        return f"it may have gone out by {stopped.get('provider')}, which is at_most_once: {words}"
    return str(words)


def standing(
    connection: "sa.Connection", settings: Settings, account_id: int | None = None
) -> dict[str, Any]:
    """How the queue stands: by lane, and, over all accounts, what mail waits for."""
    known = Knowledge(connection, settings)
    rooms = backlog.rooms(connection) if account_id is None else {}
    return {
        "workers": known.workers,
        "lanes": backlog.counts(connection, now=known.moment, account_id=account_id),
        "rooms": [(key, count, *known.room(key)) for key, count in rooms.items()],
    }


def listing(
    connection: "sa.Connection",
    settings: Settings,
    wanted: backlog.Selection,
    position: backlog.Position,
    limit: int,
) -> tuple[list[tuple[dict[str, Any], Why]], backlog.Position | None]:
    """A page of waiting recipients, each with why it waits, and where to go on; None at the end."""
    rows, after = backlog.page(connection, wanted, position, limit=limit)
    known = Knowledge(connection, settings)
    return [(row, known.why(row)) for row in rows], after
