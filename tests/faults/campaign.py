"""One installation, a load on it, one fault after the other, and a count of what became of every mail."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from relay.embedded import EmbeddedValkey
from tests import debian, services
from tests.faults import rig
from tests.faults.load import Answer, Door, Load, Unit
from tests.faults.servers import OwnPostgres
from tests.installation import Installation, Process, free_port, wait_for
from tests.sink import Sink
from tests.sink_session import Fault, Received

#: seconds after which a silent worker's mail is given to another
LEASE = 4
ROOT = Path(__file__).parents[2]

_CONFIGURATION = """
[log]
format = "json"
[smtp]
processes = 2
[delivery]
processes = 2
lease = {lease}
[delivery.retry]
delays = [1, 2]
jitter = 0
[providers.far]
type = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
connect_timeout = 2
[routes.default]
use = "far"
[routes.circuit]
pause = 1
longest_pause = 2
"""


_FLEET = {"PILLARBOX_API__PROCESSES": "2", "PILLARBOX_SMTP__MAX_LAG": "60"}


class Counting(Sink):
    """Notes when each mail came; drops the line after some of them, or refuses, as told."""

    def __init__(self) -> None:
        # It goes away and comes back: nobody else may be given its port in between.
        super().__init__(port=free_port())
        self.times: dict[str, list[float]] = {}
        #: share of mails after which the line is dropped; those that were
        self.drop = 0.0
        self.dropped: list[str] = []
        #: what every recipient is told, and who was told 5xx
        self.refusal: str | None = None
        self.refused: set[str] = set()
        self._dice = random.Random(4)

    def took(self, size: int, make: Callable[[], Received]) -> None:
        mail = make()
        with self._news:
            for address in mail.recipients:
                self.times.setdefault(address, []).append(time.time())
        super().took(size, lambda: mail)

    def fault(self, *wanted: Fault) -> Fault | None:
        if self.drop and Fault.CLOSE_AFTER_DATA in wanted and self._dice.random() < self.drop:
            self.dropped.append(self.mails[-1].recipients[0])
            return Fault.CLOSE_AFTER_DATA
        return super().fault(*wanted)

    def reply_to(self, recipient: str) -> str | None:
        if self.refusal is not None:
            if self.refusal.startswith("5"):
                self.refused.add(recipient)
            return self.refusal
        return super().reply_to(recipient)


class Rigged(Installation):
    """An installation whose processes have the rig's places; see `tests.faults.rig`."""

    environment: dict[str, str]

    def start(self, *arguments: str) -> Process:
        process = Process(
            [*arguments, "--config", str(self.config)],
            self.directory,
            self.environment,
            module="tests.faults.rig",
        )
        self.processes.append(process)
        return process


@dataclass
class Figures:
    """What one run of one fault came to."""

    runs: int = 1
    accepted: int = 0
    #: answered 250 or 201 and neither sent nor, where the far end refused it, ended
    lost: int = 0
    #: copies beyond the first of one mail
    duplicates: int = 0
    #: how many of these the fault explains
    bound: int = 0
    #: clients that sent again because no answer had come, and both went out
    repeated: int = 0
    #: sent although its client was told no
    phantoms: int = 0
    #: status told by GET that is not what the far end saw
    wrong: int = 0
    #: clients told no, or nothing, while the fault was on; they tried again
    put_off: int = 0
    #: permanent refusals (5xx by SMTP, 4xx or 500 by REST)
    wrong_refusals: int = 0
    #: seconds from the end of the fault until the last mail of before that end had gone out
    recovery: float = 0.0
    #: seconds in which the slowest mail was accepted
    slowest_accept: float = 0.0
    notes: list[str] = field(default_factory=list)

    def __add__(self, other: "Figures") -> "Figures":
        total = Figures(**vars(self))
        for name, value in vars(other).items():
            own = getattr(self, name)
            most = name in {"recovery", "slowest_accept"}
            setattr(total, name, max(own, value) if most else own + value)
        total.notes = list(dict.fromkeys(self.notes + other.notes))
        return total

    @property
    def holds(self) -> bool:
        return not (self.lost or self.phantoms or self.wrong or self.wrong_refusals) and (
            self.duplicates <= self.bound
        )


@dataclass
class Damage:
    """What a fault reports of itself."""

    #: copies that it explains
    bound: int = 0
    #: when it was over, if before the function returned
    ended: float = 0.0
    notes: list[str] = field(default_factory=list)


class Campaign:
    """An installation to play faults on, one after the other. `database` is "sqlite" or "postgres".

    SQLite runs as `pillarbox up` with its embedded queue server, PostgreSQL as separate processes that are started
    again when they end, beside servers of their own.
    """

    def __init__(
        self,
        database: str = "sqlite",
        configuration: str = "",
        disk: str = "",
        clock: bool = False,
        min_free_space: int = 0,
        lease: float = LEASE,
        long: bool = False,
        brief: bool = False,
    ) -> None:
        """`disk` is the size of a small file system for the record, `clock` makes the time ours to set; in a `long`
        campaign outages last as long as they do in life, in a `brief` one half as long as otherwise.
        """
        self.database = database
        self.directory = services.short_directory("pb-f-")
        self.directory.chmod(0o755)
        self.points = self.directory / "points"
        self.points.mkdir()
        self.lease = lease
        self.sink = Counting()
        self.postgres: OwnPostgres | None = None
        self.valkey: EmbeddedValkey | None = None
        self._configuration = configuration
        self._disk = disk
        self._clock = self.points / "clock"
        self._own_clock = clock
        self._long, self._brief = long, brief
        self._stack = contextlib.ExitStack()
        self.small_disk = self.directory / ("data" if database == "sqlite" else "pg")
        self._min_free_space = min_free_space
        self._closing = threading.Event()
        self._keeping: threading.Thread | None = None
        #: role by process, of those that are to run
        self._kept: dict[int, tuple[str, Process]] = {}
        self._rounds = 0

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self) -> None:
        self.sink.start()
        if self._disk:
            # The record's: with PostgreSQL that is the server's.
            self._stack.enter_context(tmpfs(self._disk, self.small_disk))
        urls = {}
        if self.database == "postgres":
            self.postgres = OwnPostgres(self.directory / "pg", small=bool(self._disk))
            self.postgres.start()
            self.valkey = EmbeddedValkey(self.directory / "valkey")
            self.valkey.start(30)
            urls = {"database": self.postgres.url, "queue": f"unix://{self.valkey.socket}"}
        text = _CONFIGURATION.format(port=self.sink.port, lease=self.lease) + self._configuration
        self.installation = Rigged(self.directory, text, **urls)
        config = self.installation.config
        text = f"min_free_space = {self._min_free_space}\n{config.read_text()}"
        config.write_text(text)
        self.installation.environment = {
            "FAULTS": str(self.points),
            "PYTHONPATH": str(ROOT),
            # Doors of one kind may then stand beside each other where each is started by itself; and none asks its
            # clients to come back later because the machine is busy with the tests.
            **(_FLEET if self.database == "postgres" else {}),
        }
        if self._own_clock:
            self.set_clock(0)
            self.installation.environment |= faked_clock(self._clock)
        self.start()

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        if self._keeping is not None:
            self._keeping.join()
        for pid in self.pids():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)
        if hasattr(self, "installation"):
            self.installation.__exit__()
        if self.valkey is not None:
            self.valkey.stop()
        if self.postgres is not None:
            self.postgres.stop()
        self.sink.stop()
        self._stack.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # Processes.

    def start(self) -> None:
        """Everything, by hand or again after everything was killed."""
        if self.database == "sqlite":
            self.installation.up()
            return
        if not self.installation.key:
            assert self.installation.run("migrate").returncode == 0
            self.installation.key = self.installation.run("keys", "create").stdout.strip()
        for role in ("smtp", "smtp", "api", "worker", "worker", "clock"):
            process = self.installation.start(role)
            self._kept[process.popen.pid] = (role, process)
        if self._keeping is None:
            self._keeping = threading.Thread(target=self._keep, daemon=True)
            self._keeping.start()
        wait_for(lambda: len(self.pids()) >= 6, "the roles' start")
        self.wait_open()

    def wait_open(self) -> None:
        def healthy() -> bool:
            with contextlib.suppress(OSError, ValueError):
                return self.installation.request("/v1/transactional/email?limit=1")[0] == 200
            return False

        wait_for(healthy, "the doors' opening")

    def _keep(self) -> None:
        """What a service manager does."""
        while not self._closing.wait(0.1):
            for pid, (role, process) in list(self._kept.items()):
                if process.popen.poll() is not None and pid in self._kept:
                    del self._kept[pid]
                    again = self.installation.start(role)
                    self._kept[again.popen.pid] = (role, again)

    def pids(self, role: str = "") -> list[int]:
        """Live processes of a role, or of all roles."""
        return sorted(self._pids(role))

    def _pids(self, role: str = "", *, alive: bool = True) -> set[int]:
        found = set()
        for path in self.points.glob(f"*.{role}*"):
            pid, _, name = path.name.partition(".")
            if name not in {"flight", "poisoned"} and pid.isdigit() and _alive(int(pid)) is alive:
                found.add(int(pid))
        return found

    def add(self, role: str) -> None:
        """One more process of a role; PostgreSQL only."""
        process = self.installation.start(role)
        self._kept[process.popen.pid] = (role, process)

    def drop(self, pid: int, number: int) -> None:
        """End a process for good; PostgreSQL only."""
        _, process = self._kept.pop(pid)
        process.popen.send_signal(number)
        process.wait()

    def kill_all(self) -> int:
        """End every process of ours at one moment; returns the sends that were in flight."""
        ended = self._pids(alive=False)
        kept, self._kept = self._kept, {}
        for process in self.installation.processes:
            if process.popen.poll() is None:
                process.signal_group(signal.SIGKILL)
                process.wait()
        for _, process in kept.values():
            process.popen.wait()
        wait_for(lambda: not self.pids(), "the end of all processes")
        # Whoever was born on the way had its sends as well.
        return sum(rig.in_flight(self.points, pid) for pid in self._pids(alive=False) - ended)

    def kill(self, role: str, number: int = signal.SIGKILL) -> int:
        """Signal one process of a role that is running; returns its sends in flight."""
        pid = random.choice(wait_for(lambda: self.pids(role), f"a running {role}"))
        os.kill(pid, number)
        return self._left_by(pid) if number == signal.SIGKILL else rig.in_flight(self.points, pid)

    def _left_by(self, pid: int) -> int:
        """The sends in flight of a process that is ending, once it begins no more of them."""
        wait_for(lambda: not _alive(pid), f"the end of process {pid}")
        return rig.in_flight(self.points, pid)

    def flight(self) -> int:
        return sum(rig.in_flight(self.points, pid) for pid in self.pids("worker"))

    def at_point(self, name: str) -> int:
        """Arm a place and wait until somebody has come to it; returns the sends it had in flight."""
        return self._left_by(self.stopped_at(name))

    def stopped_at(self, name: str, seconds: float = 60) -> int:
        """The process that came to a place first: it has ended there, or is stopped, as the place is."""
        plain = name.partition("@")[0]
        reached = self.points / f"{plain}.reached"
        reached.unlink(missing_ok=True)
        (self.points / name).touch()
        wait_for(reached.exists, f"the coming to {name}", seconds)
        return int(wait_for(reached.read_text, "the name of who came"))

    @staticmethod
    def stands(pid: int) -> bool:
        """Whether a process that was told to stop has done so."""
        return _state(pid) == "T"

    def bystanders(self) -> int:
        """Sends that were in flight in those that a deadly mail has killed, itself apart: it is never sent."""
        killed = [int(path.name.partition(".")[0]) for path in self.points.glob("*.poisoned")]
        if rig.everything(self.points).exists():
            workers = [int(path.name.partition(".")[0]) for path in self.points.glob("*.worker*")]
            beside = [pid for pid in workers if pid not in killed and not _alive(pid)]
            return sum(rig.in_flight(self.points, pid) for pid in killed + beside) - len(killed)
        return sum(rig.in_flight(self.points, pid) - 1 for pid in killed)

    def seconds(self, short: float, long: float) -> float:
        """How long an outage lasts in this campaign."""
        return long if self._long else short / 2 if self._brief else short

    def set_clock(self, ahead: int) -> None:
        """Put the clock of all processes of ours forward or back, by seconds from the true time."""
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(f"{ahead:+}\n")
        fresh.replace(self._clock)

    # Rounds.

    def play(
        self,
        fault: "Callable[[Campaign], Damage]",
        *,
        before: float = 0.5,
        after: float = 0.5,
        patience: float = 120,
        poison: bool = False,
        **load: Any,
    ) -> Figures:
        """Mail comes in steadily, `fault` happens and ends, everything comes to rest, and is counted."""
        self._rounds += 1
        name = f"run{self._rounds}"
        door = Door(self.installation.smtp_port, self.installation.api_port, self.installation.key)
        self.sink.refused.clear()
        self.sink.dropped.clear()
        with Load(door, name, **load) as running:
            wait_for(lambda: len(running.accepted) >= 8, "the load's beginning")
            time.sleep(before)
            damage = fault(self)
            ended = damage.ended or time.time()
            time.sleep(after)
        return self.count(running.units, ended, damage, patience, f"-{name}-")

    def count(
        self, units: list[Unit], ended: float, damage: Damage, patience: float = 120, mark: str = ""
    ) -> Figures:
        """Wait until nothing moves any more, and hold what clients were told against what the far end saw."""
        told = self.rest(units, patience, mark)
        sink = self.sink
        figures = Figures(bound=damage.bound, notes=damage.notes)
        delivered = {address: len(times) for address, times in sink.times.items() if mark in address}
        figures.duplicates = sum(count - 1 for count in delivered.values())
        known = {unit.address: unit for unit in units}
        for unit in units:
            count = delivered.get(unit.address, 0)
            if unit.answer is Answer.ACCEPTED:
                figures.accepted += 1
                figures.slowest_accept = max(figures.slowest_accept, unit.seconds)
                if not count and unit.address not in sink.refused:
                    figures.lost += 1
                if count and unit.at <= ended:
                    figures.recovery = max(figures.recovery, sink.times[unit.address][0] - ended)
            else:
                figures.put_off += 1
                if unit.answer is Answer.REFUSED:
                    figures.phantoms += count
                    figures.wrong_refusals += _is_final(unit)
                if count and unit.door == "smtp":
                    figures.repeated += 1
        figures.phantoms += sum(address not in known for address in delivered)
        for status, address in told.values():
            seen = address in delivered
            expected = "BOUNCED" if address in sink.refused else "SENT" if seen else "nothing"
            if status != expected:
                figures.wrong += 1
                if figures.wrong < 4:
                    figures.notes.append(f"{address}: {status}, expected {expected}")
        missing = [u for u in units if u.answer is Answer.ACCEPTED and u.id not in told]
        figures.wrong += len(missing)
        return figures

    def rest(self, units: list[Unit], patience: float, mark: str) -> dict[str, tuple[str, str]]:
        """The status and recipient of every mail of a round, once none is on its way or patience has ended."""
        deadline = time.monotonic() + patience
        while True:
            told: dict[str, tuple[str, str]] = {}
            with contextlib.suppress(OSError, ValueError, AssertionError):
                told = {
                    one["id"]: (one["status"], one["recipient"])
                    for one in self.installation.messages()
                    if mark in one["recipient"]
                }
            there = all(unit.id in told for unit in units if unit.answer is Answer.ACCEPTED)
            if there and told and all(status != "ACCEPTED" for status, _ in told.values()):
                return told
            if time.monotonic() > deadline:
                return told
            time.sleep(0.2)


def _alive(pid: int) -> bool:
    return _state(pid) not in {"Z", "X"}


def _state(pid: int) -> str:
    """The kernel's letter for it; one that is gone is dead."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "X"


def _is_final(unit: Unit) -> bool:
    """Whether a client was told that trying again is of no use."""
    if unit.door == "smtp":
        return unit.words.startswith("5")
    return unit.words[:3] in {"400", "401", "403", "404", "409", "422", "500"}


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No octet more goes onto this disk."""
    fill = disk / "fill"
    for size in (65536, 512):
        with fill.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(size)):
                pass
    try:
        yield
    finally:
        fill.unlink()


@contextlib.contextmanager
def tmpfs(size: str, where: Path) -> Iterator[None]:
    """A small disk of its own; needs root. Raises `PermissionError` where it cannot be had."""
    where.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", where], capture_output=True)
    if done.returncode:
        raise PermissionError(done.stderr.decode())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", where], check=False)


def faked_clock(file: Path) -> dict[str, str]:
    """What makes libfaketime give a process, and those it starts, the time of `file`.

    The file is read at every question, so that the time jumps in all of them at one moment. The monotonic clock
    passes as ever, as it does when a machine's clock is set, and the times of files are left alone.
    """
    debian.unpack("libfaketime")
    (library,) = debian.ROOT.glob("usr/lib/*/faketime/libfaketimeMT.so.1")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def facts(campaign: Campaign, event: str) -> list[dict[str, Any]]:
    """Lines of the logs about one event."""
    return [
        json.loads(line)
        for process in campaign.installation.processes
        for line in process.output.splitlines()
        if line.startswith("{") and f'"{event}"' in line
    ]


__all__ = ["LEASE", "Campaign", "Counter", "Damage", "Figures", "Process", "facts", "filled", "tmpfs"]
