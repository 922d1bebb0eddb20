"""The outermost layer: how much a request may bring, what every answer carries, and no exception beyond it."""

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from relay.core.errors import TooLarge

#: how long, in seconds, what a client still sends after its refusal is read and thrown away
_LINGER = 2.0

#: the contract's caching headers
_ALWAYS = [(b"cache-control", b"no-cache"), (b"pragma", b"no-cache")]

_CLOSE = (b"connection", b"close")


class Border:
    """Wraps the application. A request of more than `max_request` octets is answered 413 before it is read."""

    def __init__(self, app: ASGIApp, *, max_request: int) -> None:
        self._app = app
        self._max = max_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path.endswith("/") and path != "/":
            # The reference server takes a trailing slash; base URLs joined by hand have one.
            scope = {**scope, "path": path.rstrip("/") or "/"}
        exchange = _Exchange(receive, send, self._max)
        if _declared(scope) > self._max:
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


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


class _Exchange:
    """One request and its answer, counted."""

    __slots__ = ("_left", "_max", "_receive", "_refused", "_send", "finished", "started")

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._max = self._left = limit
        self._refused = False
        self.started = False
        self.finished = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
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
            message["headers"] = [*message.get("headers", ()), *_ALWAYS]
        elif not message.get("more_body", False):
            self.finished = True
        await self._send(message)

    async def refuse(self) -> None:
        """Answer 413 at once, then read on for a moment: closing on unread data can destroy the answer."""
        answer = errors.refusal(TooLarge("The request is larger than this server takes."))
        self._refused = self.started = self.finished = True
        headers = [*answer.raw_headers, *_ALWAYS, _CLOSE]
        await self._send({"type": "http.response.start", "status": 413, "headers": headers})
        await self._send({"type": "http.response.body", "body": answer.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        thrown_away = 0
        more = True
        while more and thrown_away <= self._max:
            message = await self._receive()
            thrown_away += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
