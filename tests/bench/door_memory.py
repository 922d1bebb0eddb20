"""Memory of the SMTP door under what should make it grow; prints a table, in MiB of resident memory.

    python -m tests.bench.door_memory
    python -m tests.bench.door_memory --clients 50 --megabytes 5 --idle 500 --endless 64

The door is a process of its own with a record (SQLite) behind it, and default settings but for the numbers of
connections it takes.
"""

import argparse
import asyncio
import base64
import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.installation import Installation, wait_for

_CONFIGURATION = """
[smtp]
max_connections = 10000
max_connections_per_address = 0
max_connections_per_account = 0

[log]
level = "error"
"""

_PIECE = b"x" * 65_536
_LINES = (b"x" * 76 + b"\r\n") * 840


@dataclass(frozen=True, slots=True)
class Measured:
    """MiB resident: before, at the worst, and octets that the clients could send."""

    what: str
    before: float
    peak: float
    sent: int

    def __str__(self) -> str:
        grown = self.peak - self.before
        return f"{self.what:48} {self.before:7.1f} {self.peak:7.1f} {grown:+7.1f}   {self.sent / 2**20:8.1f} MiB sent"


class Door:
    """A door process with a key and a record of its own."""

    def __init__(self, folder: Path) -> None:
        self._here = Installation(folder, _CONFIGURATION)
        assert self._here.run("migrate").returncode == 0
        self.login = base64.b64encode(f"\0x\0{self._here.run('keys', 'create').stdout.strip()}".encode())
        self.port = self._here.smtp_port
        process = self._here.start("smtp")
        self._status = Path(f"/proc/{process.popen.pid}/status")
        wait_for(self._listens, "the door's opening")

    def _listens(self) -> bool:
        import socket

        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def start_measuring(self) -> float:
        """Forget the peak so far; returns what is resident now."""
        self._status.with_name("clear_refs").write_text("5")
        return self.memory("VmRSS")

    def memory(self, which: str) -> float:
        """`VmRSS` now, `VmHWM` at the worst, in MiB."""
        for line in self._status.read_text().splitlines():
            if line.startswith(which):
                return int(line.split()[1]) / 1024
        raise AssertionError(which)

    def close(self) -> None:
        self._here.__exit__()


class Client:
    """One connection that does not wait longer than it has to."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.sent = 0

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._door.port)
        await self.reply()

    async def reply(self) -> bytes:
        while True:
            line = await self.reader.readline()
            if line[3:4] != b"-":
                return line

    async def ask(self, command: bytes) -> bytes:
        self.writer.write(command + b"\r\n")
        return await self.reply()

    async def begin(self) -> None:
        await self.ask(b"EHLO bench.example")
        assert (await self.ask(b"AUTH PLAIN " + self._door.login)).startswith(b"235")
        await self.ask(b"MAIL FROM:<a@example.org>")
        await self.ask(b"RCPT TO:<b@example.net>")
        assert (await self.ask(b"DATA")).startswith(b"354")

    async def pour(self, piece: bytes, octets: int) -> None:
        """Send until the door has had enough."""
        with contextlib.suppress(ConnectionError):
            while self.sent < octets:
                self.writer.write(piece)
                self.sent += len(piece)
                await self.writer.drain()

    def close(self) -> None:
        self.writer.close()


async def _endless(door: Door, octets: int, *, in_data: bool) -> int:
    client = Client(door)
    await client.open()
    if in_data:
        await client.begin()
    await client.pour(_PIECE, octets)
    client.close()
    return client.sent


async def _crowd(door: Door, clients: int, octets: int) -> int:
    everybody = [Client(door) for _ in range(clients)]

    async def one(client: Client) -> None:
        await client.open()
        await client.begin()
        client.writer.write(b"From: a@example.org\r\n\r\n")
        await client.pour(_LINES, octets - 200_000)
        reply = await client.ask(b".")
        assert reply.startswith(b"250"), reply
        client.close()

    await asyncio.gather(*(one(client) for client in everybody))
    return sum(client.sent for client in everybody)


async def _idle(door: Door, connections: int) -> int:
    everybody = [Client(door) for _ in range(connections)]
    for client in everybody:
        await client.open()
        await client.ask(b"EHLO bench.example")
    assert door.memory("VmRSS") > 0
    for client in everybody:
        client.close()
    return 0


def measure(*, clients: int, megabytes: int, idle: int, endless: int) -> list[Measured]:
    """Each case, those that take least first, since memory is seldom given back; sizes in MiB."""
    cases = (
        (f"{idle} idle connections", lambda d: _idle(d, idle)),
        (f"one command line of {endless} MiB", lambda d: _endless(d, endless << 20, in_data=False)),
        (f"one line of data of {endless} MiB", lambda d: _endless(d, endless << 20, in_data=True)),
        (f"{clients} clients with {megabytes} MiB each", lambda d: _crowd(d, clients, megabytes << 20)),
    )
    found = []
    with tempfile.TemporaryDirectory(prefix="pb-memory-") as folder:
        door = Door(Path(folder))
        try:
            for what, case in cases:
                before = door.start_measuring()
                sent = asyncio.run(case(door))
                found.append(Measured(what, before, door.memory("VmHWM"), sent))
        finally:
            door.close()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=25)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--endless", type=int, default=256)
    print(f"{'':48} {'before':>7} {'peak':>7} {'grown':>7}")
    for one in measure(**vars(parser.parse_args())):
        print(one, flush=True)
