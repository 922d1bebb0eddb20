"""Mails per second through the SMTP door alone, beside stock aiosmtpd, in turns on the same cores.

    python -m tests.bench.door --rounds 3

Both take a mail with AUTH over 20 connections and drop it: what is compared is the protocol, not the record behind
it. The load generator shares the machine.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.installation import free_port, wait_for

SIZES = {4096: 6000, 50 * 1024: 3000, 1024 * 1024: 300}


async def _serve_ours(port: int, processes: int) -> None:
    from relay.config import Settings
    from relay.core.clock import now
    from relay.core.identity import Identity
    from relay.core.message import Accepted, Submission
    from relay.observe import logs
    from relay.sections import ListenerSettings, LogSettings, SmtpSettings
    from relay.smtp.server import Server

    logs.configure(LogSettings(level="warning"), role="smtp")
    numbers = itertools.count(1)

    class Nobody:
        """Lets everybody in and keeps nothing."""

        identity = Identity(1, 1, "a", None, frozenset({"send"}), None, ("*",))

        async def accept(self, _submission: Submission) -> Accepted:
            return Accepted(next(numbers), now())

        async def identify(self, _secret: str, _peer: str | None = None) -> Identity:
            return self.identity

        async def account(self, _name: str) -> Identity:
            return self.identity

        def knows(self, _account_id: int) -> bool:
            return True

        def check_known(self, _account_id: int, _address: str) -> None:
            pass

        async def check(self, _account_id: int, _address: str) -> None:
            pass

    with tempfile.TemporaryDirectory(prefix="pb-door-") as folder:
        smtp = SmtpSettings(
            hostname="bench.example", listeners=(ListenerSettings(port=port),), processes=processes
        )
        nobody = Nobody()
        server = Server(Settings(data_dir=Path(folder), smtp=smtp), nobody, nobody, nobody)
        await server.start()
        await _until_term()
        await server.stop()


async def _serve_stock(port: int, _processes: int) -> None:
    import logging

    from aiosmtpd.smtp import SMTP, AuthResult

    logging.getLogger("mail.log").setLevel(logging.ERROR)

    class Handler:
        async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802
            return "250 2.0.0 queued"

    def factory() -> SMTP:
        return SMTP(
            Handler(),
            authenticator=lambda *_: AuthResult(success=True),
            auth_require_tls=False,
            data_size_limit=25 * 2**20,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", port, reuse_port=True)
    await _until_term()
    server.close()


async def _until_term() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    await stop.wait()


def one_round(kind: str, size: int, processes: int, mails: int) -> float:
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.door", "--serve", kind, "--port", str(port)]
    doors = [
        subprocess.Popen([*command, "--processes", str(processes)], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    try:
        for door in doors:
            assert door.stdout is not None
            assert door.stdout.readline() == "ready\n"
        load = [sys.executable, "-m", "tests.bench.generator", "--port", str(port), "--size", str(size)]
        load += ["--mails", str(mails), "--key", "key", "--connections", "20"]
        done = subprocess.run(load, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return float(json.loads(done.stdout)["per_second"])
    finally:
        for door in doors:
            door.terminate()
        for door in doors:
            wait_for(lambda door=door: door.poll() is not None, "the door's end")  # type: ignore[misc]


def main(rounds: int, scale: float) -> None:
    print(f"{os.cpu_count()} cores, {rounds} rounds in turns, median of mails per second\n")
    print(f"{'size':>10} {'processes':>10} {'Pillarbox':>10} {'aiosmtpd':>10} {'ratio':>7}")
    for size, mails in SIZES.items():
        for processes in (1, 2):
            found: dict[str, list[float]] = {"ours": [], "stock": []}
            for _ in range(rounds):
                for kind, rates in found.items():
                    count = max(40, int(mails * scale * (0.25 if kind == "stock" else 1)))
                    rates.append(one_round(kind, size, processes, count))
            ours, stock = (statistics.median(rates) for rates in found.values())
            print(f"{size:10,} {processes:10} {ours:10,.0f} {stock:10,.0f} {ours / stock:6.1f}x", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of mails")
    parser.add_argument("--serve", choices=("ours", "stock"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serving = _serve_ours if options.serve == "ours" else _serve_stock
        asyncio.run(serving(options.port, options.processes))
    else:
        main(options.rounds, options.scale)
