"""/v1/events: what happened to all of an account's mail, one event after the other."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.requests import Request

from api.answers import Answer
from api.manage import whose
from api.manage.asking import Moment, Page, part, query
from api.manage.routes import add
from api.messages import acceptance, event_line
from api.services import Services
from api.thin import ThinRoute
from relay.core.clock import wire_time
from relay.core.event import EventKind
from relay.core.ids import MAX_ID, made_at
from relay.store import happenings
from relay.store.happenings import Asked, Happening


class Wanted(Page):
    """Which events. Times are from, inclusive, and before, exclusive."""

    order: Annotated[
        Literal["asc", "desc"], Field(description="By when they were recorded, which is by id.")
    ] = "desc"
    kind: EventKind | None = None
    message_id: Annotated[str | None, Field(pattern=whose.ID)] = None
    recipient: Annotated[str | None, Field(max_length=254, description="An address, copies' included.")] = (
        None
    )
    recorded_from: Moment | None = None
    recorded_before: Moment | None = None
    account_id: whose.OneOrAll = None

    def asked(self) -> Asked:
        return Asked(
            limit=self.limit,
            cursor=self.before,
            ascending=self.order == "asc",
            kind=self.kind,
            message_id=min(int(self.message_id), MAX_ID) if self.message_id else None,
            recipient=self.recipient,
            recorded_from=self.recorded_from,
            recorded_before=self.recorded_before,
        )


class Events:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def list(self, request: Request) -> Answer:
        """A page may be short, or empty, and not be the last one: go by `next_cursor`."""
        identity = await self._gate.admit(request, "read")
        wanted = query(request, Wanted)
        found = await self._database.read(
            happenings.page, whose.accounts(identity, wanted.account_id), wanted.asked()
        )
        return Answer(part(found.next, [_shown(one) for one in found.happenings]))


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    add(
        routes,
        "GET",
        "/v1/events",
        Events(services).list,
        "List what happened to all messages",
        tag="Events",
        query=Wanted,
    )
    return routes


def _shown(one: Happening) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "message_id": str(one.message["id"]),
        "account_id": str(one.message["account_id"]),
        "recorded_at": wire_time(made_at(one.id)),
        **(event_line(one.event, one.address) if one.event is not None else acceptance(one.message)),
    }
