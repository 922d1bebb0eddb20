"""/v1/scheduled, and another time for a message: what is to be sent later."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.answers import Answer
from api.manage import whose
from api.manage.asking import WHOLE, Asked, Moment, body, identifier, query
from api.manage.routes import add
from api.manage.senders import AccountId
from api.services import Services
from api.thin import ThinRoute
from relay.core.clock import wire_time
from relay.core.errors import NotFound, Refused
from relay.core.ids import MAX_ID
from relay.core.stream import DEFAULT
from relay.core.timing import LATEST, timing_of
from relay.store import schedule
from relay.store.schedule import Place

_CURSOR = re.compile(r"([0-9]{1,17})-([0-9]{1,19})\Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Later(BaseModel):
    """The query of a list that is in the order of its times."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000), WHOLE] = 100
    cursor: Annotated[
        str | None,
        Field(pattern=r"^[0-9]{1,16}-[0-9]{1,19}$", description="`next_cursor` of the page before."),
    ] = None
    account_id: AccountId = None


class NewTimes(Asked):
    """Only what is named is changed."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    send_at: Annotated[
        Moment | None, Field(description=f"At most {LATEST.days} days ahead; null is at once.")
    ] = None
    expires_at: Annotated[Moment | None, Field(description="null is never.")] = None

    @model_validator(mode="after")
    def _names_one(self) -> "NewTimes":
        if not self.model_fields_set:
            raise ValueError('give "send_at", "expires_at" or both')
        return self


class Schedule:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._queue = services.queue
        self._gate = services.gate

    async def list(self, request: Request) -> Answer:
        """What was never tried and is to be sent later, the next one first."""
        identity = await self._gate.admit(request, "read")
        asked = query(request, Later)
        account_id = whose.account(identity, asked.account_id)
        after = _place(asked.cursor) if asked.cursor else None
        rows = await self._database.read(schedule.page, account_id, limit=asked.limit + 1, after=after)
        more, rows = len(rows) > asked.limit, rows[: asked.limit]
        return Answer(
            {
                "has_more": more,
                "next_cursor": _cursor(rows[-1]) if more else None,
                "data": [shown(row, row["due_at"]) for row in rows],
            }
        )

    async def change(self, request: Request) -> Answer:
        """As long as nobody's mail was tried."""
        if request.path_params["id"] == "batch":
            raise HTTPException(405, headers={"Allow": "POST"})
        identity = await self._gate.admit(request, "send")
        asked = await body(request, NewTimes)
        wanted = identifier(request)
        changes = asked.model_dump(include=asked.model_fields_set)
        changed = await self._database.write(schedule.change, whose.readable(identity), wanted, changes)
        if changed is None:
            raise NotFound(f"Message with ID {wanted} not found.")
        if changed.due:
            self._queue.deliver(changed.lane, [wanted])
        return Answer(shown(changed.row, changed.due_at))


def _cursor(row: Mapping[str, Any]) -> str:
    return f"{(row['due_at'] - _EPOCH) // _MICROSECOND}-{row['id']}"


def _place(written: str) -> Place:
    found = _CURSOR.match(written)
    try:
        if found is None:
            raise ValueError(written)
        return Place(_EPOCH + int(found[1]) * _MICROSECOND, min(int(found[2]), MAX_ID))
    except (ValueError, OverflowError):
        raise Refused('"cursor" is invalid: give the next_cursor of the page before') from None


def shown(row: Mapping[str, Any], due_at: datetime) -> dict[str, Any]:
    options = row["options"] or {}
    timing = timing_of(row["accepted_at"], options)
    return {
        "id": str(row["id"]),
        "account_id": str(row["account_id"]),
        "from": row["from"],
        "recipient": row["recipient"],
        "subject": row["subject"],
        "tag": row["tag"],
        "stream": options.get("stream") or DEFAULT,
        "classification": row["classification"],
        "status": row["status"],
        "due_at": wire_time(due_at),
        "expires_at": wire_time(timing.expires_at),
        "created_at": wire_time(row["created_at"]),
    }


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    calls, tag = Schedule(services), "Messages"
    add(routes, "GET", "/v1/scheduled", calls.list, "List what is to be sent later", tag=tag, query=Later)
    add(
        routes,
        "PATCH",
        "/v1/messages/{id}",
        calls.change,
        "Give a message that was not tried yet another time",
        tag=tag,
        asks=NewTimes,
        refuses=(409,),
    )
    return routes
