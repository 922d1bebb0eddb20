"""/v1/overview and /v1/configuration: how the whole installation is doing, for admin keys."""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request

from api.answers import Answer
from api.manage.routes import add
from api.services import Services
from api.thin import ThinRoute
from relay import config
from relay.config import Settings
from relay.core.clock import now, wire_time
from relay.core.errors import Misconfigured
from relay.delivery.board import ALIVE
from relay.delivery.overview import alive, digest
from relay.store import pulse, watch
from relay.store.pulse import Minute

MINUTES = 60
#: after this time nothing more is written that belongs to a minute
_SETTLED = timedelta(seconds=10)
#: rows counted for one answer; what is older than these reach is counted for the next
_BUDGET = 300_000
#: seconds for which an answer is good
_FRESH = 1.0
#: what a reload takes up; all else needs a restart
_RELOADED = ("providers", "routes")


class Overview:
    """Minutes that are over are counted once in each process."""

    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate
        self._started_with = services.installation
        self._minutes: dict[datetime, Minute] = {}
        self._answer: dict[str, Any] = {}
        self._looked = float("-inf")
        self._looking = asyncio.Lock()

    async def show(self, request: Request) -> Answer:
        """A minute that has not been counted yet is null."""
        await self._gate.admit(request, "admin")
        async with self._looking:
            if time.monotonic() - self._looked >= _FRESH:
                self._answer = await self._look()
                self._looked = time.monotonic()
        return Answer(self._answer)

    async def _look(self) -> dict[str, Any]:
        moment = now()
        this = moment.replace(second=0, microsecond=0)
        wanted = [this - timedelta(minutes=back) for back in range(MINUTES)]
        known = {at: self._minutes[at] for at in wanted if at in self._minutes}
        self._minutes = dict(known)
        spent = 0
        for at in wanted:
            if at in known or spent >= _BUDGET:
                continue
            known[at] = counted = await self._database.read(pulse.minute, at)
            spent += counted.cost
            if at + timedelta(minutes=1) + _SETTLED < moment:
                self._minutes[at] = counted
        standing = await self._database.read(
            watch.look, now=moment, alive_since=moment - timedelta(seconds=ALIVE)
        )
        return {
            "at": wire_time(moment),
            "workers": standing.workers,
            "inbox_oldest_seconds": standing.inbox_oldest,
            "notices_oldest_seconds": standing.notices_oldest,
            "lanes": [
                {
                    "lane": name,
                    "recipients": {str(state): count for state, count in lane.recipients.items()},
                    "oldest_seconds": lane.oldest,
                    "overdue_seconds": lane.overdue,
                }
                for name, lane in standing.lanes.items()
            ],
            "minutes": [_shown(at, known.get(at)) for at in reversed(wanted)],
        }

    async def configuration(self, request: Request) -> Answer:
        """What differs between the file and what this process was started with, and who follows the file."""
        await self._gate.admit(request, "admin")
        source = self._started_with.source
        settings, fault = self._started_with, None
        try:
            settings = await asyncio.to_thread(config.load, source) if source else settings
        except Misconfigured as error:
            fault = str(error)
        workers = await self._database.read(alive)
        before, after = flat(self._started_with), flat(settings)
        wanted = digest(settings)
        return Answer(
            {
                "file": str(source) if source else None,
                "fault": fault,
                "workers": len(workers),
                "workers_current": sum(worker.config == wanted for worker in workers) if not fault else 0,
                "changes": [
                    {
                        "setting": name,
                        "before": before.get(name),
                        "after": after.get(name),
                        "takes": "reload" if name.startswith(_RELOADED) else "restart",
                    }
                    for name in sorted(before.keys() | after.keys())
                    if before.get(name) != after.get(name)
                ],
            }
        )


def flat(settings: Settings) -> dict[str, str]:
    """Every setting by its dotted name, without secrets."""
    shown = settings.model_dump(mode="json")
    shown["providers"] = settings.providers
    found: dict[str, str] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{name}.{key}" if name else str(key), inner)
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            for number, one in enumerate(value):
                walk(f"{name}[{number}]", one)
        elif value is not None:
            found[name] = str(value)

    walk("", config.redacted(shown))
    return found


def _shown(at: datetime, minute: Minute | None) -> dict[str, Any]:
    if minute is None:
        return {
            "at": wire_time(at),
            "accepted": None,
            "events": None,
            "median_seconds": None,
            "p95_seconds": None,
        }
    return {
        "at": wire_time(at),
        "accepted": minute.accepted,
        "events": minute.events,
        "median_seconds": minute.median,
        "p95_seconds": minute.p95,
    }


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    calls, tag = Overview(services), "Operation"
    add(
        routes,
        "GET",
        "/v1/overview",
        calls.show,
        "The last hour by minute, and how the queue stands",
        tag=tag,
    )
    add(
        routes,
        "GET",
        "/v1/configuration",
        calls.configuration,
        "What the configuration file would change, without secrets",
        tag=tag,
    )
    return routes
