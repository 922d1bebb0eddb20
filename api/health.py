"""For load balancers, supervisors and people: is the process alive, can it take mail, is all well behind it."""

import asyncio
import time
from datetime import timedelta

from fastapi import APIRouter
from starlette.requests import Request

from api.answers import Answer
from api.nomsa.routes import problems
from api.services import Services
from api.thin import ThinRoute
from relay.capacity import Space
from relay.core.clock import now
from relay.core.errors import Unavailable
from relay.delivery.board import ALIVE
from relay.process import queue_url
from relay.queue import answers
from relay.store import circuits

#: seconds for which a look at the queue server and the workers counts
_FRESH = 5.0

_OK = "ok"
_NO_QUEUE = "away; mail is accepted, and found by the workers within seconds"


class Health:
    def __init__(self, services: Services, stop: asyncio.Event) -> None:
        self._database = services.database
        self._stop = stop
        self._space = Space(services.installation.data_dir, services.installation.min_free_space)
        self._queue = queue_url(services.installation)
        self._looked = float("-inf")
        self._behind: dict[str, str] = {}

    async def live(self, _request: Request) -> Answer:
        return Answer({"status": "live"})

    async def ready(self, _request: Request) -> Answer:
        """Mail is taken as long as the record can be written and the disk has room.

        What else is wrong delays mail and loses none: it makes the status `degraded`, and says so.
        """
        if self._stop.is_set():
            raise Unavailable("This process is stopping.")
        snapshot = await self._database.read(circuits.snapshot, since=now() - timedelta(seconds=ALIVE))
        if self._space.full:
            raise Unavailable("The disk is nearly full; see min_free_space.")
        if time.monotonic() - self._looked > _FRESH:
            self._behind = {
                "queue": _OK if await asyncio.to_thread(answers, self._queue) else _NO_QUEUE,
                "workers": _OK if snapshot.workers else "none is alive; mail is accepted and waits",
            }
            self._looked = time.monotonic()
        checks = {"database": _OK, "disk": _OK, **self._behind}
        well = all(word == _OK for word in checks.values())
        return Answer({"status": "ready" if well else "degraded", "checks": checks})


def router(services: Services, stop: asyncio.Event) -> APIRouter:
    health = Health(services, stop)
    routes = APIRouter(route_class=ThinRoute, tags=["Health"])
    routes.add_api_route("/v1/health/live", health.live, methods=["GET"], name="live", summary="Is it alive")
    routes.add_api_route(
        "/v1/health/ready",
        health.ready,
        methods=["GET"],
        name="ready",
        summary="Can it take mail, and is all well",
        responses=problems(503),
    )
    return routes
