"""/v1/audit: what was changed, and by whom; for admin keys."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.requests import Request

from api.answers import Answer
from api.manage import whose
from api.manage.asking import Line, Page, page, query
from api.manage.routes import add
from api.services import Services
from api.thin import ThinRoute
from relay.core.clock import wire_time
from relay.core.ids import MAX_ID, made_at
from relay.store import audit


class Wanted(Page):
    key_id: Annotated[str | None, Field(pattern=whose.ID, description="Changes by this key.")] = None
    subject: Annotated[
        Line | None, Field(max_length=330, description="Changes of this: an id, a name, an address.")
    ] = None
    action: Annotated[
        Line | None, Field(max_length=100, description="Calls and commands with this in their name.")
    ] = None
    door: Annotated[
        Literal["api", "console", "cli"] | None,
        Field(description="Changes made there; `cli` is the command line."),
    ] = None


class Audit:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def list(self, request: Request) -> Answer:
        await self._gate.admit(request, "admin")
        asked = query(request, Wanted)
        rows = await self._database.read(
            audit.page,
            limit=asked.limit + 1,
            before=asked.before,
            key_id=min(int(asked.key_id), MAX_ID) if asked.key_id else None,
            subject=asked.subject,
            action=asked.action,
            door=asked.door,
        )
        return Answer(page(rows, asked.limit, shown))


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    add(
        routes,
        "GET",
        "/v1/audit",
        Audit(services).list,
        "List changes, and who made them",
        tag="Audit",
        query=Wanted,
    )
    return routes


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "at": wire_time(made_at(row["id"])),
        "account_id": str(row["account_id"]) if row["account_id"] is not None else None,
        "key_id": str(row["key_id"]) if row["key_id"] is not None else None,
        "who": row["who"],
        "door": row["door"],
        "action": row["action"],
        "subject": row["subject"],
        "address": row["address"],
        "detail": row["detail"],
    }
