"""What a failing provider costs, with real processes under a steady load; prints a table.

    python -m tests.bench.failover --rate 150 --before 2 --during 4

Pillarbox runs as `up` with two worker processes and `failover(a, b)`. While mail comes in by SMTP at a steady rate,
provider A is made to fail in one way after the other, and healed again. Counted are: who got how many while it
failed, how long until every worker had stopped asking it, recipients that got a mail twice, and mail that was lost.
"""

import argparse
import json
import re
import signal
import smtplib
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from tests.installation import Installation, Process, free_port, wait_for
from tests.sink import Fault, Sink

WORKERS = 2

_CONFIGURATION = """
[log]
format = "json"

[delivery]
processes = 2

[delivery.retry]
delays = [1, 2, 4]
jitter = 0

{providers}

[routes.default]
use = "{use}"

[routes.circuit]
pause = 1
longest_pause = 2
"""

_PROVIDER = """
[providers.{name}]
type = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
username = "relay"
password = "good"
plaintext_auth = true
connect_timeout = 30
"""

_MAIL = b"From: ann@example.org\r\nSubject: steady\r\n\r\nbody\r\n"


def providers(**ports: int) -> str:
    return "".join(_PROVIDER.format(name=name, port=port) for name, port in ports.items())


def configuration(use: str = "failover(a, b)", **ports: int) -> str:
    return _CONFIGURATION.format(providers=providers(**ports), use=use)


class Load:
    """Clients that hand in mail at a steady rate until told to stop."""

    def __init__(self, installation: Installation, name: str, *, rate: float, clients: int = 2) -> None:
        self.accepted: set[str] = set()
        self.errors: list[str] = []
        self._installation = installation
        self._name = name
        self._pause = clients / rate
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        try:
            with smtplib.SMTP("127.0.0.1", self._installation.smtp_port, timeout=30) as door:
                door.login("default", self._installation.key)
                due = time.monotonic()
                number = 0
                while not self._stop.is_set():
                    address = f"take-{self._name}-{client}-{number}@far.example"
                    door.sendmail("ann@example.org", [address], _MAIL)
                    self.accepted.add(address)
                    number += 1
                    due += self._pause
                    self._stop.wait(max(due - time.monotonic(), 0))
        except (smtplib.SMTPException, OSError) as error:
            self.errors.append(repr(error))


@dataclass
class Figures:
    """What one scenario came to."""

    name: str
    mails: int
    by_a: int
    by_b: int
    #: seconds from the fault until the last worker's circuit was open; None where it never was on all of them
    switched: float | None
    ambiguous: int
    doubles: int
    #: recipients that got a mail twice although no send of it was unclear
    unexplained: int
    lost: int
    refused: int


def lines(process: Process, since: float) -> list[dict[str, Any]]:
    """The log's lines after a moment."""
    found = []
    # The last one may be in the writing.
    whole, _, _ = process.output.rpartition("\n")
    for text in whole.splitlines():
        if text.startswith("{"):
            line = json.loads(text)
            if datetime.fromisoformat(line["timestamp"]).timestamp() >= since:
                found.append(line)
    return found


def switched_after(process: Process, provider: str, since: float) -> float | None:
    """Seconds until every worker had its copy of the circuit open."""
    first: dict[int, float] = {}
    for line in lines(process, since):
        opened = line["event"] == "circuit opened" or (
            line["event"] == "circuit seen" and line.get("circuit") == "open"
        )
        if opened and line["provider"] == provider:
            moment = datetime.fromisoformat(line["timestamp"]).timestamp()
            first.setdefault(line["worker"], moment - since)
    return max(first.values()) if len(first) == WORKERS else None


def ambiguous(installation: Installation) -> set[str]:
    """Recipients of which some send was unclear."""
    with sqlite3.connect(f"file:{installation.directory}/data/pillarbox.db?mode=ro", uri=True) as record:
        rows = record.execute(
            "SELECT address FROM recipient WHERE id IN (SELECT recipient_id FROM event WHERE kind = 'ambiguous')"
        ).fetchall()
    record.close()
    return {row[0] for row in rows}


class Stage:
    """A running installation with its two providers; scenarios are played on it one after the other."""

    def __init__(self, directory: Path) -> None:
        # One that is killed comes back to its port, which nobody is to have taken meanwhile.
        self.a = Sink(port=free_port(), users={"relay": "good"})
        self.b = Sink(users={"relay": "good"})
        self.a.start()
        self.b.start()
        self.installation = Installation(directory, configuration(a=self.a.port, b=self.b.port))
        self.process = self.installation.up()

    def close(self) -> None:
        self.installation.__exit__()
        self.a.stop()
        self.b.stop()

    # Ways to fail. Connections that are open already would not notice what happens at the greeting.

    def killed(self) -> None:
        self.a.stop()

    def slow(self) -> None:
        self.a.delay = 1.0

    def busy(self) -> None:
        self.a.misbehave(Fault.BUSY_AT_GREETING)
        self.a.hang_up()

    def refusing(self) -> None:
        self.a.misbehave(Fault.REFUSE_AT_GREETING)
        self.a.hang_up()

    def dropping(self) -> None:
        self.a.misbehave(Fault.CLOSE_AFTER_DATA)

    def locked_out(self) -> None:
        self.a.users = {"relay": "changed"}
        self.a.hang_up()

    def heal(self) -> None:
        self.a.delay = 0.0
        self.a.users = {"relay": "good"}
        self.a.misbehave(None)
        if self.a._thread is None:
            kept, count = self.a.mails, self.a.count
            self.a = Sink(port=self.a.port, users={"relay": "good"})
            self.a.mails, self.a.count = kept, count
            self.a.start()

    def play(
        self,
        name: str,
        fail: Callable[[], None],
        *,
        rate: float,
        before: float,
        during: float,
        until_left: bool = False,
    ) -> Figures:
        """With `until_left` A goes on failing until every worker has left it and B has got more than A."""
        with Load(self.installation, name, rate=rate) as load:
            wait_for(lambda: len(load.accepted) >= rate * before, f"{name}: load before")
            then = len(load.accepted)
            started = time.time()
            fail()
            a, b = self.a.count, self.b.count
            wait_for(lambda: len(load.accepted) >= then + rate * during, f"{name}: load during")
            if until_left:
                wait_for(
                    lambda: switched_after(self.process, "a", started) is not None,
                    f"{name}: all workers' leaving A",
                )

            def got() -> tuple[int, int] | None:
                by_a, by_b = self.a.count - a, self.b.count - b
                return (by_a, by_b) if by_b > by_a or not until_left else None

            by_a, by_b = wait_for(got, f"{name}: B's getting more than A")
        self.heal()
        wait_for(lambda: load.accepted <= self.arrived().keys(), f"{name}: delivery of everything")
        wait_for(self.settled, f"{name}: settling")
        wait_for(self.all_closed, f"{name}: the circuit's closing")
        times = {address: count for address, count in self.arrived().items() if address in load.accepted}
        unclear = ambiguous(self.installation)
        doubled = {address for address, count in times.items() if count > 1}
        return Figures(
            name,
            len(load.accepted),
            by_a,
            by_b,
            switched_after(self.process, "a", started),
            len(unclear & load.accepted),
            len(doubled),
            len(doubled - unclear),
            len(load.accepted - times.keys()),
            len(load.errors),
        )

    def arrived(self) -> Counter[str]:
        return Counter(one.recipients[0] for sink in (self.a, self.b) for one in tuple(sink.mails))

    def settled(self) -> bool:
        path = f"file:{self.installation.directory}/data/pillarbox.db?mode=ro"
        with sqlite3.connect(path, uri=True) as record:
            (count,) = record.execute("SELECT count(*) FROM recipient WHERE state <> 'done'").fetchone()
        record.close()
        return bool(count == 0)

    def all_closed(self) -> bool:
        """Mail trickles on until a probe has found A well again, in every worker."""
        path = f"file:{self.installation.directory}/data/pillarbox.db?mode=ro"
        with sqlite3.connect(path, uri=True) as record:
            rows = record.execute("SELECT name FROM provider_state WHERE circuit = 'open'").fetchall()
        record.close()
        if rows:
            with smtplib.SMTP("127.0.0.1", self.installation.smtp_port, timeout=30) as door:
                door.login("default", self.installation.key)
                door.sendmail("ann@example.org", ["take-probe@far.example"], _MAIL)
            time.sleep(0.2)
        return not rows and all(self.closed_at_workers())

    def closed_at_workers(self) -> Iterator[bool]:
        """Whether each worker that has ever opened or seen an open circuit has since heard that it is closed."""
        last: dict[int, bool] = {}
        for line in lines(self.process, 0):
            if line["event"] in {"circuit opened", "circuit closed", "circuit seen"}:
                last[line["worker"]] = line["event"] == "circuit closed" or line.get("circuit") == "closed"
        return iter(last.values())

    def swap(self, *, rate: float, before: float, during: float) -> dict[str, object]:
        """A takes its leave for C in the configuration, by SIGHUP, while mail comes in."""
        with Sink(users={"relay": "good"}) as c, Load(self.installation, "swap", rate=rate) as load:
            wait_for(lambda: len(load.accepted) >= rate * before, "swap: load before")
            text = self.installation.config.read_text()
            text = re.sub(rf"port = {self.a.port}\b", f"port = {c.port}", text)
            self.installation.config.write_text(
                text.replace("providers.a]", "providers.c]").replace("(a,", "(c,")
            )
            started = time.time()
            self.process.popen.send_signal(signal.SIGHUP)

            def closed() -> bool:
                done = [
                    one for one in lines(self.process, started) if one["event"].startswith("provider closed")
                ]
                return len({one["worker"] for one in done}) == WORKERS

            wait_for(closed, "swap: the old provider's closing")
            seconds = time.time() - started
            wait_for(lambda: not self.a.open_connections, "swap: the last line's end")
            after, last = self.a.count, len(load.accepted)
            wait_for(lambda: len(load.accepted) >= last + rate * during, "swap: load after")
            load.__exit__()
            everything = lambda: Counter(  # noqa: E731
                one.recipients[0] for sink in (self.a, self.b, c) for one in tuple(sink.mails)
            )
            wait_for(lambda: load.accepted <= everything().keys(), "swap: delivery of everything")
            wait_for(self.settled, "swap: settling")
            troubled = [
                one["event"]
                for one in lines(self.process, started)
                if one["event"] in {"deferred", "bounced", "parked", "switched", "circuit opened", "fault"}
            ]
            times = everything()
            return {
                "mails": len(load.accepted),
                "by A after its end": self.a.count - after,
                "by B": sum(one.recipients[0] in load.accepted for one in self.b.mails),
                "by C": c.count,
                "seconds until A was closed by all workers": round(seconds, 2),
                "errors at the door": len(load.errors),
                "troubled": len(troubled),
                "twice": sum(times[one] > 1 for one in load.accepted),
                "lost": len(load.accepted - times.keys()),
            }


SCENARIOS = ("killed", "slow", "busy", "refusing", "locked_out", "dropping")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.failover", description=main.__doc__)
    parser.add_argument("--rate", type=float, default=150, help="mails a second")
    parser.add_argument("--before", type=float, default=2, help="seconds of load before each fault")
    parser.add_argument("--during", type=float, default=4, help="seconds of load while it lasts")
    given = parser.parse_args()
    columns = (
        "provider A is",
        "mails",
        "A",
        "B",
        "all switched",
        "ambiguous",
        "twice",
        "unexplained",
        "lost",
        "refused",
    )
    print(("{:<14}" + "{:>14}" * 9).format(*columns))
    with tempfile.TemporaryDirectory(prefix="pb-failover-") as directory:
        stage = Stage(Path(directory))
        try:
            times = {"rate": given.rate, "before": given.before, "during": given.during}
            for name in SCENARIOS:
                one = stage.play(name, getattr(stage, name), **times)
                took = "never" if one.switched is None else f"{one.switched:.2f} s"
                row = (one.mails, one.by_a, one.by_b, took, one.ambiguous, one.doubles, one.unexplained)
                print(("{:<14}" + "{:>14}" * 9).format(name, *row, one.lost, one.refused), flush=True)
            print("swapped by SIGHUP:", stage.swap(**times))
        finally:
            stage.close()


if __name__ == "__main__":
    main()
