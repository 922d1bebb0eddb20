"""`/metrics` for Prometheus: what the processes beside this one have counted, and how the queue stands."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.thin import ThinRoute
from relay.core.clock import now
from relay.core.errors import NotAllowed, Unavailable
from relay.delivery.board import ALIVE
from relay.observe import counts, facts, metrics
from relay.process import Context
from relay.store import watch
from relay.store.circuits import Mode, Shared
from relay.store.watch import Standing

#: seconds for which a look at the record counts, however often Prometheus asks
_FRESH = 5.0


class Metrics:
    def __init__(self, context: Context) -> None:
        self._database = context.database
        self._shared = context.shared
        self._networks = context.settings.metrics.allow_from
        self._standing: Standing | None = None
        self._looked = float("-inf")
        self._looking = asyncio.Lock()
        metrics.OLDEST_SECONDS.read = lambda: self._by_lane("oldest")
        metrics.OVERDUE_SECONDS.read = lambda: self._by_lane("overdue")
        metrics.WAITING.read = self._waiting
        metrics.CIRCUIT.read = lambda: self._by_provider(lambda one: one.is_open)
        metrics.PAUSED.read = lambda: self._by_provider(lambda one: one.mode is not Mode.ACTIVE)
        metrics.WORKERS.read = lambda: self._one("workers")
        metrics.INBOX_OLDEST_SECONDS.read = lambda: self._one("inbox_oldest")
        metrics.NOTICES_OLDEST_SECONDS.read = lambda: self._one("notices_oldest")

    async def show(self, request: Request) -> Response:
        """Raises `NotAllowed` for clients that are not in `metrics.allow_from`."""
        from relay.observe import exposition

        peer = request.client.host if request.client else ""
        if not self._may(peer):
            raise NotAllowed("Metrics are not shown to this address; see metrics.allow_from.")
        await self._look()
        others = self._shared.others() if self._shared is not None else []
        return Response(exposition.page([counts.snapshot(), *others]), media_type=exposition.CONTENT_TYPE)

    def _may(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    async def _look(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked < _FRESH:
                return
            moment = now()
            try:
                self._standing = await self._database.read(
                    watch.look, now=moment, alive_since=moment - timedelta(seconds=ALIVE)
                )
            except Unavailable as error:
                # What is counted is worth showing all the same, and just then.
                facts.fault("metrics", error)
                self._standing = None
            self._looked = time.monotonic()

    def _by_lane(self, what: str) -> dict[counts.Labels, float]:
        lanes = self._standing.lanes if self._standing else {}
        return {(name,): getattr(lane, what) for name, lane in lanes.items()}

    def _waiting(self) -> dict[counts.Labels, float]:
        lanes = self._standing.lanes if self._standing else {}
        return {
            (name, state): float(count)
            for name, lane in lanes.items()
            for state, count in lane.recipients.items()
        }

    def _by_provider(self, question: Callable[[Shared], bool]) -> dict[counts.Labels, float]:
        providers = self._standing.providers if self._standing else {}
        return {(name,): float(question(one)) for name, one in providers.items()}

    def _one(self, what: str) -> dict[counts.Labels, float]:
        return {(): float(getattr(self._standing, what))} if self._standing else {}


def router(context: Context) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute)
    routes.add_api_route("/metrics", Metrics(context).show, methods=["GET"], include_in_schema=False)
    return routes
