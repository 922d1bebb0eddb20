"""/t/o, /t/c and /u: pixels, links that lead through us, and the page on which people unsubscribe.

They are for people who got mail, so they need no key, set no cookie, run no script and load nothing from elsewhere.
"""

import base64
import html

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.thin import ThinRoute
from relay.core.errors import Unavailable
from relay.core.stream import Stream
from relay.policy import Streams
from relay.process import Context
from relay.tracking.edit import CLICK, LEAVE, OPEN
from relay.tracking.inbox import Inbox
from relay.tracking.tokens import Leaver, TokenSource
from relay.tracking.visits import Visits

#: one transparent pixel
_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_PRIVATE = {
    "cache-control": "private, no-store, max-age=0",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex, nofollow",
    "x-content-type-options": "nosniff",
}
_PAGE = {
    **_PRIVATE,
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
}


class Calls:
    def __init__(self, context: Context) -> None:
        self._inbox = Inbox(context.database, context.queue)
        self._visits = Visits(
            context.settings.tracking,
            context.database,
            Streams(context.database),
            self._inbox,
            TokenSource(context.secret),
        )

    async def close(self) -> None:
        await self._inbox.close()

    async def opened(self, request: Request) -> Response:
        """The pixel, whoever asks and for whatever: the answer tells nothing about any token."""
        token = request.path_params["token"].removesuffix(".gif")
        await self._visits.opened(token, request.method, request.headers, _peer(request))
        return Response(_GIF, media_type="image/gif", headers=_PRIVATE)

    async def clicked(self, request: Request) -> Response:
        """On to where the link led before; only there, as the target is part of what was signed."""
        try:
            target = await self._visits.clicked(
                request.path_params["token"], request.method, request.headers, _peer(request)
            )
        except Unavailable:
            return _later()
        if target is None:
            return _page(
                404, "This link does not work", "It may have been cut short on its way. Try it from the mail."
            )
        return Response(status_code=302, headers={**_PRIVATE, "location": target})

    async def ask(self, request: Request) -> Response:
        """The page with the button. Looking at it changes nothing: programs that scan mail look at everything."""
        try:
            found = await self._visits.leaver(request.path_params["token"])
        except Unavailable:
            return _later()
        if found is None:
            return _unknown()
        leaver, stream = found
        return _page(
            200, "Unsubscribe", f"{_who(leaver)} will get no more {_what(stream)}.", button="Unsubscribe"
        )

    async def leave(self, request: Request) -> Response:
        """The button of the page, and that of mail programs (RFC 8058 3.2)."""
        try:
            found = await self._visits.leaver(request.path_params["token"])
            if found is None:
                return _unknown()
            await self._visits.leave(*found, request.headers, _peer(request))
        except Unavailable:
            return _later()
        leaver, stream = found
        return _page(200, "You have unsubscribed", f"{_who(leaver)} will get no more {_what(stream)}.")


def router(calls: Calls) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, include_in_schema=False)
    for path, endpoint, methods in (
        (f"{OPEN}{{token}}", calls.opened, ["GET", "HEAD"]),
        (f"{CLICK}{{token}}", calls.clicked, ["GET", "HEAD"]),
        (f"{LEAVE}{{token}}", calls.ask, ["GET", "HEAD"]),
        (f"{LEAVE}{{token}}", calls.leave, ["POST"]),
    ):
        routes.add_api_route(path, endpoint, methods=methods, response_class=Response)
    return routes


def _peer(request: Request) -> str | None:
    return request.client.host if request.client else None


def _who(leaver: Leaver) -> str:
    return f"<b>{html.escape(leaver.address)}</b>"


def _what(stream: Stream | None) -> str:
    return (
        f"mail of the kind <b>{html.escape(stream.title)}</b>"
        if stream and stream.title
        else "mail of this kind"
    )


def _unknown() -> Response:
    return _page(
        404,
        "This link does not work",
        "It may have been cut short on its way. Nothing was changed; try it from the mail.",
    )


def _later() -> Response:
    page = _page(503, "Please try again in a moment", "Nothing was changed.")
    page.headers["retry-after"] = "5"
    return page


def _page(status: int, title: str, text: str, *, button: str = "") -> Response:
    """`text` is HTML. The form posts to the address that the page has."""
    form = (
        '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
        f"<button>{button}</button></form>"
    )
    return Response(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem}}
button{{font:inherit;padding:.5rem 1.5rem}}</style></head>
<body><h1>{title}</h1><p>{text}</p>{form if button else ""}</body></html>
""",
        status,
        media_type="text/html",
        headers=_PAGE,
    )
