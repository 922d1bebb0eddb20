"""A customer's endpoint: a real HTTP server on loopback that keeps what it is told and answers as it is told to."""

import asyncio
import contextlib
import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from standardwebhooks.webhooks import Webhook


@dataclass(frozen=True)
class Call:
    """One call, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def kind(self) -> str:
        return str(self.json["type"])

    @property
    def message(self) -> str:
        return str(self.json["data"]["message_id"])

    def verify(self, secret: str) -> None:
        """By somebody else's library; raises when the signature is wrong or the time is off."""
        Webhook(secret).verify(self.body, self.headers)


@dataclass(frozen=True)
class Told:
    """What to answer."""

    status: int = 204
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    #: hang up without an answer
    hang_up: bool = False


class Receiver:
    """`with Receiver() as there:`; `there.answer` decides, `there.taken` has the calls that were answered 2xx."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.answer: Callable[[Call], Told] = lambda _: Told()
        self.calls: list[Call] = []
        self.taken: list[Call] = []
        self.connections = 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 100

            def setup(self) -> None:
                with receiver._lock:
                    receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                call = Call(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                with receiver._lock:
                    receiver.calls.append(call)
                told = receiver.answer(call)
                if told.hang_up:
                    self.close_connection = True
                    return
                if 200 <= told.status < 300:
                    with receiver._lock:
                        receiver.taken.append(call)
                with contextlib.suppress(OSError):
                    self.send_response(told.status)
                    for name, value in told.headers:
                        self.send_header(name, value)
                    if told.status != 204:
                        self.send_header("content-length", str(len(told.body)))
                    self.end_headers()
                    self.wfile.write(told.body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, address: object) -> None:
                pass

        self._server = Server((host, 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hooks?x=1"

    def ids(self, message: str | None = None) -> list[str]:
        """The ids that were taken, each at its first time, of one message or of all."""
        wanted = [call for call in self.taken if message is None or call.message == message]
        return list(dict.fromkeys(call.id for call in wanted))

    def kinds(self) -> list[str]:
        return [call.kind for call in self.taken]

    async def until_taken(self, count: int) -> None:
        """Wait until so many calls were answered 2xx."""
        deadline = time.monotonic() + 100
        while len(self.taken) < count:
            assert time.monotonic() < deadline, f"{len(self.taken)} of {count} were taken"
            await asyncio.to_thread(time.sleep, 0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
