"""The server's HTTP protocol, made to answer what is no HTTP as everything else is answered: `{code, message}`."""

import asyncio
import importlib.util
from typing import Any

from api import errors
from relay.core.errors import Malformed

#: octets of a request's head; the parser itself would take any number
MAX_HEAD = 128 * 1024
#: seconds a new connection has for its first request's head
FIRST_REQUEST = 60.0


def bad_request() -> bytes:
    """The whole answer to what cannot be read as HTTP."""
    answer = errors.refusal(Malformed("Malformed request"))
    fields = [*answer.raw_headers, (b"connection", b"close")]
    head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    return b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + bytes(answer.body)


def protocol() -> Any:
    """The protocol class for `uvicorn.Config(http=...)`: of the fast parser where it is installed."""
    return _fast() if importlib.util.find_spec("httptools") else _portable()


def _fast() -> Any:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class FastProtocol(HttpToolsProtocol):
        _head = 0
        _patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._patience = self.loop.call_later(FIRST_REQUEST, transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._patience is not None:
                self._patience.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._head:
                self._head += len(data)
                if self._head > MAX_HEAD:
                    self.send_400_response("")
                    return
            super().data_received(data)

        def on_message_begin(self) -> None:
            self._head = 1
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._head = 0
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
            super().on_headers_complete()

        def send_400_response(self, msg: str) -> None:
            self.transport.write(bad_request())
            self.transport.close()

    return FastProtocol


def _portable() -> Any:
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class PortableProtocol(H11Protocol):
        def send_400_response(self, msg: str) -> None:
            self.transport.write(bad_request())
            self.transport.close()

    return PortableProtocol
