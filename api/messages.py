"""GET /v1/messages/{id}: what the contract has no words for, recipient by recipient, and the whole timeline."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request

from api.answers import Answer
from api.nomsa.read import identify
from api.nomsa.routes import problems
from api.nomsa.schema import ID_PARAMETER
from api.services import Services
from api.thin import ThinRoute
from relay.core.clock import wire_time
from relay.core.errors import NotFound
from relay.core.event import EventKind
from relay.store import messages


class Messages:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def one(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "read")
        written = request.path_params["email_id"]
        identifier = identify(written)
        found = None
        if identifier is not None:
            found = await self._database.read(messages.with_history, identity.account_id, identifier)
        if found is None:
            raise NotFound(f"Message with ID {written.strip()[:30]} not found.")
        return Answer(_message(*found))


def router(services: Services) -> APIRouter:
    routes = APIRouter(
        route_class=ThinRoute, tags=["Messages"], dependencies=[Depends(HTTPBearer(auto_error=False))]
    )
    routes.add_api_route(
        "/v1/messages/{email_id}",
        Messages(services).one,
        methods=["GET"],
        name="get_message",
        summary="Get a message with its recipients and its timeline",
        responses=problems(400, 401, 403, 404, 500, 503),
        openapi_extra={"parameters": [ID_PARAMETER]},
    )
    return routes


def _message(
    row: Mapping[str, Any], recipients: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    addresses = {one["id"]: one["address"] for one in recipients}
    return {
        "id": str(row["id"]),
        "door": row["door"],
        "from": row["from"],
        "recipient": row["recipient"],
        "subject": row["subject"],
        "status": row["status"],
        "error_code": row["error_code"],
        "error_sub_type": row["error_sub_type"],
        "classification": row["classification"],
        "tag": row["tag"],
        "metadata": row["metadata"],
        "size": row["size"],
        "created_at": wire_time(row["created_at"]),
        "updated_at": wire_time(row["updated_at"]),
        "recipients": [_recipient(one) for one in recipients],
        "events": [*_acceptance(row), *(_event(one, addresses) for one in events)],
    }


def _recipient(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "address": one["address"],
        "kind": one["kind"],
        "status": one["status"],
        "state": one["state"],
        "attempts": one["attempts"],
        "due_at": wire_time(one["due_at"]),
        "provider": one["provider"],
        "provider_ref": one["provider_ref"],
        "reply": one["reply"],
        "updated_at": wire_time(one["updated_at"]),
    }


def _acceptance(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How every timeline begins. It is in the message itself, so no row is written for it."""
    kind = EventKind.ACCEPTED if row["accepted_at"] is not None else EventKind.REFUSED
    return [
        _line(
            kind,
            row["accepted_at"] or row["created_at"],
            reply=row["error_code"] if kind is EventKind.REFUSED else None,
        )
    ]


def _event(one: Mapping[str, Any], addresses: Mapping[int, str]) -> dict[str, Any]:
    return _line(
        one["kind"],
        one["at"],
        recipient=addresses.get(one["recipient_id"]),
        provider=one["provider"],
        attempt=one["attempt"],
        reply=one["reply"],
        detail=one["detail"],
    )


def _line(
    kind: str,
    at: Any,
    *,
    recipient: str | None = None,
    provider: str | None = None,
    attempt: int | None = None,
    reply: str | None = None,
    detail: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "at": wire_time(at),
        "recipient": recipient,
        "provider": provider,
        "attempt": attempt,
        "reply": reply,
        "detail": detail,
    }
