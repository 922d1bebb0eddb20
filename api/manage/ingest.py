"""/v1/ingest: what vendors and bounce mail told that is not in the timelines; for admin keys."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.answers import Answer
from api.manage.asking import Asked, Line, Page, body, identifier, page, query
from api.manage.routes import add
from api.services import Services
from api.thin import ThinRoute
from relay.core.clock import wire_time
from relay.core.inbox import InboxState
from relay.store import inbox

#: characters of what was told that an answer has
_MOST = 100_000
Source = Annotated[Line, Field(max_length=64, description="What this provider, or other source, told.")]


class Wanted(Page):
    state: Annotated[
        InboxState | None, Field(description="Left out: those that are set aside, failed and orphan.")
    ] = None
    source: Source | None = None


class Replaying(Asked):
    source: Annotated[Source | None, Field(description="Left out: all that is set aside.")] = None


class Ingest:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def list(self, request: Request) -> Answer:
        """Newest first."""
        await self._gate.admit(request, "admin")
        asked = query(request, Wanted)
        rows = await self._database.read(
            inbox.page, limit=asked.limit + 1, state=asked.state, source=asked.source, before=asked.before
        )
        return Answer(page(rows, asked.limit, shown))

    async def get(self, request: Request) -> Answer:
        """With what was told, as text; `complete` says whether that is all of it."""
        await self._gate.admit(request, "admin")
        row = await self._database.read(inbox.get, _one(request))
        payload = bytes(row["payload"])
        text = payload.decode("utf-8", "replace")
        return Answer(
            {
                **shown({**row, "size": len(payload)}),
                "headers": row["headers"] or {},
                "query": row["query"],
                "payload": text[:_MOST],
                "complete": len(text) <= _MOST,
            }
        )

    async def replay(self, request: Request) -> Answer:
        """One that was set aside; what had been recorded of it is not recorded twice."""
        await self._gate.admit(request, "admin")
        return Answer({"rows": await self._database.write(inbox.replay, identifier(request))})

    async def replay_all(self, request: Request) -> Answer:
        """All that is set aside, or all of one source's."""
        await self._gate.admit(request, "admin")
        asked = await body(request, Replaying)
        return Answer({"rows": await self._database.write(inbox.replay, source=asked.source)})

    async def discard(self, request: Request) -> Response:
        """One that was set aside, for good."""
        await self._gate.admit(request, "admin")
        await self._database.write(inbox.discard, _one(request))
        return Response(status_code=204)


def _one(request: Request) -> int:
    if request.path_params["id"] == "replay":
        raise HTTPException(405, headers={"Allow": "POST"})
    return identifier(request)


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "kind": row["kind"],
        "source": row["source"],
        "state": row["state"],
        "reason": row["reason"],
        "attempts": row["attempts"],
        "size": row["size"],
        "received_at": wire_time(row["received_at"]),
        "due_at": wire_time(row["due_at"]),
    }


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    calls, tag, base = Ingest(services), "Reports", "/v1/ingest"
    one = f"{base}/{{id}}"
    add(routes, "GET", base, calls.list, "List what could not be recorded", tag=tag, query=Wanted)
    add(
        routes,
        "POST",
        f"{base}/replay",
        calls.replay_all,
        "Have all that was set aside read again",
        tag=tag,
        asks=Replaying,
    )
    add(routes, "GET", one, calls.get, "See what was told", tag=tag)
    add(routes, "POST", f"{one}/replay", calls.replay, "Have it read again", tag=tag, refuses=(409,))
    add(routes, "DELETE", one, calls.discard, "Discard it", tag=tag, status=204, refuses=(409,))
    return routes
