"""/v1/webhook-endpoints: where customers are told what becomes of their mail, and what they were told."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import Field, RootModel
from starlette.requests import Request
from starlette.responses import Response

from api.answers import Answer
from api.manage import whose
from api.manage.asking import Asked, Line, Moment, Page, body, described, identifier, page, query
from api.manage.routes import add
from api.manage.senders import AccountId
from api.services import Services
from api.thin import ThinRoute
from relay.config import sealing_secrets
from relay.core.clock import wire_time
from relay.core.errors import Refused
from relay.core.identity import Identity
from relay.core.ids import MAX_ID, made_at
from relay.core.notice import KINDS, EndpointState, NoticeState
from relay.notices.endpoints import Endpoints
from relay.notices.secrets import open_safe
from relay.notices.sender import name_of
from relay.store import accounts, endpoints, notices

_URL_PATTERN = r"^https://[A-Za-z0-9]{1,20}(\.[A-Za-z0-9]{1,20}){0,2}\.[A-Za-z]{2,8}([/?][!-\"$-~]{0,1900})?$"
_Words = Annotated[Line, Field(min_length=1, max_length=255)]

Url = Annotated[str, Field(min_length=1, max_length=2000), described(_URL_PATTERN)]
Description = Annotated[Line, Field(max_length=255)]
Kinds = Annotated[
    list[Annotated[str, Field(max_length=32, json_schema_extra={"enum": list(KINDS)})]],
    Field(max_length=50, description="What it is told of; empty for everything."),
]
Streams = Annotated[
    list[_Words], Field(max_length=50, description="Only mail of these streams; empty for all mail.")
]
Tags = Annotated[
    list[_Words], Field(max_length=50, description="Only mail with one of these tags; empty for all mail.")
]
NoticeId = Annotated[str, Field(pattern=r"^(msg_)?[0-9]{1,19}$")]


class NewEndpoint(Asked):
    url: Url
    description: Description = ""
    kinds: Kinds = Field(default_factory=list)
    streams: Streams = Field(default_factory=list)
    tags: Tags = Field(default_factory=list)
    account_id: AccountId = None


class ChangedEndpoint(Asked):
    url: Url = ""
    description: Description = ""
    kinds: Kinds = Field(default_factory=list)
    streams: Streams = Field(default_factory=list)
    tags: Tags = Field(default_factory=list)
    enabled: Annotated[
        bool, Field(description="Enabled, it is also told what waited while it was disabled.")
    ] = True


class OneNotice(Asked):
    notice_id: Annotated[NoticeId, Field(description="The id of a notice, or its `webhook-id`.")]


class EverythingFailed(Asked):
    failed: Annotated[Literal[True], Field(description="Everything that was given up.")]


class Span(Asked):
    from_: Annotated[Moment, Field(alias="from", description="Everything of a time of up to 31 days.")]
    before: Moment


class ReplayForms(RootModel[OneNotice | EverythingFailed | Span]):
    """How the description has `Replay`, whose own messages are clearer than those about a choice."""


class Replay(Asked):
    notice_id: NoticeId | None = None
    failed: bool = False
    from_: Annotated[Moment | None, Field(alias="from")] = None
    before: Moment | None = None


class Whose(Page):
    account_id: AccountId = None


class Listed(Page):
    account_id: whose.OneOrAll = None


class Notices(Whose):
    state: NoticeState | None = None
    message_id: Annotated[str | None, Field(pattern=whose.ID)] = None
    payload: Annotated[bool, Field(description="Show what is sent as well.")] = False


class Attempts(Whose):
    notice_id: Annotated[NoticeId | None, Field(description="Those of one notice.")] = None


class EndpointCalls:
    def __init__(self, services: Services) -> None:
        database = services.database
        self._database = database
        self._gate = services.gate
        installation = services.installation
        safe = partial(open_safe, sealing_secrets(installation), database)
        self._endpoints = Endpoints(database, installation.webhooks, safe)

    async def create(self, request: Request) -> Answer:
        """What happens from a second later on is told. The secret verifies that it was us."""
        identity = await self._gate.admit(request, "manage")
        asked = await body(request, NewEndpoint)
        account_id = whose.account(identity, asked.account_id)
        await self._database.read(accounts.get_account, account_id)
        row, secret = await self._endpoints.create(account_id, **asked.model_dump(exclude={"account_id"}))
        return Answer({**shown(row), "secret": secret}, 201)

    async def list(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "read")
        asked = query(request, Listed)
        account_id = whose.accounts(identity, asked.account_id)
        rows = await self._database.read(
            endpoints.page, account_id, limit=asked.limit + 1, before=asked.before
        )
        return Answer(page(rows, asked.limit, shown))

    async def get(self, request: Request) -> Answer:
        row, _ = await self._one(request, "read", Whose)
        return Answer(shown(row))

    async def change(self, request: Request) -> Answer:
        row, _ = await self._one(request, "manage", Whose)
        asked = await body(request, ChangedEndpoint)
        changes = asked.model_dump(include=asked.model_fields_set)
        return Answer(shown(await self._endpoints.change(row["account_id"], row["id"], changes)))

    async def remove(self, request: Request) -> Response:
        row, _ = await self._one(request, "manage", Whose)
        await self._endpoints.remove(row["account_id"], row["id"])
        return Response(status_code=204)

    async def rotate(self, request: Request) -> Answer:
        """For 24 hours everything is signed with both secrets."""
        row, _ = await self._one(request, "manage", Whose)
        changed, secret = await self._endpoints.rotate(row["account_id"], row["id"])
        return Answer({**shown(changed), "secret": secret})

    async def ping(self, request: Request) -> Answer:
        """The answer says what came of it; it is no error of this call when nothing good did."""
        row, _ = await self._one(request, "manage", Whose)
        reply = await self._endpoints.ping(row["account_id"], row["id"])
        return Answer(
            {
                "delivered": reply.delivered,
                "status": reply.status,
                "ms": reply.ms,
                "error": reply.error,
                "answer": reply.answer,
            }
        )

    async def replay(self, request: Request) -> Answer:
        row, _ = await self._one(request, "manage", Whose)
        asked = await body(request, Replay)
        mine = row["account_id"], row["id"]
        span = asked.from_ is not None or asked.before is not None
        if (asked.notice_id is not None) + asked.failed + span != 1:
            raise Refused('Give one of "notice_id", "failed", or "from" and "before"')
        if asked.notice_id is not None:
            count = await self._endpoints.replay_one(*mine, _number(asked.notice_id))
        elif asked.failed:
            count = await self._endpoints.replay_failed(*mine)
        elif asked.from_ is None or asked.before is None:
            raise Refused('"from" and "before" belong together')
        else:
            count = await self._endpoints.replay_between(*mine, asked.from_, asked.before)
        return Answer({"notices": count}, 202)

    async def notices(self, request: Request) -> Answer:
        """What the endpoint was told, or is to be told, newest first."""
        row, asked = await self._one(request, "read", Notices)
        rows = await self._database.read(
            notices.page,
            row["id"],
            limit=asked.limit + 1,
            before=asked.before,
            state=asked.state,
            message_id=_number(asked.message_id) if asked.message_id else None,
        )

        def show(one: Mapping[str, Any]) -> dict[str, Any]:
            more = {"payload": orjson.Fragment(bytes(one["payload"]))} if asked.payload else {}
            return {**shown_notice(one), **more}

        return Answer(page(rows, asked.limit, show))

    async def attempts(self, request: Request) -> Answer:
        """Every call of the endpoint's URL, newest first."""
        row, asked = await self._one(request, "read", Attempts)
        rows = await self._database.read(
            notices.attempts,
            row["id"],
            limit=asked.limit + 1,
            before=asked.before,
            notice_id=_number(asked.notice_id) if asked.notice_id else None,
        )
        return Answer(page(rows, asked.limit, shown_attempt))

    async def _one(self, request: Request, scope: str, model: type[Whose]) -> tuple[dict[str, Any], Any]:
        identity: Identity = await self._gate.admit(request, scope)
        asked = query(request, model)
        account_id = whose.account(identity, asked.account_id)
        return await self._database.read(endpoints.get, account_id, identifier(request)), asked


def _number(written: str) -> int:
    return min(int(written.removeprefix("msg_")), MAX_ID)


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    disabled = row["state"] == EndpointState.DISABLED
    return {
        "id": str(row["id"]),
        "account_id": str(row["account_id"]),
        "url": row["url"],
        "description": row["description"],
        "kinds": row["kinds"] or [],
        "streams": row["streams"] or [],
        "tags": row["tags"] or [],
        "enabled": not disabled,
        "disabled_at": wire_time(row["state_at"]) if disabled else None,
        "disabled_because": row["reason"],
        "failing_since": wire_time(row["failing_since"]),
        "failures": row["failures"],
        "paused_until": wire_time(row["paused_until"]),
        "previous_secret_until": wire_time(row["previous_until"]),
        "created_at": wire_time(row["created_at"]),
    }


def shown_notice(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "webhook_id": name_of(row["id"]),
        "type": row["kind"],
        "message_id": str(row["message_id"]) if row["message_id"] is not None else None,
        "state": row["state"],
        "attempts": row["attempts"],
        "error": row["error"],
        "created_at": wire_time(made_at(row["id"])),
        "due_at": wire_time(row["due_at"]) if row["done_at"] is None else None,
        "done_at": wire_time(row["done_at"]),
    }


def shown_attempt(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "notice_id": str(row["notice_id"]),
        "webhook_id": name_of(row["notice_id"]),
        "at": wire_time(row["at"]),
        "status": row["status"],
        "ms": row["ms"],
        "error": row["error"],
        "answer": row["answer"],
    }


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    calls, tag, base = EndpointCalls(services), "Webhooks", "/v1/webhook-endpoints"
    one = f"{base}/{{id}}"
    add(
        routes,
        "POST",
        base,
        calls.create,
        "Be told what becomes of mail; the answer shows the secret once",
        tag=tag,
        status=201,
        asks=NewEndpoint,
        refuses=(404, 409),
        leads_to=(
            f"GET {one}",
            f"PATCH {one}",
            f"GET {one}/notices",
            f"GET {one}/attempts",
            f"POST {one}/rotate-secret",
            f"DELETE {one}",
        ),
    )
    add(routes, "GET", base, calls.list, "List webhook endpoints", tag=tag, query=Listed)
    add(routes, "GET", one, calls.get, "Get a webhook endpoint", tag=tag, query=Whose)
    add(
        routes,
        "PATCH",
        one,
        calls.change,
        "Change, disable or enable a webhook endpoint",
        tag=tag,
        asks=ChangedEndpoint,
        query=Whose,
    )
    add(routes, "DELETE", one, calls.remove, "Delete a webhook endpoint", tag=tag, status=204, query=Whose)
    for path, call, summary in (
        ("rotate-secret", calls.rotate, "Make a new secret; the old one stays valid for 24 hours"),
        ("ping", calls.ping, "Call the endpoint now, and see what comes of it"),
    ):
        add(routes, "POST", f"{one}/{path}", call, summary, tag=tag, query=Whose)
    add(
        routes,
        "POST",
        f"{one}/replay",
        calls.replay,
        "Tell one thing, everything that failed, or everything of a time again",
        tag=tag,
        status=202,
        asks=ReplayForms,
        query=Whose,
        refuses=(409,),
    )
    add(routes, "GET", f"{one}/notices", calls.notices, "List notices", tag=tag, query=Notices)
    add(routes, "GET", f"{one}/attempts", calls.attempts, "List attempts", tag=tag, query=Attempts)
    return routes
