"""The other side of a benchmark: an SMTP server that takes everything, counts it, and is not what is measured.

    python -m tests.bench.sink --port 2525

`tests.sink` can do far more, and costs a relay's neighbour on the same cores as much as some relays do. This one
reads no line twice and keeps nothing. It prints a line once it listens; SIGUSR1 and the end print counts as JSON.
"""

import argparse
import asyncio
import json
import os
import signal
from typing import Any

from tests.bench.generator import DIGITS, MARK
from tests.bench.loop import run

_EHLO = b"".join(
    b"250-%s\r\n" % line
    for line in (b"sink.example", b"PIPELINING", b"8BITMIME", b"SMTPUTF8", b"ENHANCEDSTATUSCODES")
) + (b"250 SIZE\r\n")
_REPLIES = {
    b"EHLO": _EHLO,
    b"HELO": b"250 sink.example\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}
_OK = b"250 2.0.0 Ok\r\n"
#: octets in which a mail's number stands
_OPENING = 8192


class Counts:
    """What has come."""

    def __init__(self) -> None:
        self.mails = 0
        self.octets = 0
        self.connections = 0
        self.numbers: set[bytes] = set()

    def show(self) -> None:
        figures = {
            "mails": self.mails,
            "different": len(self.numbers),
            "octets": self.octets,
            "connections": self.connections,
        }
        print(json.dumps({**figures, "cpu": sum(os.times()[:2])}), flush=True)


class Taker(asyncio.Protocol):
    """One connection."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._pieces: list[bytes] = []
        self._tail = b""
        self._reading = False
        self._octets = 0
        #: what has come of a mail whose number has not been seen yet
        self._opening: bytes | None = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._counts.connections += 1
        transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        answer: list[bytes] = []
        rest = data
        while rest:
            rest = self._mail(rest, answer) if self._reading else self._commands(rest, answer)
        if answer:
            self._transport.write(b"".join(answer))
            if answer[-1].startswith(b"221"):
                self._transport.close()

    def _commands(self, data: bytes, answer: list[bytes]) -> bytes:
        """Up to DATA; what follows is returned."""
        if self._tail:
            data, self._tail = self._tail + data, b""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            verb = data[start : start + 4].upper()
            start = end + 1
            answer.append(_REPLIES.get(verb, _OK))
            if verb == b"DATA":
                self._reading = True
                # A mail that is empty begins with its end.
                self._tail = b"\r\n"
                self._opening = b""
                return data[start:]
        self._tail = data[start:]
        return b""

    def _mail(self, data: bytes, answer: list[bytes]) -> bytes:
        """Up to the end of the mail; what follows is returned. The end may come in pieces."""
        if self._opening is not None:
            self._look(data)
        seam = self._tail + data[:4]
        found = seam.find(b"\r\n.\r\n")
        if found >= 0:
            end = found + 5 - len(self._tail)
        else:
            found = data.find(b"\r\n.\r\n")
            end = found + 5 if found >= 0 else 0
        if not end:
            self._octets += len(data)
            self._tail = (self._tail + data[-4:])[-4:]
            return b""
        counts = self._counts
        counts.mails += 1
        counts.octets += self._octets + end - 5
        answer.append(b"250 2.0.0 Ok: queued as %X\r\n" % counts.mails)
        self._octets = 0
        self._reading = False
        self._tail = b""
        return data[end:]

    def _look(self, data: bytes) -> None:
        """For the mail's number, in the beginning of the mail."""
        assert self._opening is not None
        opening = self._opening + data[:_OPENING] if self._opening else data
        at = opening.find(MARK, 0, _OPENING)
        if at >= 0 and len(opening) >= at + len(MARK) + DIGITS:
            at += len(MARK)
            self._counts.numbers.add(opening[at : at + DIGITS])
            self._opening = None
        else:
            self._opening = opening if len(opening) < _OPENING else None


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    counts, stopping = Counts(), asyncio.Event()
    server = await loop.create_server(lambda: Taker(counts), "127.0.0.1", port, backlog=1024)
    loop.add_signal_handler(signal.SIGUSR1, counts.show)
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGINT, stopping.set)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopping.wait()
    server.close()
    counts.show()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--port", type=int, default=0, help="0 picks a free one; the first line printed has it"
    )
    run(main(parser.parse_args().port))
