"""A load generator lean enough not to be what is measured: one client per connection, on asyncio protocols.

Run as a process of its own; prints one JSON line with what it saw.
"""

import argparse
import asyncio
import base64
import json
import time
from typing import Any

from relay.core.mime import base64_lines
from tests.bench.loop import run

#: what the sink finds a mail's number by; it has `DIGITS` digits
MARK = b"Subject: Load "
DIGITS = 8


def make_mail(size: int, number: int = 0) -> bytes:
    """A mail of about `size` octets: text and HTML alternatives, as transactional mail looks."""
    head = (
        f"From: Sender <sender@example.org>\r\nTo: rcpt@example.net\r\n{MARK.decode()}{number:0{DIGITS}}\r\n"
        "Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=frontier\r\n\r\n"
        "--frontier\r\nContent-Type: text/plain\r\n\r\nHello\r\n--frontier\r\n"
        "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ).encode()
    filler = base64_lines(b"x" * max(0, int((size - len(head) - 20) * 0.73)))
    return head + filler + b"--frontier--\r\n"


#: what is said, or None for the next mail, and how the replies to it begin
Stage = tuple[bytes | None, list[bytes]]


class Client(asyncio.Protocol):
    """Sends its share of mails over one connection, one reply at a time or pipelined."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._buffer = b""
        self._expect: list[bytes] = [b"220"]
        self._stage = 0
        self._started = 0.0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            line, newline, rest = self._buffer.partition(b"\r\n")
            if not newline:
                return
            self._buffer = rest
            if line[3:4] == b"-":
                continue
            if not line.startswith(self._expect[0]):
                self._run.fail(f"expected {self._expect[0]!r}, got {line!r}")
                return
            self._expect.pop(0)
            if not self._expect:
                self._next()

    def _next(self) -> None:
        run = self._run
        stages = run.stages
        if self._stage == len(stages):
            run.latencies.append(time.perf_counter() - self._started)
            self._stage = run.first_mail_stage
            more = run.more()
            if not more or run.reconnect:
                self.transport.write(b"QUIT\r\n")
                self._expect = [b"221"]
                self._stage = -2 if more else -1
                return
        elif self._stage < 0:
            self.transport.close()
            run.another() if self._stage == -2 else run.finished()
            return
        if self._stage == run.first_mail_stage and (pause := run.pause()) > 0:
            self._expect = [b"until then nothing is due"]
            asyncio.get_running_loop().call_later(pause, self._say)
            return
        self._say()

    def _say(self) -> None:
        run = self._run
        stages = run.stages
        command, expected = stages[self._stage]
        if self._stage == run.first_mail_stage:
            self._started = time.perf_counter()
        self._stage += 1
        self._expect = list(expected)
        self.transport.write(run.next_mail() if command is None else command)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._stage >= 0:
            self._run.fail("connection lost")


class Run:
    """One measured load."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.latencies: list[float] = []
        self._left = options.mails
        self._open = options.connections
        self._where = (options.host, options.port)
        #: one mail per connection
        self.reconnect = options.reconnect
        self._opening: set[asyncio.Task[Any]] = set()
        #: seconds between two mails of all clients together, and when the next is due
        self._every = 1 / options.rate if options.rate else 0.0
        self._due = 0.0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._error = ""
        #: a mail up to its number, and behind it
        opening_part, _, closing = make_mail(options.size).partition(MARK)
        self._mail = opening_part + MARK, closing[DIGITS:] + b".\r\n"
        self._number = 0
        envelope = (
            b"MAIL FROM:<sender@example.org>\r\n",
            b"RCPT TO:<rcpt@example.net>\r\n",
            b"DATA\r\n",
        )
        login = base64.b64encode(f"\0bench\0{options.key}".encode()) if options.key else b""
        opening: list[Stage] = [(b"EHLO bench.example\r\n", [b"250"])]
        if login:
            opening.append((b"AUTH PLAIN " + login + b"\r\n", [b"235"]))
        mails: list[Stage]
        if options.pipelined:
            mails = [(b"".join(envelope), [b"250", b"250", b"354"])]
        else:
            mails = [(envelope[0], [b"250"]), (envelope[1], [b"250"]), (envelope[2], [b"354"])]
        mails.append((None, [b"250"]))
        self.stages = opening + mails
        self.first_mail_stage = len(opening)
        self.mail_size = sum(map(len, self._mail)) + DIGITS - 3
        self._request: tuple[bytes, bytes] | None = None
        if options.rest:
            from tests.bench.posting import request

            self._request = request(options.key, options.size)
        self._left -= self._open

    def number(self) -> bytes:
        """The next mail's."""
        self._number += 1
        return b"%0*d" % (DIGITS, self._number)

    def next_mail(self) -> bytes:
        """With the end of its data."""
        return self.number().join(self._mail)

    def more(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def pause(self) -> float:
        """Seconds until the next mail is due, where mails come at a rate."""
        if not self._every:
            return 0.0
        now = asyncio.get_running_loop().time()
        self._due = max(self._due + self._every, now)
        return self._due - now

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(self._client, *self._where)

    def _client(self) -> asyncio.Protocol:
        if self._request is None:
            return Client(self)
        from tests.bench.posting import Poster

        return Poster(self, self._request)

    def another(self) -> None:
        task = asyncio.get_running_loop().create_task(self.connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def finished(self) -> None:
        self._open -= 1
        if not self._open and not self._done.done():
            self._done.set_result(None)

    def fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(why))

    async def wait(self) -> None:
        await self._done


async def main(options: argparse.Namespace) -> dict[str, float]:
    run = Run(options)
    started = time.perf_counter()
    for _ in range(options.connections):
        await run.connect()
    await run.wait()
    seconds = time.perf_counter() - started
    latencies = sorted(run.latencies)
    return {
        "accepted": len(latencies),
        "seconds": seconds,
        "per_second": len(latencies) / seconds,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
        "mail_size": run.mail_size,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default="")
    parser.add_argument("--mails", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--pipelined", action="store_true")
    parser.add_argument("--reconnect", action="store_true", help="a connection for every mail")
    parser.add_argument("--rest", action="store_true", help="by REST, as JSON")
    parser.add_argument("--rate", type=float, default=0, help="mails a second; 0 is as fast as may be")
    arguments = parser.parse_args()
    print(json.dumps(run(main(arguments))))
