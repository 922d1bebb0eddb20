"""A real door in a thread: listeners on 127.0.0.1, a database behind it, and a client that speaks octets."""

import asyncio
import base64
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Self

import sqlalchemy as sa

from relay.config import Settings
from relay.core.identity import Identity
from relay.core.message import Accepted, Submission
from relay.intake import Intake
from relay.policy import Authenticator, Suppressions
from relay.queue import NoQueue
from relay.smtp.server import Server
from relay.store import accounts, messages
from relay.store import tables as t
from relay.store.database import Database, open_database

#: seconds for which a door remembers what it has read of accounts
TTL = 5.0
SENDERS = ("example.org", "ünï.example")


class Door:
    """See the module. `wrap` may put something between the server and the intake."""

    def __init__(self, settings: Settings, wrap: Callable[[Any], Any] = lambda intake: intake) -> None:
        self.settings = settings
        self._wrap = wrap
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.database: Database
        self.server: Server
        self.intake: Intake
        self.key = ""

    def start(self) -> None:
        self._thread.start()
        self.call(self._start())

    async def _start(self) -> None:
        self.database = open_database(self.settings.database_url)

        def add_account(connection: sa.Connection) -> str:
            accounts.create_account(connection, "legacy", senders=SENDERS)
            return accounts.create_key(connection, "legacy").secret

        self.key = await self.database.write(add_account)
        self.intake = Intake(self.database, NoQueue())
        self.server = Server(
            self.settings,
            self._wrap(self.intake),
            Authenticator(self.database, ttl=TTL),
            Suppressions(self.database, ttl=TTL),
        )
        await self.server.start()

    def stop(self) -> None:
        self.call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        await self.server.stop()
        # A transport that was cut is closed in the turns that follow.
        for _ in range(3):
            await asyncio.sleep(0)
        await self.intake.close()
        await self.database.close()

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    @property
    def port(self) -> int:
        return self.server.addresses[0][1]

    def connect(self, listener: int = 0) -> "Client":
        return Client(self.server.addresses[listener], self)

    def ready(self) -> "Client":
        """A client that has greeted and logged in."""
        client = self.connect()
        client.expect(220)
        client.ask("EHLO client.example.org", 250)
        client.ask(f"AUTH PLAIN {self.plain()}", 235)
        return client

    def plain(self) -> str:
        return base64.b64encode(f"\0anybody\0{self.key}".encode()).decode()

    def stored(self, after: int = 0) -> list[dict[str, Any]]:
        """What the record holds, oldest first: the message's row, its `raw` bytes and its `recipients`."""

        def read(connection: sa.Connection) -> list[dict[str, Any]]:
            rows = (
                connection.execute(
                    sa.select(t.message).where(t.message.c.id > after).order_by(t.message.c.id)
                )
                .mappings()
                .all()
            )
            return [
                {
                    **row,
                    "raw": messages.raw(connection, row["id"]),
                    "recipients": messages.recipients(connection, row["id"]),
                }
                for row in rows
            ]

        return self.call(self.database.read(read))


class Client:
    """A socket and the replies that come over it."""

    def __init__(self, address: tuple[str, int], door: Door) -> None:
        self.door = door
        self.socket: socket.socket = socket.create_connection(address, timeout=90)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> bytes:
        """One line, or nothing at the end."""
        while b"\r\n" not in self._buffer:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                rest, self._buffer = self._buffer, b""
                return rest
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def reply(self) -> list[str]:
        lines = [self.line().decode()]
        while lines[-1][3:4] == "-":
            lines.append(self.line().decode())
        return lines

    def expect(self, code: int) -> list[str]:
        reply = self.reply()
        assert reply[-1].startswith(str(code)), reply
        return reply

    def ask(self, command: str, code: int) -> list[str]:
        self.send(command.encode() + b"\r\n")
        return self.expect(code)

    def envelope(self, *recipients: str, sender: str = "app@example.org") -> None:
        self.ask(f"MAIL FROM:<{sender}>", 250)
        for recipient in recipients or ("rcpt@example.net",):
            self.ask(f"RCPT TO:<{recipient}>", 250)

    def mail(self, wire: bytes, code: int = 250) -> str:
        """Send `wire` as it is after DATA; returns the last line of the reply."""
        self.ask("DATA", 354)
        self.send(wire)
        return self.expect(code)[-1]

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def closed(self) -> bool:
        return self.line() == b""

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def running(settings: Settings, wrap: Callable[[Any], Any] = lambda intake: intake) -> Iterator[Door]:
    door = Door(settings, wrap)
    door.start()
    try:
        yield door
    finally:
        door.stop()


class Gate:
    """An intake that holds mail back until it is told to go on, or fails."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.reached = threading.Event()
        self.go: asyncio.Event | None = None
        self.error: Exception | None = None

    async def accept(self, submission: Submission) -> Accepted:
        self.go = asyncio.Event()
        self.reached.set()
        if self.error is not None:
            raise self.error
        await self.go.wait()
        return await self._intake.accept(submission)


ANYBODY = Identity(1, 1, "legacy", None, frozenset({"send"}), None, ("*",))
