"""How long it takes to hold, release and take away a queue of 100,000, by one command and by one call.

    python -m tests.bench.interventions --count 100000

The mail is in the record before anything starts. A REST door and nobody else is at work, so that nothing but the
action changes the queue; what each action says it has changed is printed with its seconds.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from relay.config import load
from tests.bench.urgent import fill
from tests.faults.servers import OwnPostgres
from tests.installation import Installation, wait_for
from tests.services import short_directory

_FILTER = {"lane": "bulk", "recipient_domain": "example.net"}


def by_command(installation: Installation, *arguments: str) -> int:
    done = installation.run(
        "queue", *arguments, "--lane", "bulk", "--to-domain", "example.net", "--yes", "--json"
    )
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["changed"])


def by_call(installation: Installation, action: str) -> tuple[int, int]:
    """How many were changed, and in how many calls."""
    changed = calls = 0
    cursor: str | None = None
    while True:
        asked: dict[str, Any] = {"filter": _FILTER, **({"cursor": cursor} if cursor else {})}
        status, answer = installation.request(f"/v1/queue/{action}", asked)
        assert status == 200, answer
        changed, calls, cursor = changed + answer["changed"], calls + 1, answer["next_cursor"]
        if answer["complete"]:
            return changed, calls


def measure(directory: Path, count: int, **urls: str) -> None:
    with Installation(directory, **urls) as installation:
        assert installation.run("migrate").returncode == 0
        asyncio.run(fill(load(installation.config).database_url, count))
        made = installation.run("keys", "create", "--scope", "admin", "--scope", "manage")
        installation.key = made.stdout.strip()
        door = installation.start("api")
        wait_for(lambda: "listening" in door.output, "the door's opening")
        kind = "PostgreSQL" if urls else "SQLite"
        for action in ("hold", "release"):
            began = time.monotonic()
            print(
                kind, "command", action, by_command(installation, action), f"{time.monotonic() - began:.1f} s"
            )
        for action in ("hold", "release", "cancel"):
            began = time.monotonic()
            changed, calls = by_call(installation, action)
            print(
                kind,
                "call",
                action,
                changed,
                f"in {calls} calls, {time.monotonic() - began:.1f} s",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory(prefix="pb-bench-") as directory:
        measure(Path(directory), count)
    root = short_directory("pb-bench-")
    root.chmod(0o755)
    server = OwnPostgres(root)
    server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="pb-bench-") as directory:
            measure(Path(directory), count, database=server.url)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
