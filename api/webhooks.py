"""/v1/webhooks/{provider}/{secret}: where vendors report what became of mail.

The request is verified over its bytes, stored as it came, and answered; a worker reads it. A vendor that is not
answered within seconds reports again, and most stop for good at one answer or another; so it is 200 or a handshake's
own answer, 503 while the record is away, and a refusal only for what is not the vendor's.
"""

import asyncio
import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors
from api.nomsa.routes import problems
from api.thin import ThinRoute
from providers import registry
from relay import config
from relay.config import Settings
from relay.core.clock import now
from relay.core.errors import Misconfigured, NotFound, TooLarge, Unavailable
from relay.core.inbox import InboxKind
from relay.core.provider import NotAuthentic, Provider, WebhookRequest, WebhookSource
from relay.observe import facts
from relay.process import Context
from relay.tracking import hooks
from relay.tracking.inbox import Inbox

#: seconds for which the configuration file is believed to be as it was
_FRESH = 2.0
#: seconds that verifying may take; vendors wait for three to fifteen
_PATIENCE = 8.0
#: what is not kept of a request's header: secrets, and what says nothing about the events
_LEFT_OUT = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "host",
        "connection",
        "content-length",
        "accept",
        "accept-encoding",
        "accept-language",
    }
)


@dataclass(slots=True)
class _Known:
    """The providers as the configuration has them, and those that were needed so far."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    built: dict[str, Provider] = field(default_factory=dict)


class Vendors:
    """The providers of this process, which verify and never send; they follow the configuration file."""

    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._secret = context.secret
        self._known = _Known()
        self._until = 0.0
        self._complaint = ""
        self._loading = asyncio.Lock()

    async def find(self, name: str, secret: str) -> Provider:
        """The provider of that name. Raises `NotFound`, the same whether the name or the secret is wrong."""
        if time.monotonic() >= self._until:
            async with self._loading:
                if time.monotonic() >= self._until:
                    await self._load()
        known = self._known
        expected = known.secrets.get(name, "")
        right = hmac.compare_digest(secret.encode(), (expected or "no secret is like this one").encode())
        if not (right and expected):
            raise NotFound
        provider = known.built.get(name)
        if provider is None:
            provider = known.built[name] = registry.build({name: known.options[name]})[name]
        return provider

    async def _load(self) -> None:
        installation = await self._secret()
        try:
            settings, options, secrets = await asyncio.to_thread(self._read, installation)
        except Misconfigured as error:
            # What was in force stays, as in the workers; said once for each fault.
            if str(error) != self._complaint:
                self._complaint = str(error)
                facts.reload_refused("webhooks", self._complaint)
        else:
            same = {
                name: one
                for name, one in self._known.built.items()
                if options.get(name) == self._known.options.get(name)
            }
            gone = [one for name, one in self._known.built.items() if name not in same]
            self._settings, self._complaint = settings, ""
            self._known = _Known(options, secrets, same)
            for one in gone:
                await one.aclose()
        self._until = time.monotonic() + _FRESH

    def _read(self, installation: bytes) -> tuple[Settings, Mapping[str, Mapping[str, Any]], dict[str, str]]:
        settings = self._settings
        if settings.source is not None:
            settings = config.load(settings.source)
        secrets = {name: hooks.secret_of(settings, name, installation) for name in settings.ways_out}
        return settings, config.provider_options(settings), secrets

    async def close(self) -> None:
        for one in self._known.built.values():
            await one.aclose()


class Webhooks:
    """Takes vendors' requests in."""

    def __init__(self, vendors: Vendors, inbox: Inbox, *, most: int) -> None:
        self._vendors = vendors
        self._inbox = inbox
        self._most = most

    async def receive(self, request: Request) -> Response:
        name, secret = request.path_params["provider"], request.path_params["secret"]
        try:
            provider = await self._vendors.find(name, secret)
        except Misconfigured as error:
            facts.webhook_refused(name, str(error))
            raise Unavailable from None
        if not isinstance(provider, WebhookSource):
            raise NotFound(f"The provider {name} is of a kind that reports nothing by webhook.")
        told = await self._told(request, name)
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await provider.receive(told)
        except NotAuthentic as error:
            facts.webhook_refused(name, str(error))
            return _refusal(provider.capabilities.refusal_status)
        except TimeoutError:
            facts.webhook_refused(name, "it could not be verified in time")
            raise Unavailable from None
        if answer is not None:
            return Response(answer.body, answer.status, media_type=answer.content_type)
        headers = {name: value for name, value in told.headers.items() if name not in _LEFT_OUT}
        await self._inbox.put(name, InboxKind.WEBHOOK, told.body, headers, query=told.query, at=told.at)
        return Response(status_code=200)

    def direct(self, app: ASGIApp) -> ASGIApp:
        """`app`, with a short way here: finding one route among all of them costs twice what a report does."""

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            parts = scope["path"].split("/") if scope["type"] == "http" and scope["method"] == "POST" else []
            if (
                len(parts) != 5
                or not scope["path"].startswith(f"{hooks.PATH}/")
                or not parts[3][:1].isalpha()
            ):
                await app(scope, receive, send)
                return
            scope["path_params"] = {"provider": parts[3], "secret": parts[4]}
            try:
                answer = await self.receive(Request(scope, receive))
            except Exception as error:
                answer = errors.answer_to(error)
            await answer(scope, receive, send)

        return call

    async def _told(self, request: Request, name: str) -> WebhookRequest:
        pieces: list[bytes] = []
        left = self._most
        async for piece in request.stream():
            left -= len(piece)
            if left < 0:
                raise TooLarge("A webhook request may not be as large as this.")
            pieces.append(piece)
        return WebhookRequest(
            method=request.method,
            # Without the secret, which nobody needs to know from here on.
            path=f"{hooks.PATH}/{name}",
            query=request.scope["query_string"].decode("latin-1"),
            headers=_headers(request.scope["headers"]),
            body=b"".join(pieces),
            at=now(),
        )


def _headers(given: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """By name in lower case; several of one name are one, in their order (RFC 9110 5.3)."""
    found: dict[str, str] = {}
    for raw, value in given:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _refusal(status: int) -> Response:
    # Some vendors give their user name and password only once they are asked for them.
    ask = ((b"www-authenticate", b'Basic realm="webhooks"'),) if status == 401 else ()
    return errors.problem(status, "unauthenticated", "The request could not be verified.", ask)


def router(calls: Webhooks) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, tags=["Webhooks of providers"])
    routes.add_api_route(
        f"{hooks.PATH}/{{provider}}/{{secret}}",
        calls.receive,
        methods=["POST"],
        name="post_provider_webhook",
        operation_id="post_provider_webhook",
        summary="For vendors: report what became of mail",
        response_class=Response,
        responses=problems(401, 403, 404, 413, 500, 503),
        openapi_extra={
            "parameters": [
                {
                    "name": part,
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "pattern": pattern},
                }
                for part, pattern in (
                    ("provider", "^[a-z][a-z0-9_-]{0,62}$"),
                    ("secret", "^[A-Za-z0-9_-]{16,}$"),
                )
            ],
            "requestBody": {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
        },
    )
    return routes
