"""The SMTP door as a role: listeners opened, connections served, and everything finished before it ends."""

import asyncio
import errno
import os
import signal
from functools import partial
from pathlib import Path

from relay.capacity import Space
from relay.config import Settings
from relay.core.errors import Misconfigured
from relay.core.inbox import InboxKind
from relay.core.return_path import ReturnPaths
from relay.handover import let_in
from relay.intake import Intake
from relay.observe import facts, metrics
from relay.policy import Authenticator, Suppressions
from relay.process import HANDOVER, Context, queue_url
from relay.sections import ListenerSettings
from relay.smtp import service as shared
from relay.smtp.certificate import Certificate
from relay.smtp.connection import HANDSHAKE, Connection
from relay.smtp.data import Limits
from relay.smtp.homecoming import Homecoming
from relay.smtp.service import Listener, Service
from relay.throttle import Throttle
from relay.tracking.inbox import Inbox

#: seconds that transactions in progress get when the door closes
_DRAIN = 20.0
_BACKLOG = 1024
_TICK = 1.0  # seconds


async def serve(context: Context) -> None:
    """Serve until `context.stop` is set and what was in progress is finished.

    Raises `Misconfigured` for a listener that cannot be opened.
    """
    intake = context.intake()
    authenticator = context.authenticator()
    settings = context.settings
    url = queue_url(settings)
    namespace = settings.queue.namespace
    throttle = Throttle(
        failures=settings.smtp.max_auth_failures,
        lock=settings.smtp.auth_lock,
        url=url,
        namespace=namespace,
    )
    limiter = context.limiter()
    inbox = Inbox(context.database, context.queue)
    paths = settings.ingest.return_paths(await context.secret())
    server = Server(settings, intake, authenticator, context.suppressions(), throttle, limiter)
    if paths is not None:
        server.take_bounces(paths, inbox)
    await server.start()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    try:
        context.ready()
        await context.stop.wait()
    finally:
        await server.stop()
        await intake.close()
        await inbox.close()
        await authenticator.close()
        await throttle.close()
        await limiter.close()


class Server:
    """The listeners of one process and the connections they made. Make it in a running event loop."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake | shared.Intake,
        authenticator: Authenticator | shared.Authenticator,
        suppressions: Suppressions | shared.Suppressions,
        throttle: Throttle | None = None,
        limiter: shared.Limiter | None = None,
    ) -> None:
        """Without `throttle` failed logins are counted here alone; without `limiter` nobody is limited."""
        smtp = settings.smtp
        spool = settings.data_dir / "spool"
        self._settings = smtp
        self._ingest = settings.ingest
        self._servers: list[asyncio.Server] = []
        self._certificates: list[Certificate] = []
        self._ticking: asyncio.TimerHandle | None = None
        self.service = Service(
            settings=smtp,
            hostname=smtp.name,
            limits=Limits(size=smtp.max_size, header=smtp.max_header, memory=smtp.spool_memory, spool=spool),
            intake=intake,
            authenticator=authenticator,
            suppressions=suppressions,
            loop=asyncio.get_running_loop(),
            throttle=throttle or Throttle(failures=smtp.max_auth_failures, lock=smtp.auth_lock),
            space=Space(spool, settings.min_free_space),
            providers=frozenset(settings.ways_out),
            limiter=limiter,
            sends_per_second=settings.limits.sends_per_second,
        )
        metrics.CONNECTIONS.read = lambda: {("smtp",): len(self.service.connections)}

    def take_bounces(self, paths: ReturnPaths, inbox: Inbox) -> None:
        """From now on take bounces to these return paths from anybody, and keep them in `inbox`."""

        async def keep(raw: bytes, headers: dict[str, str]) -> None:
            await inbox.put("bounce-mail", InboxKind.MAIL, raw, headers)

        ingest = self._ingest
        self.service.homecoming = Homecoming.of(
            paths, keep, self.service.limits, ingest.bounce_size, ingest.bounce_rate
        )

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every socket, in the order of the listeners; port 0 has become a real one."""
        return [s.getsockname()[:2] for server in self._servers for s in server.sockets]

    async def start(self) -> None:
        _make_spool(self.service.limits.spool)
        try:
            for number, settings in enumerate(self._settings.listeners):
                await self._open(number, settings)
        except BaseException:
            self._close()
            raise
        self._tick(self.service.loop.time())

    def reload(self) -> None:
        """Take up certificates that have been renewed."""
        for certificate in self._certificates:
            certificate.refresh()

    def _tick(self, due: float) -> None:
        """Once a second: see how late we are, and whether a certificate has changed."""
        service = self.service
        lag = service.loop.time() - due
        if lag > self._settings.max_lag and not service.overloaded:
            facts.overloaded("smtp", lag)
        service.overloaded = lag > self._settings.max_lag
        self.reload()
        due = service.loop.time() + _TICK
        self._ticking = service.loop.call_at(due, self._tick, due)

    async def _open(self, number: int, settings: ListenerSettings) -> None:
        where = f"smtp.listeners[{number}]"
        listener = Listener(settings, None)
        if settings.tls != "none" and settings.certificate is not None and settings.key is not None:
            certificate = Certificate(settings.certificate, settings.key, where)
            self._certificates.append(certificate)
            listener.tls = certificate.context
        implicit = settings.tls == "implicit"
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                partial(Connection, self.service, listener),
                settings.host,
                settings.port,
                ssl=listener.tls if implicit else None,
                ssl_handshake_timeout=HANDSHAKE if implicit else None,
                backlog=_BACKLOG,
                # Otherwise a second start by mistake would quietly take half of the connections.
                reuse_port=self._settings.processes > 1 or None,
            )
        except OSError as error:
            raise Misconfigured(f"{where}: {_explain(error, settings)}") from None
        self._servers.append(server)
        for one in server.sockets:
            host, port = one.getsockname()[:2]
            facts.listening("smtp", f"{host}:{port}")

    async def stop(self) -> None:
        """Take no more connections, let transactions finish for a while, then cut what is left."""
        shared = self._settings.processes > 1
        if shared:
            await let_in(one for server in self._servers for one in server.sockets)
        else:
            # Whoever waits to be let in is, first: closing would turn him away.
            await asyncio.sleep(0.001)
        self._close()
        if shared:
            await asyncio.sleep(HANDOVER)
        await self.service.drain(_DRAIN)

    def _close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        for server in self._servers:
            server.close()


def _make_spool(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"data_dir: {path} cannot be made: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise Misconfigured(f"data_dir: {path} cannot be written to")


def _explain(error: OSError, settings: ListenerSettings) -> str:
    where = f"{settings.host}:{settings.port}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where} is in use by another program; stop it, or set another port"
        case errno.EACCES:
            return f"{where} needs privileges: use a port above 1023, or grant CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return f"{settings.host} is not an address of this machine"
    return f"{where} cannot be opened: {error.strerror or error}"
