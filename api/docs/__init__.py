"""Pages that show `/openapi.json` to people, from this process alone: no other host is asked for anything."""

from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

_HERE = Path(__file__).parent
_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def router() -> APIRouter:
    page = (_HERE / "page.html").read_bytes()
    script = (_HERE / "page.js").read_bytes()
    routes = APIRouter(include_in_schema=False)

    async def show(_request: Request) -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=_SECURITY)

    async def run(_request: Request) -> Response:
        return Response(script, media_type="text/javascript; charset=utf-8", headers=_SECURITY)

    routes.add_api_route("/docs", show, methods=["GET"])
    routes.add_api_route("/docs/page.js", run, methods=["GET"])
    return routes
