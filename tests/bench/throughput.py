"""Mails accepted and delivered per second, end to end with real processes; prints a table and, if asked, JSON.

    python -m tests.bench.throughput --mails 10000 --rounds 3

Everything shares this machine's cores: the load generator, Pillarbox (`up`: SQLite with synchronous=FULL and the
embedded Valkey, or PostgreSQL and Valkey by URL) and the counting sink. CPU time is that of all of Pillarbox's
processes, the queue server included.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.installation import Installation, free_port, wait_for

_TICKS = os.sysconf("SC_CLK_TCK")

_CONFIGURATION = """
[providers.sink]
type = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
max_connections = {connections}

[log]
level = "{level}"

[smtp]
processes = {doors}

[delivery]
processes = {workers}
"""


def cpu_seconds(root: int) -> float:
    """User and system time of a process and all that descend from it, the ended ones included."""
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
            used[int(entry.name)] = sum(map(int, fields[11:15])) / _TICKS
    total, waiting = 0.0, [root]
    while waiting:
        pid = waiting.pop()
        total += used.get(pid, 0.0)
        waiting += parents.get(pid, [])
    return total


def one_round(options: argparse.Namespace) -> dict[str, Any]:
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with tempfile.TemporaryDirectory(prefix="pb-bench-") as directory:
        sink = subprocess.Popen(
            [sys.executable, "-m", "tests.sink", "--port", str(port), "--count-only"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            assert sink.stdout is not None
            sink.stdout.readline()
            configuration = _CONFIGURATION.format(
                port=port,
                connections=options.out,
                level=options.log,
                doors=options.doors,
                workers=options.workers,
            )
            with Installation(
                Path(directory), configuration, database=options.database, queue=options.queue
            ) as installation:
                process = installation.up()
                before = cpu_seconds(process.popen.pid)
                started = time.perf_counter()
                generator = subprocess.run(
                    [
                        sys.executable, "-m", "tests.bench.generator",
                        "--port", str(installation.smtp_port),
                        "--key", installation.key,
                        "--mails", str(options.mails),
                        "--connections", str(options.connections),
                        "--size", str(options.size),
                        *(["--pipelined"] if options.pipelined else []),
                    ],
                    capture_output=True, text=True, env=environment, timeout=600,
                )  # fmt: skip
                if generator.returncode:
                    raise SystemExit(generator.stderr + process.output[-2000:])
                accepted = json.loads(generator.stdout)
                count = accepted["accepted"]
                wait_for(lambda: _settled(installation) >= count, "delivery", 600)
                seconds = time.perf_counter() - started
                used = cpu_seconds(process.popen.pid) - before
        finally:
            sink.send_signal(signal.SIGTERM)
            counted = sink.communicate(timeout=30)[0]
    return {
        "accepted_per_second": accepted["per_second"],
        "delivered_per_second": count / seconds,
        "p50_ms": accepted["p50_ms"],
        "p99_ms": accepted["p99_ms"],
        "cpu_per_1000": used / count * 1000,
        "mails": count,
        "sink": counted.strip(),
    }


def _settled(installation: Installation) -> int:
    """How many recipients are settled, asked of the record itself: the list API would be part of the load."""
    import asyncio

    import sqlalchemy as sa

    from relay.config import load
    from relay.store import tables as t
    from relay.store.database import open_database

    async def count() -> int:
        database = open_database(load(installation.config).database_url)
        try:
            return await database.read(
                lambda c: c.execute(
                    sa.select(sa.func.count()).select_from(t.recipient).where(t.recipient.c.state == "done")
                ).scalar_one()
            )
        finally:
            await database.close()

    time.sleep(0.1)
    return asyncio.run(count())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--connections", type=int, default=20, help="client connections")
    parser.add_argument("--out", type=int, default=20, help="connections to the sink at most")
    parser.add_argument("--pipelined", action="store_true", help="MAIL, RCPT and DATA in one write")
    parser.add_argument("--doors", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--log", default="info")
    parser.add_argument("--database", default="", help="URL; default: SQLite of a fresh data directory")
    parser.add_argument("--queue", default="", help="URL; default: the embedded server")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds = [one_round(options) for _ in range(options.rounds)]
    if options.json:
        print(json.dumps(rounds, indent=2))
        return
    columns = ("accepted_per_second", "delivered_per_second", "p50_ms", "p99_ms", "cpu_per_1000")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for one in [*rounds, {name: statistics.median(r[name] for r in rounds) for name in columns}]:
        print("| " + " | ".join(f"{one[name]:.2f}" for name in columns) + " |")
    print("last row: medians; sink:", rounds[-1]["sink"])


if __name__ == "__main__":
    main()
