"""The SMTP door as a role: listeners opened, connections served, and everything finished before it ends."""

import asyncio
import errno
import os
import ssl
from functools import partial
from pathlib import Path

from relay.config import ListenerSettings, Settings
from relay.core.errors import Misconfigured
from relay.intake import Intake
from relay.observe import facts
from relay.policy import Authenticator, Suppressions
from relay.process import Context
from relay.smtp import service as shared
from relay.smtp.connection import HANDSHAKE, Connection
from relay.smtp.data import Limits
from relay.smtp.service import Listener, Service

#: seconds that transactions in progress get when the door closes
_DRAIN = 20.0
_BACKLOG = 1024


async def serve(context: Context) -> None:
    """Serve until `context.stop` is set and what was in progress is finished.

    Raises `Misconfigured` for a listener that cannot be opened.
    """
    intake = context.intake()
    authenticator = context.authenticator()
    server = Server(context.settings, intake, authenticator, context.suppressions())
    await server.start()
    try:
        context.ready()
        await context.stop.wait()
    finally:
        await server.stop()
        await intake.close()
        await authenticator.close()


class Server:
    """The listeners of one process and the connections they made. Make it in a running event loop."""

    def __init__(
        self,
        settings: Settings,
        intake: Intake | shared.Intake,
        authenticator: Authenticator | shared.Authenticator,
        suppressions: Suppressions | shared.Suppressions,
    ) -> None:
        smtp = settings.smtp
        spool = settings.data_dir / "spool"
        self._settings = smtp
        self._servers: list[asyncio.Server] = []
        self.service = Service(
            settings=smtp,
            hostname=smtp.name,
            limits=Limits(size=smtp.max_size, header=smtp.max_header, memory=smtp.spool_memory, spool=spool),
            intake=intake,
            authenticator=authenticator,
            suppressions=suppressions,
            loop=asyncio.get_running_loop(),
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

    async def _open(self, number: int, settings: ListenerSettings) -> None:
        where = f"smtp.listeners[{number}]"
        listener = Listener(settings, tls_context(settings, where))
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
        self._close()
        await self.service.drain(_DRAIN)

    def _close(self) -> None:
        for server in self._servers:
            server.close()


def tls_context(settings: ListenerSettings, where: str) -> ssl.SSLContext | None:
    """The TLS side of a listener, or None where it has no certificate; raises `Misconfigured`."""
    if settings.tls == "none" or settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in filter(None, (settings.certificate, settings.key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise Misconfigured(f"{where}: {path} cannot be read: {error.strerror}") from None
    try:
        context.load_cert_chain(settings.certificate, settings.key, password=lambda: "")
    except ssl.SSLError as error:
        reason = (error.reason or "not in PEM format").replace("_", " ").lower()
        raise Misconfigured(
            f"{where}: {settings.certificate} and {settings.key} are not a certificate and its key: {reason}"
        ) from None
    return context


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
