"""The console's own calls of the API: the application in this process, asked without a network in between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.types import ASGIApp, Message, Scope

from api.auth import SIGNED_IN
from api.limits import ANSWER_HEADERS
from api.trail import DOOR
from relay.core.identity import Identity


class Said(Exception):
    """The API refused a call; the message is the API's own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body) if self.body else None


class Caller:
    """`app` is set once the application is whole."""

    app: ASGIApp

    async def ask(
        self,
        identity: Identity,
        client: tuple[str, int] | None,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        *,
        state: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Make a call as `identity`; query parameters that are None are left out. Raises `Said`."""
        written = b"" if body is None else orjson.dumps(body)
        headers: list[tuple[bytes, bytes]] = [(b"host", b"console")]
        if body is not None:
            headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(written))]
        pairs = [(name, value) for name, value in (query or {}).items() if value is not None]
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(pairs).encode(),
            "root_path": "",
            "headers": headers,
            "client": client,
            "server": ("console", 80),
            "state": dict(state or {}),
            ANSWER_HEADERS: [],
            SIGNED_IN: identity,
            DOOR: "console",
        }
        reply = await _exchange(self.app, scope, written)
        if reply.status >= 400:
            raise _refusal(reply)
        return reply


async def _exchange(app: ASGIApp, scope: Scope, written: bytes) -> Reply:
    status = 500
    found: Sequence[tuple[bytes, bytes]] = ()
    pieces: list[bytes] = []
    waiting = [{"type": "http.request", "body": written, "more_body": False}]

    async def receive() -> Message:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status, found
        if message["type"] == "http.response.start":
            status = message["status"]
            found = message.get("headers", ())
        else:
            pieces.append(message.get("body", b""))

    await app(scope, receive, send)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in found}
    return Reply(status, headers, b"".join(pieces))


def _refusal(reply: Reply) -> Said:
    try:
        told = reply.json()
        return Said(reply.status, str(told["code"]), str(told["message"]))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return Said(reply.status, "internal_server", "The call was refused without a reason.")
