"""Who is at the console: sign-in, sessions, the token of every form; and how a page is answered."""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.console import words
from api.console.caller import Caller, Reply, Said
from api.errors import answer_to
from api.thin import ThinRoute
from relay import __version__
from relay.config import Settings
from relay.core.errors import RelayError, Unauthenticated
from relay.core.identity import Identity
from relay.policy import Authenticator
from relay.process import queue_url
from relay.store import audit, sessions
from relay.store.audit import Change
from relay.store.database import Database
from relay.store.sessions import Session
from relay.throttle import Throttle

HOME = "/console"
COOKIE = "pillarbox_console"
#: holds what the form of a sign-in has to know, so that nobody can be signed in from another site
_BEFORE = "pillarbox_sign_in"
_MAX_FORM = 256 * 1024
_HERE = Path(__file__).parent

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Handler = Callable[["Visit"], Awaitable[Response]]
Answering = Callable[[Request], Awaitable[Response]]


class Trouble(Exception):
    """Something the person has to hear; it is told on the page they came from."""


@dataclass(slots=True)
class Visit:
    """One request of somebody who is signed in."""

    desk: "Desk"
    request: Request
    session: Session
    token: str
    form: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Identity:
        return self.session.identity

    def asked(self, name: str) -> str:
        """A parameter of the query, without blanks around it."""
        return self.request.query_params.get(name, "").strip()

    def named(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def field(self, name: str) -> str:
        return self.form.get(name, "").strip()

    async def call(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> Reply:
        """A call of the API as whoever is signed in; raises `Said`."""
        client = self.request.client
        where = (client.host, client.port) if client else None
        return await self.desk.caller.ask(
            self.identity, where, method, path, query, body, state=self.request.scope.get("state")
        )

    async def get(self, path: str, **query: Any) -> Any:
        return (await self.call("GET", path, query)).json()

    async def page(self, template: str, *, status: int = 200, **context: Any) -> Response:
        told = self.session.told
        if told is not None:
            await self.desk.database.write(sessions.tell, self.session.id, None)
        return self.desk.render(template, status=status, **self._around(told), **context)

    def part(self, template: str, **context: Any) -> Response:
        """A piece of a page that asks for it again and again."""
        return self.desk.render(template, **self._around(None), **context)

    async def done(self, message: str, to: str) -> Response:
        """Say what was done on the next page."""
        return await self.tell(message, to, tone="good")

    async def tell(self, message: str, to: str, *, tone: str) -> Response:
        told = {"text": message[:1000], "tone": tone}
        await self.desk.database.write(sessions.tell, self.session.id, told)
        return RedirectResponse(to, 303, headers=SECURITY)

    @property
    def back(self) -> str:
        """The page that a form was on."""
        wanted = self.field("back") or urlsplit(self.request.headers.get("referer", "")).path
        return local(wanted)

    def _around(self, told: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            "session": self.session,
            "csrf": seal(self.token),
            "told": told,
            "here": self.request.url.path,
            "query": dict(self.request.query_params),
        }


class Desk:
    """One per process."""

    def __init__(self, settings: Settings, database: Database, authenticator: Authenticator) -> None:
        self.settings = settings
        self.database = database
        self.caller = Caller()
        self._authenticator = authenticator
        self._throttle = Throttle(
            failures=settings.smtp.max_auth_failures,
            lock=settings.smtp.auth_lock,
            url=queue_url(settings),
            namespace=settings.queue.namespace,
        )
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(words.FILTERS)
        self._templates.globals["version"] = __version__

    async def close(self) -> None:
        await self._throttle.close()

    def render(self, template: str, *, status: int = 200, **context: Any) -> Response:
        text = self._templates.get_template(template).render(**context)
        return Response(text, status, headers=SECURITY, media_type="text/html; charset=utf-8")

    # Pages of those who are signed in.

    def add(self, routes: APIRouter, method: str, path: str, handler: Handler) -> None:
        async def run(request: Request) -> Response:
            return await self._run(request, handler)

        name = f"console {method} {path}"
        guarded = self.guarded(run)
        routes.add_api_route(HOME + path, guarded, methods=[method], name=name, include_in_schema=False)

    def guarded(self, answer: Answering) -> Answering:
        """`answer`, and a page instead of JSON where not even the session can be looked up: the database is away."""

        async def run(request: Request) -> Response:
            try:
                return await answer(request)
            except Exception as error:
                status, message = _told(error)
                title = HTTPStatus(status).phrase
                return self.render("away.html", status=status, code=status, title=title, message=message)

        return run

    async def _run(self, request: Request, handler: Handler) -> Response:
        token = request.cookies.get(COOKIE, "")
        session = await self.database.read(sessions.find, token) if token else None
        client = request.client.host if request.client else None
        if session is None or not session.identity.may_come_from(client):
            return _to_sign_in(request)
        if session.stale:
            await self.database.write(sessions.seen, session.id)
        visit = Visit(self, request, session, token)
        try:
            if request.method == "POST":
                visit.form = await _form(request)
                if not hmac.compare_digest(visit.form.get("csrf", ""), seal(token)):
                    raise Said(
                        403, "csrf", "The form is not one of this session's. Reload the page and try again."
                    )
            return await handler(visit)
        except (Said, Trouble) as error:
            return await self._refused(visit, error)
        except Exception as error:
            return await self._fault(visit, error)

    async def _refused(self, visit: Visit, error: Said | Trouble) -> Response:
        status = error.status if isinstance(error, Said) else 400
        if visit.request.method == "POST" and status not in {403, 404, 503}:
            return await visit.tell(str(error), visit.back, tone="bad")
        return await _problem(visit, status, str(error))

    async def _fault(self, visit: Visit, error: Exception) -> Response:
        """What nobody expected, under the reference that the log has it by."""
        return await _problem(visit, *_told(error))

    # Sign-in.

    async def ask_who(self, request: Request, *, problem: str = "", status: int = 200) -> Response:
        before = secrets.token_urlsafe(32)
        if not problem and request.query_params.get("ended"):
            problem = "Your session has ended. Sign in again to go on."
        page = self.render(
            "sign_in.html",
            status=status,
            csrf=seal(before),
            problem=problem,
            to=local(request.query_params.get("to", "")),
        )
        _set(page, request, _BEFORE, before)
        return page

    async def sign_in(self, request: Request) -> Response:
        """A working admin key begins a session. Guessing is counted by address, over all processes."""
        form = await _form(request)
        before = request.cookies.get(_BEFORE, "")
        if not before or not hmac.compare_digest(form.get("csrf", ""), seal(before)):
            return await self.ask_who(
                request, problem="The page had grown old. Please try again.", status=403
            )
        address = request.client.host if request.client else ""
        if await self._throttle.locked(address, address):
            return await self.ask_who(
                request, problem="Too many failed sign-ins from this address. Try again later.", status=429
            )
        try:
            identity = await self._authenticator.identify(form.get("key", "").strip(), address or None)
            problem = "" if identity.may("admin") else "This key does not have the scope admin."
        except Unauthenticated:
            problem = "That is not a working key."
        except RelayError as error:
            problem = error.message
        if problem:
            await self._throttle.failed(address, address)
            failed = Change("sign-in failed", "", "console", address, {"why": problem})
            await self.database.write(audit.add, None, failed)
            return await self.ask_who(request, problem=problem, status=401)
        token = secrets.token_urlsafe(32)
        await self.database.write(sessions.begin, token, identity.key_id, address)
        await self.database.write(audit.add, identity, Change("sign-in", "", "console", address))
        answer = RedirectResponse(local(form.get("to", "")), 303, headers=SECURITY)
        _set(answer, request, COOKIE, token)
        answer.delete_cookie(_BEFORE, path=HOME)
        return answer

    async def sign_out(self, visit: Visit) -> Response:
        await self.database.write(sessions.end, visit.session.id)
        address = visit.request.client.host if visit.request.client else ""
        await self.database.write(audit.add, visit.identity, Change("sign-out", "", "console", address))
        answer = RedirectResponse(f"{HOME}/sign-in", 303, headers=SECURITY)
        answer.delete_cookie(COOKIE, path=HOME)
        return answer


def router(desk: Desk) -> APIRouter:
    """Sign-in and what pages are made with."""
    routes = APIRouter(route_class=ThinRoute, include_in_schema=False)
    files = {path.name: (path.read_bytes(), _KINDS[path.suffix]) for path in (_HERE / "static").iterdir()}
    tags = {name: f'"{hashlib.sha256(data).hexdigest()[:16]}"' for name, (data, _) in files.items()}

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            return Response(status_code=404, headers=SECURITY)
        headers = {**SECURITY, "ETag": tags[name], "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        data, kind = files[name]
        return Response(data, media_type=kind, headers=headers)

    routes.add_api_route(f"{HOME}/static/{{name}}", static, methods=["GET"])
    routes.add_api_route(f"{HOME}/sign-in", desk.guarded(desk.ask_who), methods=["GET"])
    routes.add_api_route(f"{HOME}/sign-in", desk.guarded(desk.sign_in), methods=["POST"])
    desk.add(routes, "POST", "/sign-out", desk.sign_out)
    return routes


def close(desk: Desk, routes: APIRouter) -> None:
    """To be called last: every other path has a page that says so."""

    async def missing(_visit: Visit) -> Response:
        raise Said(404, "not_found", "There is no such page.")

    desk.add(routes, "GET", "/{path:path}", missing)


_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
}


def seal(token: str) -> str:
    """What forms carry of a cookie: it shows that the page could read it, and cannot be turned back."""
    return hashlib.sha256(b"form:" + token.encode()).hexdigest()


def local(path: str) -> str:
    """A path of the console's own; anything else is its first page."""
    fine = path == HOME or path.startswith((f"{HOME}/", f"{HOME}?"))
    return path if fine and "\\" not in path and path.isprintable() else HOME


def _told(error: Exception) -> tuple[int, str]:
    """The API's own status and words for an error, which is logged on the way."""
    answer = answer_to(error)
    return answer.status_code, str(orjson.loads(answer.body)["message"])


async def _form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    declared = request.headers.get("content-length", "")
    if kind != "application/x-www-form-urlencoded" or not declared.isdigit() or int(declared) > _MAX_FORM:
        return {}
    try:
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=200))
    except (ValueError, UnicodeDecodeError):
        return {}


def _set(answer: Response, request: Request, name: str, value: str) -> None:
    secure = request.url.scheme == "https"
    answer.set_cookie(name, value, path=HOME, secure=secure, httponly=True, samesite="strict")


def _to_sign_in(request: Request) -> Response:
    if request.headers.get("hx-request"):
        # The piece is no place for a page; have the whole page loaded again.
        return Response(status_code=401, headers={**SECURITY, "HX-Refresh": "true"})
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    query = {} if request.method != "GET" or wanted == HOME else {"to": wanted}
    if COOKIE in request.cookies:
        query["ended"] = "1"
    page = f"{HOME}/sign-in"
    return RedirectResponse(f"{page}?{urlencode(query)}" if query else page, 303, headers=SECURITY)


async def _problem(visit: Visit, status: int, message: str) -> Response:
    return await visit.page(
        "problem.html", status=status, code=status, title=HTTPStatus(status).phrase, message=message
    )
