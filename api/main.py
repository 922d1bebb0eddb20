"""The REST door of a process: the application, and the server it runs on."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api import docs, errors, health, messages, metrics, track, webhooks
from api.auth import Gate
from api.console import app as console
from api.console.desk import Desk
from api.idempotency import Once
from api.limits import Border
from api.manage import (
    audit,
    batches,
    endpoints,
    erasures,
    events,
    ingest,
    overview,
    retention,
    schedule,
    statistics,
    templates,
)
from api.manage import routes as manage
from api.nomsa import routes as nomsa
from api.nomsa.bodies import Bodies
from api.protocol import protocol
from api.services import Services
from api.trail import Trail
from relay import __version__
from relay.core.errors import Misconfigured
from relay.handover import let_in
from relay.observe import facts
from relay.process import DRAIN, HANDOVER, Context
from relay.sections import ApiSettings
from relay.tracking.inbox import Inbox

_BACKLOG = 2048
#: seconds an idle connection is kept; longer than the 60 s of common load balancers, so that they close first
_KEEP_ALIVE = 75


def build(context: Context) -> ASGIApp:
    """The whole application as one ASGI callable."""
    intake = context.intake()
    authenticator = context.authenticator()
    limiter = context.limiter()
    visits = track.Calls(context)
    inbox = Inbox(context.database, context.queue)
    vendors = webhooks.Vendors(context)
    desk = Desk(context.settings, context.database, authenticator)
    services = Services(
        settings=context.settings.api,
        installation=context.settings,
        database=context.database,
        queue=context.queue,
        intake=intake,
        gate=Gate(authenticator),
        once=Once(context.database, intake),
        limiter=limiter,
        bodies=Bodies(context.settings.api, context.settings.data_dir / "spool"),
        hostname=context.settings.smtp.name,
        providers=frozenset(context.settings.ways_out),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await intake.close()
        await visits.close()
        await limiter.close()
        await authenticator.close()
        await inbox.close()
        await vendors.close()
        await desk.close()

    app = FastAPI(
        title="Pillarbox",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # Redirects would answer without a body of ours; `api.limits` takes the trailing slash off instead.
        redirect_slashes=False,
    )
    errors.install(app)
    calls = nomsa.Calls(services)
    app.include_router(nomsa.router(calls))
    app.include_router(messages.router(services))
    app.include_router(events.router(services))
    app.include_router(manage.router(services))
    app.include_router(endpoints.router(services))
    app.include_router(templates.router(services))
    app.include_router(batches.router(services))
    app.include_router(audit.router(services))
    app.include_router(schedule.router(services))
    app.include_router(statistics.router(services))
    app.include_router(erasures.router(services))
    app.include_router(retention.router(services))
    app.include_router(ingest.router(services))
    app.include_router(overview.router(services))
    app.include_router(health.router(services, context.stop))
    app.include_router(metrics.router(context))
    app.include_router(track.router(visits))
    app.include_router(docs.router())
    if context.settings.api.console:
        app.include_router(console.router(desk))
    # The last one: its path could be taken for many others.
    inner = desk.caller.app = Trail(app, context.database)
    told = webhooks.Webhooks(vendors, inbox, most=context.settings.ingest.max_webhook)
    app.include_router(webhooks.router(told))
    lists = {batches.PATH: context.settings.batches.max_list + batches.OVERHEAD}
    door: ASGIApp = Border(
        told.direct(calls.direct(inner)), max_request=services.settings.max_request, larger=lists
    )
    proxies = [str(network) for network in context.settings.api.forwarded_from]
    return ProxyHeadersMiddleware(door, proxies) if proxies else door  # type: ignore[arg-type,return-value]


async def serve(context: Context) -> None:
    """Listen and answer until the context's `stop`; requests in hand are finished.

    Raises `Misconfigured` when the address cannot be listened on.
    """
    await serve_on(listen(context.settings.api), context)


async def serve_on(listener: socket.socket, context: Context) -> None:
    """`serve` on a socket that is bound already."""
    config = uvicorn.Config(
        build(context),
        http=protocol(),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=int(DRAIN) - 5,
    )
    host, port = listener.getsockname()[:2]

    def listening() -> None:
        facts.listening("rest", f"{host}:{port}")
        context.ready()

    server = _Server(config, listening)
    handover = HANDOVER if context.settings.api.processes > 1 else 0.0
    watch = asyncio.create_task(_stop_with(server, listener, context.stop, handover))
    try:
        await server.serve(sockets=[listener])
    finally:
        watch.cancel()
        listener.close()


async def _stop_with(
    server: uvicorn.Server, listener: socket.socket, stop: asyncio.Event, handover: float
) -> None:
    await stop.wait()
    if handover:
        await let_in([listener])
        for one in getattr(server, "servers", ()):
            one.close()
        listener.close()
        await asyncio.sleep(handover)
    server.should_exit = True


def listen(settings: ApiSettings) -> socket.socket:
    """A bound socket. With several processes configured each has its own on the same port.

    Raises `Misconfigured` in words for the operator.
    """
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise Misconfigured(f"api.host: {settings.host} is not an address or a known host name") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.processes > 1:
            # Only then: a port shared by accident would hand half of the requests to another installation.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        # Bound is not enough to find a port in use: two sockets may bind, and only one can listen.
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Misconfigured(
                f"api.port: {where} is in use by another program; stop it or choose another port"
            ) from None
        if error.errno in {errno.EACCES, errno.EADDRNOTAVAIL}:
            raise Misconfigured(f"api.host, api.port: cannot listen on {where}: {error.strerror}") from None
        raise
    return listener


class _Server(uvicorn.Server):
    """Leaves signals to `relay.process`, and tells when it is listening."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The original raises the signal again at the end, which ends the process before anything is closed.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()
