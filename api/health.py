"""For load balancers and supervisors: is the process alive, can it take mail."""

import asyncio

from fastapi import APIRouter
from starlette.requests import Request

from api.answers import Answer
from api.nomsa.routes import problems
from api.services import Services
from api.thin import ThinRoute
from relay.core.errors import Unavailable
from relay.store.database import ping


class Health:
    def __init__(self, services: Services, stop: asyncio.Event) -> None:
        self._database = services.database
        self._stop = stop

    async def live(self, _request: Request) -> Answer:
        return Answer({"status": "live"})

    async def ready(self, _request: Request) -> Answer:
        """Mail is taken as long as the record can be written; a queue server that is away delays it only."""
        if self._stop.is_set():
            raise Unavailable("This process is stopping.")
        await self._database.read(ping)
        return Answer({"status": "ready"})


def router(services: Services, stop: asyncio.Event) -> APIRouter:
    health = Health(services, stop)
    routes = APIRouter(route_class=ThinRoute, tags=["Health"])
    routes.add_api_route("/v1/health/live", health.live, methods=["GET"], name="live", summary="Is it alive")
    routes.add_api_route(
        "/v1/health/ready",
        health.ready,
        methods=["GET"],
        name="ready",
        summary="Can it take mail",
        responses=problems(503),
    )
    return routes
