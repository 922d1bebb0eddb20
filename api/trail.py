"""Every change that is made by a call, written down: who, what, of which, from where.

It is one layer around the calls rather than a line in each, so that none can be forgotten. Mail itself has timelines
of its own and is left out.
"""

from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relay.core.errors import Unavailable
from relay.core.identity import Identity
from relay.observe import facts
from relay.store import audit
from relay.store.audit import Change
from relay.store.database import Database

#: where in a request's scope the caller is noted once it is known
CALLER = "pillarbox.caller"
#: where the console says that a request is its own
DOOR = "pillarbox.door"

#: calls that hand in mail, which each door's own record is about
_MAIL = frozenset({"/v1/messages", "/v1/messages/batch", "/v1/batches"})
_CONTRACT = "/v1/transactional/"
#: octets of a request or an answer that are looked at
_MOST = 8 * 1024


class Trail:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, database: Database) -> None:
        self._app = app
        self._database = database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _changes(scope):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive)
        await self._app(scope, exchange.receive, exchange.hold)
        caller = scope.get(CALLER)
        if exchange.status and exchange.status < 400 and isinstance(caller, Identity):
            try:
                await self._database.write(audit.add, caller, _change(scope, exchange))
            except Unavailable as error:
                # The change is made; saying that it failed would have it made twice.
                facts.fault("audit", error)
        for message in exchange.held:
            await send(message)


def _changes(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
        return False
    path: str = scope["path"]
    return path.startswith("/v1/") and path not in _MAIL and not path.startswith(_CONTRACT)


class _Exchange:
    """One request and its answer, which is held back until the change is written down."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.asked = bytearray()
        self.held: list[Message] = []
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if len(self.asked) <= _MOST:
            self.asked += message.get("body", b"")
        return message

    async def hold(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.held.append(message)

    @property
    def answer(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.held)


def _change(scope: Scope, exchange: _Exchange) -> Change:
    route = scope.get("route")
    template = getattr(route, "path", scope["path"])
    named = [str(value) for value in scope.get("path_params", {}).values()]
    asked = _read(exchange.asked)
    if not named and exchange.status == 201:
        made = _read(exchange.answer)
        named = [str(made[key]) for key in ("id", "name", "address") if made and made.get(key)][:1]
    client = scope.get("client")
    query = scope["query_string"].decode("latin-1")[:300]
    detail = {**(audit.hidden(asked) if asked else {}), **({"query": query} if query else {})}
    return Change(
        action=f"{scope['method']} {template}",
        subject=", ".join(named),
        door=scope.get(DOOR, "api"),
        address=client[0] if client else "",
        detail=detail or None,
    )


def _read(body: bytes | bytearray) -> dict[str, Any] | None:
    if not body or len(body) > _MOST:
        return None
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
