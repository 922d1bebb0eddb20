"""How the providers are doing, over all workers: what the record knows of each."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from relay import config
from relay.config import Settings
from relay.core.clock import now
from relay.core.provider import Capabilities
from relay.delivery.board import ALIVE
from relay.routing import Meter
from relay.store import circuits
from relay.store.circuits import Shared, Worker

if TYPE_CHECKING:
    import sqlalchemy as sa


def overview(
    connection: "sa.Connection", settings: Settings, capabilities: Callable[[str], Capabilities | None]
) -> list[dict[str, Any]]:
    """One record for each configured provider; `capabilities` tells what a type of provider can do."""
    states, waiting, used = (
        circuits.states(connection),
        circuits.waiting(connection),
        circuits.usage(connection),
    )
    workers = alive(connection)
    rows = []
    for name, options in settings.ways_out.items():
        shared = states.get(name) or Shared(name)
        moment = now()
        limits = settings.limits_of(name)
        can = capabilities(options["type"])
        rows.append(
            {
                "name": name,
                "type": options["type"],
                "experimental": can is not None and can.experimental,
                "capabilities": asdict(can) if can is not None else None,
                "mode": shared.mode.value,
                "mode_at": shared.mode_at,
                "circuit": shared.circuit,
                "open_until": shared.open_until,
                "reason": shared.reason,
                "in_hand": sum(worker.in_hand.get(name, 0) for worker in workers),
                "waiting": sum(n for key, n in waiting.items() if key.partition("/")[0] == name),
                "workers": sum(name in worker.providers for worker in workers),
                "limits": limits.model_dump(mode="json", exclude_none=True),
                "usage": [
                    {
                        "window": window.value,
                        "used": used.get((name, window.key(moment)), 0),
                        "limit": limit,
                    }
                    for window, limit in Meter(limits, 1, time.monotonic).allowances(moment).items()
                ],
            }
        )
    return rows


def alive(connection: "sa.Connection") -> Sequence[Worker]:
    """The workers heard of lately."""
    return circuits.workers(connection, since=now() - timedelta(seconds=ALIVE))


def still_in_hand(connection: "sa.Connection", name: str) -> str | None:
    """What keeps a draining provider from being done, in words; None when nothing does."""
    since = circuits.states(connection).get(name, Shared(name)).mode_at
    for worker in alive(connection):
        if since is not None and worker.seen_at <= since + timedelta(seconds=1):
            return f"worker {worker.owner} has not said that it knows"
        if count := worker.in_hand.get(name):
            return f"{count} mails in hand at worker {worker.owner}"
    return None


def digest(settings: Settings) -> str:
    """Tells one set of providers and routes from another; says nothing about their secrets."""
    shown = {name: config.redacted(options) for name, options in settings.ways_out.items()}
    told = repr((sorted(shown.items()), settings.routes.model_dump(mode="json"), settings.default_route))
    return hashlib.sha256(told.encode()).hexdigest()[:12]
