"""Fakes of the vendors' APIs, as one ASGI application: for tests, demonstrations and load.

`pillarbox fakes` serves it. Each vendor has a prefix of its own; give a provider that `base_url` and the key
`fake-key`. What local parts of recipients do is in `Vendor`. `GET /mails` lists what was taken.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from providers.fakes.registry import VENDORS
from providers.fakes.wire import Kept, Line, Request, Response, Vendor, reply

__all__ = ["Fakes", "Kept", "Request", "Response", "Vendor"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_LARGEST = 100_000_000


class Fakes:
    """The application. `vendors` has the fakes by name, each with what it has kept."""

    def __init__(self) -> None:
        self.vendors: dict[str, Vendor] = {kind.name: kind() for kind in VENDORS}

    def __getitem__(self, name: str) -> Vendor:
        return self.vendors[name]

    @property
    def kept(self) -> list[Kept]:
        return [one for vendor in self.vendors.values() for one in vendor.kept]

    def reset(self) -> None:
        for vendor in self.vendors.values():
            vendor.reset()

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        body = await _body(receive)
        if body is None:
            return
        response = self._answer(scope, body)
        if response.line is Line.HANG:
            while (await receive())["type"] != "http.disconnect":
                continue
            return
        headers = {**response.headers, "content-length": str(len(response.body))}
        cut = response.line is Line.CUT
        if cut:
            headers["content-length"] = str(len(response.body) + 10)
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            }
        )
        # A server closes the connection under an application that promised more than it gave.
        await send({"type": "http.response.body", "body": response.body, "more_body": cut})

    def _answer(self, scope: MutableMapping[str, Any], body: bytes) -> Response:
        whole = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
        _, _, rest = whole.partition("/")
        prefix, _, path = rest.partition("/")
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        vendor = self.vendors.get(prefix)
        if vendor is not None:
            query = scope["query_string"].decode("latin-1")
            return vendor.answer(Request(scope["method"], f"/{path}", whole, query, headers, body))
        if whole == "/mails":
            return reply(200, [_shown(one) for one in self.kept])
        if whole == "/":
            return reply(200, {"vendors": sorted(self.vendors), "key": "fake-key", "kept": "/mails"})
        return reply(404, {"message": "no such vendor"})


def _shown(kept: Kept) -> dict[str, Any]:
    return {
        "vendor": kept.vendor,
        "id": kept.id,
        "recipients": kept.recipients,
        "token": kept.token,
        "tag": kept.tag,
        "fate": kept.fate,
        "said": orjson.loads(orjson.dumps(dict(kept.said), default=repr)),
    }


async def _body(receive: _Receive) -> bytes | None:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size <= _LARGEST:
            pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _lifespan(receive: _Receive, send: _Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
