"""What every benchmark needs: CPU time and memory of a process tree, a counting sink, a run of the generator."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.installation import free_port

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def tree(root: int) -> Iterator[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += parents.get(pid, [])


def cpu_seconds(root: int) -> float:
    """User and system time of a process and all that descend from it, waited-for children included."""
    total = 0.0
    for pid in tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / _TICKS
    return total


def memory(root: int) -> float:
    """Proportional set size of a process tree in MiB: shared pages count once."""
    total = 0
    for pid in tree(root):
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


class CountingSink:
    """`tests.bench.sink` in a process of its own."""

    def __enter__(self) -> Self:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.sink", "--port", str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def count(self) -> int:
        """Mails that have come, each as often as it came."""
        return self.figures()["mails"]

    def figures(self) -> dict[str, int]:
        """`mails`, and how many `different` ones."""
        self._process.send_signal(signal.SIGUSR1)
        figures: dict[str, int] = json.loads(self._read())
        return figures

    def outcome(self, accepted: int) -> dict[str, float]:
        """What was lost of so many, and what came more than once, as columns of a result."""
        came = self.figures()
        return {"lost": accepted - came["different"], "doubled": came["mails"] - came["different"]}

    def wait(self, count: int, seconds: float) -> None:
        """Until `count` mails have arrived; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while self.count() < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.count()} of {count} mails arrived within {seconds:.0f} s")
            time.sleep(0.02)

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def generate(options: argparse.Namespace, port: int, key: str = "") -> dict[str, Any]:
    """Run the load generator to its end; returns what it measured. Raises RuntimeError with its words."""
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.bench.generator",
            "--port", str(port),
            "--key", key,
            "--mails", str(options.mails),
            "--connections", str(options.connections),
            "--size", str(options.size),
            "--rate", str(getattr(options, "rate", 0)),
            *(["--pipelined"] if options.pipelined else []),
            *(["--reconnect"] if getattr(options, "reconnect", False) else []),
            *(["--rest"] if getattr(options, "rest", False) else []),
        ],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=600,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def load_options(description: str | None) -> argparse.ArgumentParser:
    """The options that describe a load."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mails", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=4096, help="octets of a mail")
    parser.add_argument("--connections", type=int, default=20, help="client connections, kept open")
    parser.add_argument("--pipelined", action="store_true", help="MAIL, RCPT and DATA in one write")
    parser.add_argument("--reconnect", action="store_true", help="a connection for every mail")
    parser.add_argument("--rest", action="store_true", help="by REST, as JSON, where there is such a door")
    parser.add_argument("--rate", type=float, default=0, help="mails a second; 0 is as fast as may be")
    return parser
