"""The outermost layer: how much a request may bring, what every answer carries, and no exception beyond it."""

import asyncio
import contextlib
import math
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from relay.core.errors import TooLarge

# What a client still sends after its refusal is read and thrown away: most read their answer only when they have
# sent everything, and a connection closed on unread data is reset, which destroys the answer. The times are those of
# nginx (lingering_time and lingering_timeout, https://nginx.org/en/docs/http/ngx_http_core_module.html).
#: seconds for all of it
_LINGER = 30.0
#: seconds without anything new
_QUIET = 5.0
#: octets
_THROWN_AWAY = 128 * 1024 * 1024

#: octets of an unread body that are worth keeping the connection for
_LEFT_OVER = 64 * 1024

#: the contract's caching headers
_ALWAYS = [(b"cache-control", b"no-cache"), (b"pragma", b"no-cache")]

_CLOSE = (b"connection", b"close")

#: where in a request's scope a list of further headers for its answer is kept
ANSWER_HEADERS = "pillarbox.answer_headers"


class Border:
    """Wraps the application. A request of more than `max_request` octets is answered 413 before it is read.

    `larger` has the bounds of calls that take more, by their paths.
    """

    def __init__(self, app: ASGIApp, *, max_request: int, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._max = max_request
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path.endswith("/") and path != "/":
            # The reference server takes a trailing slash; base URLs joined by hand have one.
            scope = {**scope, "path": path.rstrip("/") or "/"}
        declared = _declared(scope)
        most = self._larger.get(scope["path"], self._max)
        exchange = _Exchange(receive, send, most, declared)
        scope[ANSWER_HEADERS] = exchange.headers
        if most < declared < math.inf:
            await exchange.refuse()
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            # A fault that was answered and logged inside is raised once more by the framework.
            if exchange.finished:
                return
            if exchange.started:
                raise
            await errors.fault(error)(scope, receive, exchange.send)


def _declared(scope: Scope) -> float:
    """The octets a request's body will have; infinite for one sent in chunks."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
        if name == b"transfer-encoding":
            return math.inf
    return 0


class _Exchange:
    """One request and its answer, counted."""

    __slots__ = (
        "_closing",
        "_declared",
        "_ended",
        "_left",
        "_max",
        "_receive",
        "_refused",
        "_send",
        "finished",
        "headers",
        "started",
    )

    def __init__(self, receive: Receive, send: Send, limit: int, declared: float) -> None:
        self._receive = receive
        self._send = send
        self._max = self._left = limit
        self._declared = declared
        self._ended = False
        self._closing = False
        self._refused = False
        self.headers: list[tuple[bytes, bytes]] = []
        self.started = False
        self.finished = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
            if self._left < 0 and not self._refused:
                if not self.started:
                    await self.refuse()
                raise TooLarge("The request is larger than this server takes.")
        return message

    async def send(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message.get("headers", ()), *self.headers, *_ALWAYS]
            if not self._ended and self._declared - (self._max - self._left) > _LEFT_OVER:
                # Answered early: what else the client has for us is not waited for at any length.
                self._closing = True
                message["headers"].append(_CLOSE)
        elif self._closing and not message.get("more_body", False):
            self.finished = True
            await self._part_with({**message, "more_body": True})
            return
        elif not message.get("more_body", False):
            self.finished = True
        await self._send(message)

    async def refuse(self) -> None:
        """Answer 413 at once, then read on for a while."""
        answer = errors.refusal(TooLarge("The request is larger than this server takes."))
        self._refused = self.started = self.finished = True
        headers = [*answer.raw_headers, *self.headers, *_ALWAYS, _CLOSE]
        await self._send({"type": "http.response.start", "status": 413, "headers": headers})
        await self._part_with({"type": "http.response.body", "body": answer.body, "more_body": True})

    async def _part_with(self, last: Message) -> None:
        await self._send(last)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                await self._throw_away()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _throw_away(self) -> None:
        """Raises `TimeoutError` when nothing more comes."""
        octets = 0
        more = True
        while more and octets <= _THROWN_AWAY:
            async with asyncio.timeout(_QUIET):
                message = await self._receive()
            octets += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
