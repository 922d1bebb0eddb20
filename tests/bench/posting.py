"""REST clients for the load generator: each sends its share over one kept connection, an answer at a time."""

import asyncio
import json
import time
from typing import Any

from tests.bench.generator import DIGITS, Run

_BODY_SHARE = 0.97  # of a mail's octets; the rest is what the JSON needs around it


def request(key: str, size: int) -> tuple[bytes, bytes]:
    """A send of about `size` octets, as the contract has it: up to the mail's number, and behind it."""
    body = json.dumps(
        {
            "from": "sender@example.org",
            "recipient": "rcpt@example.net",
            "subject": f"Load {0:0{DIGITS}}",
            "body": "<p>" + "Hello, it is 145863. " * int(size * _BODY_SHARE / 21) + "</p>",
        }
    ).encode()
    head = (
        "POST /v1/transactional/email/send HTTP/1.1\r\nHost: bench.example\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    before, mark, after = body.partition(b"Load ")
    return head.encode() + before + mark, after[DIGITS:]


class Poster(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: Run, request: tuple[bytes, bytes]) -> None:
        self._run = run
        self._request = request
        self._buffer = b""
        self._started = 0.0
        self._over = False
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._say()

    def _say(self) -> None:
        self._started = time.perf_counter()
        self._transport.write(self._run.number().join(self._request))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        _, _, length = head.lower().partition(b"content-length:")
        if len(body) < int(length.partition(b"\r\n")[0]):
            return
        self._buffer = b""
        if not head.startswith(b"HTTP/1.1 201"):
            self._run.fail(f"expected 201, got {head[:40]!r} {body[:200]!r}")
            return
        self._run.latencies.append(time.perf_counter() - self._started)
        if not self._run.more():
            self._over = True
            self._transport.close()
            self._run.finished()
        elif (pause := self._run.pause()) > 0:
            asyncio.get_running_loop().call_later(pause, self._say)
        else:
            self._say()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._over:
            self._run.fail("connection lost")
