"""Whether workers on several hosts add up: each has so much of a core and no more, and all share one record.

    python -m tests.bench.hosts --hosts 1 2 3 --share 0.25

Stands in for several machines on one. A worker's processes are held to a share of a core (a control group's quota,
which takes root), small enough that PostgreSQL, the queue server and the sink, which are not held, have cores to
spare, as on machines of their own. Mail is handed in while the workers are stopped, so that they never wait for it;
measured is what arrives between the first and the last fifth of it, once all of them go on at the same moment.
Rounds alternate. Prints a table.
"""

import argparse
import contextlib
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from relay.embedded import EmbeddedValkey
from tests.bench.measure import CountingSink, cpu_seconds, generate, load_options, tree
from tests.bench.throughput import CONFIGURATION
from tests.faults.servers import OwnPostgres
from tests.installation import Installation, Process
from tests.services import short_directory

#: microseconds in which a host may use its share: short ones come near to a slower processor
_PERIOD = 10_000
_GROUPS = Path("/sys/fs/cgroup")
#: mails that show that all parts are awake
_FIRST = 200


class Share:
    """A control group whose processes have together so much of a core."""

    def __init__(self, name: str, cores: float) -> None:
        quota = int(cores * _PERIOD)
        old = (_GROUPS / "cpu").is_dir()
        self._path = (_GROUPS / "cpu" if old else _GROUPS) / f"pillarbox-bench-{os.getpid()}-{name}"
        try:
            self._path.mkdir()
            if old:
                (self._path / "cpu.cfs_period_us").write_text(str(_PERIOD))
                (self._path / "cpu.cfs_quota_us").write_text(str(quota))
            else:
                (self._path / "cpu.max").write_text(f"{quota} {_PERIOD}")
        except OSError as error:
            self.remove()
            raise SystemExit(f"processes cannot be held to a share of a core here: {error}") from None

    def take(self, root: int) -> None:
        """A process and its descendants."""
        for pid in tree(root):
            (self._path / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Once its processes have ended."""
        with contextlib.suppress(OSError):
            self._path.rmdir()


class Cluster:
    """A record, a queue server, a door, a clock, and workers on hosts of their own."""

    def __init__(self, options: argparse.Namespace, hosts: int, sink: CountingSink) -> None:
        self._options = options
        self._hosts = hosts
        self._sink = sink
        self._parts = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as parts:
            directory = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="pb-hosts-", dir="/tmp")))
            directory.chmod(0o755)
            self.postgres = OwnPostgres(directory / "server", shared_buffers="256MB")
            self.postgres.start()
            parts.callback(self.postgres.stop)
            valkey = EmbeddedValkey(short_directory())
            valkey.start(30)
            parts.callback(valkey.stop)
            held = self._hosts if self._options.share else 0
            shares = [Share(str(number), self._options.share) for number in range(held)]
            for share in shares:
                parts.callback(share.remove)
            configuration = CONFIGURATION.format(
                port=self._sink.port,
                connections=self._options.out,
                level="info",
                doors=1,
                workers=1,
            )
            urls = {"database": self.postgres.url, "queue": f"unix://{valkey.socket}"}
            self._installation = parts.enter_context(Installation(directory, configuration, **urls))
            self.workers = self._installation.fleet(workers=self._hosts)[2 : 2 + self._hosts]
            self._hand_in(_FIRST)
            self._sink.wait(_FIRST, 60)
            for share, worker in zip(shares, self.workers, strict=False):
                share.take(worker.popen.pid)
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def _hand_in(self, mails: int) -> None:
        options = argparse.Namespace(**{**vars(self._options), "mails": mails})
        generate(options, self._installation.smtp_port, self._installation.key)

    def send(self) -> dict[str, float]:
        """Mails a second, and cores used meanwhile by the workers and by PostgreSQL."""
        _signal(self.workers, signal.SIGSTOP)
        self._hand_in(self._options.mails)
        marks = [_FIRST + self._options.mails * fifths // 5 for fifths in (1, 4, 5)]
        _signal(self.workers, signal.SIGCONT)
        began, before = self._at(marks[0])
        ended, after = self._at(marks[1])
        self._sink.wait(marks[2], 300)
        came = self._sink.figures()
        # Numbers begin anew after the first ones.
        different = max(_FIRST, self._options.mails)
        outcome = {"lost": different - came["different"], "doubled": came["mails"] - marks[2]}
        seconds = ended - began
        worker, server = ((late - early) / seconds for early, late in zip(before, after, strict=True))
        rate = (marks[1] - marks[0]) / seconds
        return {"rate": rate, "worker": worker, "server": server, **outcome}

    def _at(self, mails: int) -> tuple[float, tuple[float, float]]:
        """When so many have come, and the CPU time of workers and server until then."""
        self._sink.wait(mails, 300)
        moment = time.perf_counter()
        worker = sum(cpu_seconds(one.popen.pid) for one in self.workers)
        return moment, (worker, cpu_seconds(self.postgres.pid))


def _signal(workers: list[Process], number: signal.Signals) -> None:
    for worker in workers:
        for pid in tree(worker.popen.pid):
            os.kill(pid, number)


def rounds(options: argparse.Namespace) -> Iterator[tuple[int, dict[str, float]]]:
    for _ in range(options.rounds):
        for hosts in options.hosts:
            # A sink for each: it counts from nothing, and numbers of mails begin again.
            with CountingSink() as sink, Cluster(options, hosts, sink) as cluster:
                yield hosts, cluster.send()


def table(found: dict[int, list[dict[str, float]]]) -> str:
    lines = [
        "| hosts | mails/s | for each host | beside one host | workers, cores | PostgreSQL, cores | lost | doubled |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    first = None
    for hosts, rows in found.items():
        rates = [row["rate"] for row in rows]
        rate = statistics.median(rates)
        first = first or rate / hosts
        worker, server = (statistics.median(row[name] for row in rows) for name in ("worker", "server"))
        lost, doubled = (sum(row[name] for row in rows) for name in ("lost", "doubled"))
        lines.append(
            f"| {hosts} | {rate:,.0f} [{min(rates):,.0f} to {max(rates):,.0f}] | {rate / hosts:,.0f} |"
            f" {rate / first:.2f} | {worker:.2f} | {server:.2f} | {lost:.0f} |"
            f" {doubled:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = load_options(__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2, 3], help="numbers of them")
    parser.add_argument("--share", type=float, default=0.25, help="of a core, for each host; 0: all they get")
    parser.add_argument("--out", type=int, default=20, help="connections of a host to the sink at most")
    options = parser.parse_args()
    found: dict[int, list[dict[str, float]]] = {hosts: [] for hosts in options.hosts}
    for hosts, row in rounds(options):
        found[hosts].append(row)
    print(table(found))


if __name__ == "__main__":
    main()
