"""/v1/messages: what the contract has no words for, recipient by recipient, and the whole timeline."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import BeforeValidator, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.answers import Answer
from api.manage import raw, whose
from api.manage.again import Again, Resending
from api.manage.asking import Line, Moment, Page, identifier, part, query
from api.manage.letters import NewMessage, described_files, described_parts
from api.manage.routes import add
from api.manage.sending import Batch, Sending
from api.nomsa.schema import KEY_PATTERN
from api.services import Services
from api.thin import ThinRoute
from relay.core.clock import wire_time
from relay.core.errors import NotFound, Redacted
from relay.core.event import EventKind
from relay.core.status import Door, Status
from relay.core.stream import DEFAULT
from relay.core.timing import SEND_AT, timing_of
from relay.store import messages, search
from relay.store.search import Search


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
    }


KEY_PARAMETER = _header(
    "Idempotency-Key",
    "A send repeated with it within 24 hours is one message.",
    pattern=KEY_PATTERN,
)
ENVELOPE_PARAMETERS = [
    _header(raw.RECIPIENT, "With message/rfc822: addresses, instead of those in To, Cc and Bcc."),
    _header(raw.SENDER, "With message/rfc822: the return path, instead of the author; `<>` for none."),
]


#: what a provider's name looks like
PROVIDER = "^[a-z][a-z0-9_-]{0,62}$"


class Wanted(Page):
    """Which messages. Times are from, inclusive, and before, exclusive."""

    order: Annotated[Literal["asc", "desc"], Field(description="By creation.")] = "desc"
    recipient: Annotated[
        str | None, Field(max_length=254, description="Any recipient's address, copies included.")
    ] = None
    from_: Annotated[
        str | None, Field(alias="from", max_length=254, description="The address of the From field.")
    ] = None
    status: Annotated[Status | None, BeforeValidator(str.upper)] = None
    tag: Annotated[Line | None, Field(min_length=1, max_length=255)] = None
    error_code: Annotated[Line | None, Field(min_length=1, max_length=255)] = None
    created_from: Moment | None = None
    created_before: Moment | None = None
    updated_from: Moment | None = None
    updated_before: Moment | None = None
    provider: Annotated[
        str | None, Field(pattern=PROVIDER, description="The one that any recipient's mail went to last.")
    ] = None
    door: Annotated[Door | None, Field(description="How it was handed in.")] = None
    subject: Annotated[
        Line | None, Field(min_length=1, max_length=200, description="Words in the subject, in any case.")
    ] = None
    account_id: whose.OneOrAll = None

    def search(self) -> Search:
        return Search(
            limit=self.limit,
            cursor=self.before,
            ascending=self.order == "asc",
            **self.model_dump(exclude={"limit", "cursor", "order", "account_id"}),
        )


class Messages:
    """Reads on behalf of an authenticated caller; but for an admin key, another account's mail does not exist."""

    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def one(self, request: Request) -> Answer:
        if request.path_params["id"] == "batch":
            # The path is there, for POST; as an id it would be a message that is not.
            raise HTTPException(405, headers={"Allow": "POST"})
        identity = await self._gate.admit(request, "read")
        found = await self._database.read(
            messages.with_history, whose.readable(identity), identifier(request)
        )
        if found is None:
            raise _missing(request)
        return Answer(_message(*found))

    async def list(self, request: Request) -> Answer:
        """Without an index for what is wanted, a page may be short, or empty, and not be the last one."""
        identity = await self._gate.admit(request, "read")
        asked = query(request, Wanted)
        found = await self._database.read(
            search.search, whose.accounts(identity, asked.account_id), asked.search()
        )
        return Answer(part(found.next, [_summary(row) for row in found.rows]))

    async def source(self, request: Request) -> Response:
        """The mail itself, as it is or was handed to the provider."""
        identity = await self._gate.admit(request, "read")
        found = await self._database.read(search.source, whose.readable(identity), identifier(request))
        if found is None:
            raise _missing(request)
        row, source = found
        if row["redacted_at"] is not None or not source:
            raise Redacted
        # Nothing of a stranger's mail may run in a browser that is led here.
        headers = {
            "content-disposition": f'attachment; filename="{row["id"]}.eml"',
            "x-content-type-options": "nosniff",
        }
        return Response(source, media_type="message/rfc822", headers=headers)

    async def cancel(self, request: Request) -> Answer:
        """Recipients that are not being written to at this moment are taken out of the queue."""
        identity = await self._gate.admit(request, "send")
        wanted = identifier(request)
        account_id = whose.readable(identity)
        cancelled = await self._database.write(search.cancel, account_id, wanted)
        found = await self._database.read(messages.with_history, account_id, wanted)
        if cancelled is None or found is None:
            raise _missing(request)
        return Answer({"cancelled": cancelled, **_message(*found)})


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    calls, tag, one = Messages(services), "Messages", "/v1/messages/{id}"
    sending = Sending(services)
    add(
        routes,
        "POST",
        "/v1/messages",
        sending.one,
        "Send a message, from its fields or as it is written",
        tag=tag,
        status=201,
        asks=NewMessage,
        refuses=(409, 429),
        also={"message/rfc822": {"schema": {"type": "string", "format": "binary"}}},
        parameters=[KEY_PARAMETER, *ENVELOPE_PARAMETERS],
        known=described_files(services.settings.attachments),
        leads_to=(f"GET {one}", f"GET {one}/source", f"POST {one}/cancel"),
    )
    add(
        routes,
        "POST",
        "/v1/messages/batch",
        sending.batch,
        "Send up to 500 messages",
        tag=tag,
        asks=Batch,
        refuses=(429,),
        parameters=[_header("Idempotency-Key", "Each message's own key is made of it and its place.")],
        known=described_parts(services.settings.attachments),
    )
    add(routes, "GET", "/v1/messages", calls.list, "Find messages", tag=tag, query=Wanted)
    add(routes, "GET", one, calls.one, "Get a message with its recipients and its timeline", tag=tag)
    add(
        routes,
        "GET",
        f"{one}/source",
        calls.source,
        "Get the mail itself (message/rfc822)",
        tag=tag,
        refuses=(410,),
        answers={"message/rfc822": {"schema": {"type": "string", "format": "binary"}}},
    )
    add(
        routes,
        "POST",
        f"{one}/cancel",
        calls.cancel,
        "Take a message out of the queue",
        tag=tag,
        refuses=(409,),
    )
    add(
        routes,
        "POST",
        f"{one}/resend",
        Again(services).resend,
        "Send the same mail once more, as a new message",
        tag=tag,
        status=201,
        asks=Resending,
        refuses=(409, 410, 429),
    )
    return routes


def _missing(request: Request) -> NotFound:
    return NotFound(f"Message with ID {request.path_params['id'][:30]} not found.")


def _message(
    row: Mapping[str, Any], recipients: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    addresses = {one["id"]: one["address"] for one in recipients}
    return {
        **_summary(row),
        "recipients": [_recipient(one) for one in recipients],
        "events": [acceptance(row), *(event_line(one, addresses.get(one["recipient_id"])) for one in events)],
    }


def _summary(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "account_id": str(row["account_id"]),
        "door": row["door"],
        "from": row["from"],
        "recipient": row["recipient"],
        "cc": row["cc"] or [],
        "bcc": row["bcc"] or [],
        "subject": row["subject"],
        "status": row["status"],
        "error_code": row["error_code"],
        "error_sub_type": row["error_sub_type"],
        "classification": row["classification"],
        "tag": row["tag"],
        "stream": (row["options"] or {}).get("stream") or DEFAULT,
        "metadata": row["metadata"],
        "attachments": _files(row),
        "attachments_redacted_at": wire_time(row["stripped_at"] if row["attachments"] else None),
        "size": row["size"],
        **_timing(row),
        **{name: wire_time(row[name]) for name in _TIMES},
    }


def _files(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    redacted = row["stripped_at"] is not None
    return [{**one, "redacted": redacted} for one in row["attachments"] or ()]


def _timing(row: Mapping[str, Any]) -> dict[str, Any]:
    """As they stand now; the ends of quiet hours are in `send_at`."""
    timing = timing_of(row["accepted_at"] or row["created_at"], row["options"])
    later = SEND_AT in (row["options"] or {})
    return {"send_at": wire_time(timing.began) if later else None, "expires_at": wire_time(timing.expires_at)}


_TIMES = ("created_at", "updated_at", "accepted_at", "sent_at", "delivered_at", "opened_at")


_RECIPIENT_TIMES = ("sent_at", "delivered_at", "opened_at", "failed_at", "updated_at")


def _recipient(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "address": one["address"],
        "kind": one["kind"],
        "status": one["status"],
        "state": one["state"],
        "attempts": one["attempts"],
        "due_at": wire_time(one["due_at"]),
        "waiting_for": one["waiting_for"],
        "provider": one["provider"],
        "provider_ref": one["provider_ref"],
        "reply": one["reply"],
        **{name: one[name] for name in ("error_code", "error_sub_type", "bounce_class", "bounce_reason")},
        **{name: wire_time(one[name]) for name in _RECIPIENT_TIMES},
    }


def acceptance(row: Mapping[str, Any]) -> dict[str, Any]:
    """How every timeline begins. It is in the message itself, so no row is written for it."""
    kind = EventKind.ACCEPTED if row["accepted_at"] is not None else EventKind.REFUSED
    options = row["options"] or {}
    return _line(
        kind,
        row["accepted_at"] or row["created_at"],
        reply=row["error_code"] if kind is EventKind.REFUSED else None,
        detail={name: options[name] for name in ("tracked", "untracked") if name in options} or None,
    )


def event_line(one: Mapping[str, Any], address: str | None) -> dict[str, Any]:
    """A row of `event` about the recipient with this address as a line of a timeline."""
    return _line(
        one["kind"],
        one["at"],
        recipient=address,
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
