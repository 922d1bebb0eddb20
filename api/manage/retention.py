"""/v1/retention: how long what is kept, by the installation and by accounts' own rules."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from api.answers import Answer
from api.manage import whose
from api.manage.asking import WHOLE, Asked, body, query
from api.manage.routes import add
from api.manage.senders import AccountId
from api.manage.suppressions import StreamName
from api.services import Services
from api.thin import ThinRoute
from relay.retention import defaults
from relay.store import accounts, retention

Days = Annotated[
    Annotated[int, Field(ge=0, le=36500), WHOLE] | None,
    Field(description="0 is for ever; left out or null: as everybody's."),
]


class Parts(Asked):
    """Days by part; without any the rule goes."""

    body: Days = None
    attachments: Days = None
    params: Days = None
    addresses: Days = None
    events: Days = None
    messages: Days = None


class NewRule(Asked):
    days: Parts
    stream: StreamName = None
    account_id: AccountId = None


class Whose(BaseModel):
    model_config = ConfigDict(extra="forbid")

    account_id: AccountId = None


class Retention:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate
        self._defaults = defaults(services.installation)

    async def get(self, request: Request) -> Answer:
        """The most particular rule that names a part decides about it."""
        identity = await self._gate.admit(request, "read")
        return await self._shown(whose.account(identity, query(request, Whose).account_id))

    async def put(self, request: Request) -> Answer:
        """It takes the place of the rule that was there for the account, or for one of its streams."""
        identity = await self._gate.admit(request, "admin")
        asked = await body(request, NewRule)
        account_id = whose.account(identity, asked.account_id)
        await self._database.read(accounts.get_account, account_id)
        days = asked.days.model_dump(exclude_none=True)
        await self._database.write(retention.set_rule, account_id, asked.stream or "", days)
        return await self._shown(account_id)

    async def _shown(self, account_id: int) -> Answer:
        own = await self._database.read(retention.of_account, account_id)
        return Answer(
            {
                "account_id": str(account_id),
                "everybody": self._defaults,
                "data": [_rule(stream, days) for stream, days in own.items()],
            }
        )


def _rule(stream: str, days: Mapping[str, int]) -> dict[str, object]:
    return {"stream": stream or None, "days": dict(days)}


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    calls, tag, base = Retention(services), "Retention", "/v1/retention"
    add(routes, "GET", base, calls.get, "See how long things are kept", tag=tag, query=Whose)
    add(
        routes, "PUT", base, calls.put, "Keep an account's mail, or a stream's, for other times", tag=tag,
        asks=NewRule, refuses=(404,),
    )  # fmt: skip
    return routes
