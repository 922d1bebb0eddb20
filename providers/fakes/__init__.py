"""Fakes of the vendors' APIs, as one ASGI application: for tests, demonstrations and load.

`pillarbox fakes` serves it. Each vendor has a prefix of its own; give a provider that `base_url` and the key
`fake-key`. What local parts of recipients do is in `Vendor`. `GET /mails` lists what was taken.

`POST /webhooks` with `vendor` and `url`, and perhaps `secret`, `copies`, `order` ("happened" or "shuffled") and
`delay` (seconds), has a vendor post from then on what becomes of its mail; without a `url` it stops. `GET /webhooks`
shows where each vendor posts, and the options of a provider that believes it; `GET /webhooks/posted` what was posted.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import orjson

from providers.fakes.posting import Hook, Order, Posted, Poster
from providers.fakes.registry import VENDORS
from providers.fakes.wire import Kept, Line, Request, Response, Vendor, reply
from providers.http import checked_url
from relay.core.errors import Misconfigured

__all__ = ["Fakes", "Hook", "Kept", "Order", "Request", "Response", "Vendor"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_LARGEST = 100_000_000


class Fakes:
    """The application. `vendors` has the fakes by name, each with what it has kept; `hooks` are where they post from
    the first request on. Served without a lifespan it needs `aclose` in the end.
    """

    def __init__(self, hooks: Mapping[str, Hook] | None = None) -> None:
        self.vendors: dict[str, Vendor] = {kind.name: kind() for kind in VENDORS}
        self.poster = Poster()
        self._hooks = dict(hooks or {})
        self._here = ""

    def __getitem__(self, name: str) -> Vendor:
        return self.vendors[name]

    @property
    def kept(self) -> list[Kept]:
        return [one for vendor in self.vendors.values() for one in vendor.kept]

    def reset(self) -> None:
        for vendor in self.vendors.values():
            vendor.reset()
            self.poster.unhook(vendor.name)

    async def aclose(self) -> None:
        await self.poster.aclose()

    def _begin(self, here: str) -> None:
        """Ready to post: `here` is where this is served."""
        if here != self._here:
            self._here = here
            for name, vendor in self.vendors.items():
                vendor.here = f"{here}/{name}"
        hooks, self._hooks = self._hooks, {}
        for name, hook in hooks.items():
            self.poster.hook(self.vendors[name], hook)

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            await self.aclose()
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
        self._begin(f"{scope.get('scheme', 'http')}://{headers.get('host', '')}")
        vendor = self.vendors.get(prefix)
        if vendor is not None:
            query = scope["query_string"].decode("latin-1")
            before = len(vendor.kept)
            response = vendor.answer(Request(scope["method"], f"/{path}", whole, query, headers, body))
            # Before the answer: a vendor's event may well be here sooner than its answer.
            self.poster.took(vendor, vendor.kept[before:])
            return response
        if whole == "/mails":
            return reply(200, [_shown(one) for one in self.kept])
        if whole == "/webhooks":
            return self._hook(body) if scope["method"] == "POST" else reply(200, self._webhooks())
        if whole == "/webhooks/posted":
            return reply(200, [_told(one) for one in self.poster.posted])
        if whole == "/":
            here = {"vendors": sorted(self.vendors), "key": "fake-key", "kept": "/mails", "told": "/webhooks"}
            return reply(200, here)
        return reply(404, {"message": "no such vendor"})

    def _webhooks(self) -> dict[str, Any]:
        return {
            name: {"url": hook.url if hook else None, "believed": vendor.believed}
            for name, vendor in self.vendors.items()
            for hook in (self.poster.hooks.get(name),)
        }

    def _hook(self, body: bytes) -> Response:
        try:
            said = orjson.loads(body)
            vendor = self.vendors[said["vendor"]]
            if not said.get("url"):
                self.poster.unhook(vendor.name)
            else:
                self.poster.hook(vendor, hook_of(said))
        except (KeyError, TypeError, ValueError, Misconfigured) as error:
            return reply(400, {"message": f"not a webhook: {error}"})
        return reply(200, {"vendor": vendor.name, "believed": vendor.believed})


def hook_of(said: Mapping[str, Any]) -> Hook:
    """Raises ValueError, TypeError, KeyError or `Misconfigured` for what cannot be one."""
    hook = Hook(
        said["url"],
        said.get("secret"),
        int(said.get("copies", 1)),
        Order(said.get("order", Order.HAPPENED)),
        float(said.get("delay", 0)),
    )
    checked_url(hook.target()[0], "url")
    if not 1 <= hook.copies <= 100 or not 0 <= hook.delay <= 86_400:
        raise ValueError("copies are 1 to 100, and the delay is at most a day")
    return hook


def _told(posted: Posted) -> dict[str, Any]:
    body = posted.body.decode("utf-8", "replace")
    return {"vendor": posted.vendor, "status": posted.status, "body": body}


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
