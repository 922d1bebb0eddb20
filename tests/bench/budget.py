"""Where the time of a mail goes: microseconds of CPU by process and thread, as the kernel counts it.

    python -m tests.bench.budget --mails 20000
    python -m tests.bench.budget --mails 20000 --postgres

One load of `tests.bench.throughput`, looked at from its first mail to its last; sink and generator are shown, too,
because they share the cores. Threads without a name of their own are those of libraries.
"""

import argparse
import contextlib
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.bench import throughput
from tests.bench.measure import CountingSink, generate, load_options, tree
from tests.faults.servers import OwnPostgres

_TICKS = os.sysconf("SC_CLK_TCK")
#: seconds between looks; what a thread uses after the last look before its end is missed
_EVERY = 0.05
Thread = tuple[int, int]


class Watch(threading.Thread):
    """Reads the CPU time of all threads below a process, over and over, as they come and go."""

    def __init__(self, roots: list[int]) -> None:
        super().__init__(daemon=True)
        self._roots = roots
        self._first: dict[Thread, int] = {}
        self._last: dict[Thread, tuple[str, str, int]] = {}
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_EVERY):
            self.look()

    def look(self) -> None:
        for root in self._roots:
            for pid in tree(root):
                self._process(pid)

    def _process(self, pid: int) -> None:
        try:
            process = Path(f"/proc/{pid}/comm").read_text().strip()
            for task in Path(f"/proc/{pid}/task").iterdir():
                opening, _, rest = (task / "stat").read_text().rpartition(")")
                used = sum(map(int, rest.split()[11:13]))
                key = (pid, int(task.name))
                self._first.setdefault(key, used)
                self._last[key] = (process, opening.partition("(")[2], used)
        except OSError:
            pass  # it has ended

    def end(self) -> Counter[tuple[str, str]]:
        """Seconds by process and thread."""
        self._over.set()
        self.join()
        self.look()
        used: Counter[tuple[str, str]] = Counter()
        for key, (process, thread, ticks) in self._last.items():
            used[process, "its own" if process == thread else thread] += ticks - self._first[key]
        return Counter({name: ticks / _TICKS for name, ticks in used.items()})


@contextlib.contextmanager
def record(options: argparse.Namespace) -> Iterator[str]:
    """The URL of the database that was asked for; empty for the one that `up` makes."""
    if not options.postgres:
        yield options.database
        return
    with tempfile.TemporaryDirectory(prefix="pb-pg-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        server = OwnPostgres(Path(name) / "server", shared_buffers="256MB")
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


def measure(options: argparse.Namespace) -> tuple[Counter[tuple[str, str]], float]:
    """Seconds of CPU by process and thread, and those that passed."""
    with CountingSink() as sink, tempfile.TemporaryDirectory(prefix="pb-budget-") as directory:
        with throughput.installed(options, Path(directory), sink.port) as installation:
            installation.up()
            # All of them descend from here: the relay, the sink, the generator, and a server that was made for it.
            watch = Watch([os.getpid()])
            watch.look()
            watch.start()
            started = time.perf_counter()
            port = installation.api_port if options.rest else installation.smtp_port
            accepted = generate(options, port, installation.key)
            sink.wait(accepted["accepted"], 600)
            seconds = time.perf_counter() - started
            return watch.end(), seconds


def table(used: Counter[tuple[str, str]], seconds: float, mails: int) -> str:
    lines = ["| process | thread | microseconds a mail |", "| --- | --- | ---: |"]
    for (process, thread), spent in used.most_common():
        if spent / mails * 1e6 >= 1:
            lines.append(f"| {process} | {thread} | {spent / mails * 1e6:.0f} |")
    lines.append(f"| **sum** | | **{sum(used.values()) / mails * 1e6:.0f}** |")
    there = seconds * (os.cpu_count() or 1) / mails * 1e6
    lines.append(f"| of what the cores had | | {there:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = load_options(__doc__)
    throughput.add_options(parser)
    parser.add_argument("--postgres", action="store_true", help="on a server made for it, which counts, too")
    options = parser.parse_args()
    with record(options) as options.database:
        used, seconds = measure(options)
    print(table(used, seconds, options.mails))
    print(f"\n{options.mails / seconds:,.0f} mails a second, end to end")


if __name__ == "__main__":
    main()
