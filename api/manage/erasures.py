"""/v1/erasures: persons that are to be found nowhere in the record any more; and the redaction of one message."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.requests import Request

from api.answers import Answer
from api.manage import whose
from api.manage.asking import ADDRESS_PATTERN, Asked, Page, body, described, identifier, page, query
from api.manage.routes import add
from api.services import Services
from api.thin import ThinRoute
from relay.core.clock import now, wire_time
from relay.core.errors import Conflict, NotFound, Refused
from relay.core.ids import made_at
from relay.retention import strip_one
from relay.store import erasure, retention


class NewErasure(Asked):
    address: Annotated[str, Field(max_length=254), described(ADDRESS_PATTERN)]


class Redacting(Asked):
    addresses: Annotated[bool, Field(description="Whom it was for goes as well.")] = False
    attachments_only: Annotated[
        bool, Field(description="Only its attachments go, whatever `addresses` says; the rest can be read.")
    ] = False


class Erasures:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def create(self, request: Request) -> Answer:
        """It is done in the background, in small steps; the answer's id tells what came of it."""
        identity = await self._gate.admit(request, "admin")
        asked = await body(request, NewErasure)
        by = f"key {identity.key_id}"
        return Answer(shown(await self._database.write(erasure.begin, asked.address, by)), 202)

    async def list(self, request: Request) -> Answer:
        await self._gate.admit(request, "admin")
        asked = query(request, Page)
        rows = await self._database.read(erasure.page, limit=asked.limit + 1, before=asked.before)
        return Answer(page(rows, asked.limit, shown))

    async def get(self, request: Request) -> Answer:
        await self._gate.admit(request, "admin")
        row = await self._database.read(erasure.get, identifier(request))
        if row is None:
            raise NotFound
        return Answer(shown(row))

    async def redact(self, request: Request) -> Answer:
        """Its bytes, its subject and what was given with it go; its status stays."""
        identity = await self._gate.admit(request, "manage")
        asked = await body(request, Redacting)
        account_id, wanted = whose.readable(identity), identifier(request)
        try:
            if asked.attachments_only:
                done = await strip_one(self._database, account_id, wanted)
            else:
                done = await self._database.write(
                    retention.redact_one, account_id, wanted, addresses=asked.addresses, now=now()
                )
        except Refused as error:
            raise Conflict(error.message) from None
        if not done:
            raise NotFound(f"Message with ID {wanted} not found.")
        return Answer({"id": str(wanted), "redacted": True})


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    waits = bool(row["place"].get("waits"))
    return {
        "id": str(row["id"]),
        "digest": row["digest"],
        "state": "waiting for other recipients" if waits else row["state"],
        "asked_by": row["asked_by"],
        "searches": row["place"].get("searches", 0),
        "counts": row["counts"],
        "created_at": wire_time(made_at(row["id"])),
        "ended_at": wire_time(row["ended_at"]),
    }


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    calls, tag, base = Erasures(services), "Retention", "/v1/erasures"
    add(
        routes,
        "POST",
        base,
        calls.create,
        "Erase a person everywhere",
        tag=tag,
        status=202,
        asks=NewErasure,
        leads_to=(f"GET {base}/{{id}}",),
    )
    add(routes, "GET", base, calls.list, "List erasures", tag=tag, query=Page)
    add(routes, "GET", f"{base}/{{id}}", calls.get, "See what came of an erasure", tag=tag)
    add(
        routes,
        "POST",
        "/v1/messages/{id}/redact",
        calls.redact,
        "Delete what a message says",
        tag=tag,
        asks=Redacting,
        refuses=(409,),
    )
    return routes
