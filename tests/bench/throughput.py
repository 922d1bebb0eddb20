"""Mails accepted and delivered per second, end to end with real processes; prints a table or JSON.

    python -m tests.bench.throughput --mails 10000 --rounds 3

Everything shares this machine's cores: the load generator, Pillarbox (`up`: SQLite and the embedded Valkey, or others
by URL) and a counting sink. A mail counts as delivered when the sink has taken it. CPU time is that of all of
Pillarbox's processes, the embedded queue server included.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.measure import CountingSink, cpu_seconds, generate, load_options, memory
from tests.installation import Installation

CONFIGURATION = """
[providers.sink]
type = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
max_connections = {connections}

[limits]
sends_per_second = 0

[log]
level = "{level}"

[smtp]
processes = {doors}

[delivery]
processes = {workers}
"""

COLUMNS = ("accepted_per_second", "delivered_per_second", "p50_ms", "p99_ms", "cpu_per_1000", "memory_mib")


def installed(options: argparse.Namespace, directory: Path, port: int) -> Installation:
    """Pillarbox as the options have it, whose provider is the sink at the port; not started yet."""
    configuration = CONFIGURATION.format(
        port=port,
        connections=options.out,
        level=options.log,
        doors=options.doors or 1,
        workers=options.workers,
    )
    return Installation(directory, configuration, database=options.database, queue=options.queue)


def one_round(options: argparse.Namespace, beside: int | None = None) -> dict[str, float]:
    """One load from start to end. `beside` is the process of a database server, whose CPU and memory count too."""
    with CountingSink() as sink, tempfile.TemporaryDirectory(prefix="pb-bench-") as directory:
        with installed(options, Path(directory), sink.port) as installation:
            roots = [installation.up().popen.pid, *([beside] if beside else [])]
            before = sum(map(cpu_seconds, roots))
            started = time.perf_counter()
            port = installation.api_port if options.rest else installation.smtp_port
            accepted = generate(options, port, installation.key)
            sink.wait(accepted["accepted"], 600)
            seconds = time.perf_counter() - started
            # The last settlements follow the last delivery within moments.
            time.sleep(0.2)
            used = sum(map(cpu_seconds, roots)) - before
            held = sum(map(memory, roots))
            outcome = sink.outcome(accepted["accepted"])
    return {
        **outcome,
        "accepted_per_second": accepted["per_second"],
        "delivered_per_second": accepted["accepted"] / seconds,
        "p50_ms": accepted["p50_ms"],
        "p99_ms": accepted["p99_ms"],
        "cpu_per_1000": used / accepted["accepted"] * 1000,
        "memory_mib": held,
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=int, default=20, help="connections to the sink at most")
    parser.add_argument("--doors", type=int, help="processes of the SMTP door")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--log", default="info")
    parser.add_argument("--database", default="", help="URL; default: SQLite of a fresh data directory")
    parser.add_argument("--queue", default="", help="URL; default: the embedded server")


def table(rows: list[dict[str, float]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(f"{row[name]:.2f}" for name in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in COLUMNS}


def main() -> None:
    parser = load_options(__doc__)
    add_options(parser)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds = [one_round(options) for _ in range(options.rounds)]
    if options.json:
        print(json.dumps({"rounds": rounds, "medians": medians(rounds)}, indent=2))
    else:
        print(table([*rounds, medians(rounds)]))
        print("last row: medians")


if __name__ == "__main__":
    main()
