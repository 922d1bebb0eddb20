"""The faults, one function each: bring it about, end it, and say how many copies it explains."""

import contextlib
import os
import secrets
import shutil
import signal
import smtplib
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay import embedded
from tests import services
from tests.faults import rig
from tests.faults.campaign import Campaign, Damage, Figures, facts, filled
from tests.faults.load import Answer, Door, Load, Unit
from tests.installation import wait_for

BOTH = ("sqlite", "postgres")


@dataclass(frozen=True)
class Row:
    """A fault as the table has it."""

    name: str
    title: str
    run: Callable[[Campaign], Figures]
    #: what copies beyond the first are explained by
    bound: str = "0"
    #: seconds from the end of the fault until everything has gone out
    recovery: float = 30
    databases: tuple[str, ...] = BOTH
    #: of the campaign, where the row needs an installation of its own
    setting: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False

    @property
    def fault(self) -> Callable[[Campaign], Damage] | None:
        """What happens, for whoever has a load and a count of their own."""
        return self.run.fault if isinstance(self.run, Playing) else None


@dataclass(frozen=True)
class Playing:
    """A fault with a load on it and a count after it."""

    fault: Callable[[Campaign], Damage]

    def __call__(self, campaign: Campaign) -> Figures:
        return campaign.play(self.fault)


playing = Playing


def one_after_the_other(rows: Sequence["Row"]) -> Playing:
    """The faults of several rows under one load, with one count."""

    def fault(campaign: Campaign) -> Damage:
        total = Damage()
        for row in rows:
            assert row.fault is not None, row.name
            damage = row.fault(campaign)
            total = Damage(total.bound + damage.bound, damage.ended, total.notes + damage.notes)
        return total

    return playing(fault)


def at(*points: str) -> Callable[[Campaign], Damage]:
    """Processes die at these places, one after the other; copies are what they had in flight."""

    def fault(campaign: Campaign) -> Damage:
        bound = sum(campaign.at_point(point) for point in points)
        return Damage(bound)

    return fault


def hang_up(campaign: Campaign) -> Figures:
    """Clients that close right after the dot, mixed with some that stay."""
    units: list[Unit] = []
    # Played again, it is about other mail.
    name = f"hangup{secrets.token_hex(4)}"

    def fault(_: Campaign) -> Damage:
        for number in range(30):
            unit = Unit(f"take-{name}-{number}@far.example", "smtp", Answer.UNKNOWN)
            with socket.create_connection(("127.0.0.1", campaign.installation.smtp_port), 60) as line:
                door = smtplib.SMTP()
                door.sock = line
                door.file = None
                door.getreply()
                door.ehlo()
                door.login("default", campaign.installation.key)
                door.mail("ann@example.org")
                door.rcpt(unit.address)
                door.docmd("DATA")
                line.sendall(b"From: ann@example.org\r\nSubject: x\r\n\r\nbody\r\n.\r\n")
                if number % 2:
                    # At once and without reading: the connection is reset.
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            units.append(unit)
        return Damage()

    figures = campaign.play(fault)
    stored = campaign.count(units, time.time(), Damage(), mark=f"-{name}-")
    stored.notes = [f"{stored.repeated} of {len(units)} such mails were stored, and each went out once"]
    stored.repeated = stored.runs = 0
    return figures + stored


def term_worker(campaign: Campaign) -> Damage:
    campaign.kill("worker", signal.SIGTERM)
    return Damage()


def slow(campaign: Campaign, seconds: float) -> None:
    campaign.sink.delay = seconds


def kill_worker(campaign: Campaign) -> Damage:
    """With many sends in flight."""
    slow(campaign, 0.5)
    time.sleep(1)
    bound = campaign.kill("worker")
    slow(campaign, 0)
    return Damage(bound)


def zombie(campaign: Campaign) -> Damage:
    """A worker that is stopped with sends in flight comes back when others have taken them over."""
    slow(campaign, 0.5)
    time.sleep(1)
    pid = wait_for(lambda: campaign.pids("worker"), "a running worker")[0]
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: campaign.stands(pid), "its standing still")
    # What it has begun to send by now; the other one's sends are its own.
    flight = rig.in_flight(campaign.points, pid)
    slow(campaign, 0)
    time.sleep(campaign.lease + 4)
    os.kill(pid, signal.SIGCONT)
    return Damage(flight)


def overslept(campaign: Campaign) -> Damage:
    """A worker is stopped between claim and send, and wakes when others have sent what it holds."""
    pid = campaign.stopped_at(rig.STOPPED_CLAIMED)
    wait_for(lambda: campaign.stands(pid), "its standing still")
    flight = rig.in_flight(campaign.points, pid)
    time.sleep(campaign.lease + 4)
    os.kill(pid, signal.SIGCONT)
    return Damage(flight)


def stopped_in_write(campaign: Campaign) -> Damage:
    """A door is stopped in the middle of its transaction, with the lock in hand, for longer than others wait."""
    pid = campaign.stopped_at(f"{rig.STOPPED}@api")
    time.sleep(campaign.seconds(12, 15))
    bound = campaign.flight()
    os.kill(pid, signal.SIGCONT)
    return Damage(bound)


def flush(campaign: Campaign) -> Damage:
    for _ in range(3):
        services.flush_valkey(_valkey(campaign))
        time.sleep(0.3)
    return Damage()


def _valkey(campaign: Campaign) -> Path:
    if campaign.valkey is not None:
        return campaign.valkey.socket
    return embedded.socket_path(campaign.directory / "data")


def no_valkey(campaign: Campaign) -> Damage:
    """Away for a while, and back with nothing in it."""
    seconds = campaign.seconds(4, 60)
    if campaign.valkey is not None:
        home = campaign.directory / "valkey" / "queue"
        campaign.valkey.stop()
        time.sleep(seconds)
        shutil.rmtree(home / "appendonlydir", ignore_errors=True)
        campaign.valkey.start(30)
        return Damage()
    until = time.monotonic() + seconds
    kills = 0
    while time.monotonic() < until:
        for pid in _running(f"--unixsocket {_valkey(campaign)}"):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                kills += 1
            shutil.rmtree(campaign.directory / "data" / "queue" / "appendonlydir", ignore_errors=True)
        time.sleep(0.05)
    return Damage(notes=[f"killed and emptied as often as it came back in {seconds:.0f} s"])


def _running(words: str) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words.encode() in path.read_bytes().replace(b"\0", b" "):
                yield int(path.parent.name)


def no_database(campaign: Campaign) -> Damage:
    """PostgreSQL ends without ceremony and comes back."""
    assert campaign.postgres is not None
    campaign.postgres.stop(how=signal.SIGQUIT)
    # What a provider takes now is settled when the database is back; only then is anything unclear.
    time.sleep(campaign.seconds(2, 10))
    campaign.postgres.start()
    ended = time.time()
    return Damage(campaign.flight(), ended)


def locked(campaign: Campaign) -> Damage:
    """Somebody else writes to the file, for longer than the doors wait."""
    seconds = campaign.seconds(4, 13)
    record = sqlite3.connect(campaign.directory / "data" / "pillarbox.db", isolation_level=None)
    try:
        record.execute("PRAGMA busy_timeout=60000")
        record.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        record.execute("ROLLBACK")
    finally:
        record.close()
    return Damage(notes=[f"for {seconds:.0f} s; doors wait 10 s"])


def provider_down(campaign: Campaign) -> Damage:
    seconds = campaign.seconds(4, 60)
    campaign.sink.stop()
    time.sleep(seconds)
    campaign.sink.start()
    return Damage(notes=[f"for {seconds:.0f} s"])


def provider_slow(campaign: Campaign) -> Damage:
    seconds = campaign.seconds(2, 30)
    slow(campaign, seconds)
    time.sleep(seconds + 1)
    slow(campaign, 0)
    return Damage(notes=[f"{seconds:.0f} s for a mail"])


def dropping(campaign: Campaign) -> Damage:
    before = len(campaign.sink.dropped)
    campaign.sink.drop = 0.1
    time.sleep(campaign.seconds(3, 20))
    campaign.sink.drop = 0.0
    time.sleep(0.2)
    return Damage(len(campaign.sink.dropped) - before)


def put_off(campaign: Campaign) -> Damage:
    seconds = campaign.seconds(3, 60)
    campaign.sink.refusal = "451 4.3.2 not now"
    time.sleep(seconds)
    campaign.sink.refusal = None
    return Damage(notes=[f"for {seconds:.0f} s"])


def refusing(campaign: Campaign) -> Figures:
    def fault(campaign: Campaign) -> Damage:
        campaign.sink.refusal = "550 5.7.1 we do not want this"
        time.sleep(campaign.seconds(2, 20))
        campaign.sink.refusal = None
        return Damage()

    figures = campaign.play(fault)
    refused = sorted(campaign.sink.refused)
    tries = [_detail(campaign, address)["attempts"] for address in refused[:20]]
    figures.wrong += sum(count != 1 for count in tries)
    figures.notes.append(f"{len(refused)} refused, one try each")
    if not refused:
        figures.wrong += 1
    return figures


def _detail(campaign: Campaign, address: str) -> dict[str, Any]:
    """The first recipient of the newest mail to an address, as told by the API."""
    found = next(one for one in campaign.installation.messages() if one["recipient"] == address)
    status, detail = campaign.installation.request(f"/v1/messages/{found['id']}")
    assert status == 200, detail
    recipient: dict[str, Any] = detail["recipients"][0]
    return recipient


def poison(campaign: Campaign) -> Figures:
    """One mail kills whoever sends it; the others must not suffer for it."""
    return _poison(campaign, "parked after three workers")


def poison_all(campaign: Campaign) -> Figures:
    """One mail ends everything at once, as a container is ended whose memory is used up."""
    rig.everything(campaign.points).touch()
    return _poison(campaign, "everything was started again each time")


def _poison(campaign: Campaign, note: str) -> Figures:
    door = Door(campaign.installation.smtp_port, campaign.installation.api_port, campaign.installation.key)

    def fault(campaign: Campaign) -> Damage:
        with Load(door, "deadly", most=1, clients=1, poison=True, by_rest=False) as load:
            load.join()
        (unit,) = load.accepted

        def parked() -> bool:
            if campaign.database == "sqlite" and campaign.installation.processes[-1].popen.poll() is not None:
                campaign.installation.start("up")
            with contextlib.suppress(OSError, ValueError, AssertionError):
                return bool(_detail(campaign, unit.address)["state"] == "parked")
            return False

        wait_for(parked, "the parking of the mail that kills", 25 * campaign.lease)
        return Damage(campaign.bystanders())

    figures = campaign.play(fault)
    figures.notes.append(note)
    return figures


def kill_all_twice(campaign: Campaign) -> Damage:
    bound = campaign.kill_all()
    campaign.start()
    time.sleep(0.5)
    bound += campaign.kill_all()
    campaign.start()
    return Damage(bound, time.time())


def disk_full(campaign: Campaign) -> Damage:
    """Nothing can be written for a while; then there is room again."""
    with filled(campaign.small_disk):
        time.sleep(campaign.seconds(4, 15))
    notes = []
    if campaign.postgres is not None and campaign.postgres.ended:
        # It gives up where its log cannot be written; a service manager starts it again.
        notes.append("the server ended by itself, and was started again")
        campaign.postgres.start()
    return Damage(campaign.flight(), notes=notes)


_JUMPED = "the machine's clock has jumped"


def clock_jumps(by: int) -> Callable[[Campaign], Damage]:
    """The clock of the whole machine jumps, with mail in flight and mail that waits for its next try."""

    def fault(campaign: Campaign) -> Damage:
        campaign.sink.refusal = "451 4.3.2 not now"
        time.sleep(1)
        campaign.sink.refusal = None
        slow(campaign, 2.5)
        time.sleep(1)
        before = len(facts(campaign, _JUMPED))
        campaign.set_clock(by)
        wait_for(lambda: len(facts(campaign, _JUMPED)) > before, "the noticing of the jump")
        time.sleep(campaign.lease + 3)
        slow(campaign, 0)
        return Damage()

    return fault


ROWS = (
    Row("F1", "kill -9 of a door before it commits", playing(at("before-commit@smtp", "before-commit@api")),
        recovery=10),
    Row("F2", "kill -9 of a door after it commits, before it answers",
        playing(at("after-commit@smtp", "after-commit@api")), recovery=15),
    Row("F3", "kill -9 of a door after it answers, before it wakes a worker",
        playing(at("before-wake-up@smtp", "before-wake-up@api")), recovery=15),
    Row("F4", "clients hang up right after the dot", hang_up, recovery=10),
    Row("F5", "kill -9 of a worker with wake-ups in hand", playing(at("holding")),
        bound="sends in flight", recovery=20),
    Row("F5b", "kill -9 of a worker between claim and send", playing(at("after-claim")),
        bound="sends in flight", recovery=20),
    Row("F6", "kill -9 of a worker after the provider took the mail",
        playing(at("after-send", "before-settle")), bound="sends in flight", recovery=20),
    Row("F6b", "kill -9 of a worker with many sends in flight", playing(kill_worker),
        bound="sends in flight", recovery=20),
    Row("F7", "SIGTERM to a worker", playing(term_worker), recovery=30),
    Row("F8", "SIGSTOP of a worker for longer than its lease", playing(zombie), bound="sends in flight",
        recovery=20),
    Row("F8b", "SIGSTOP of a door in the middle of its transaction", playing(stopped_in_write),
        databases=("sqlite",), bound="sends in flight", recovery=20),
    Row("F8c", "SIGSTOP of a worker between claim and send", playing(overslept), bound="sends in flight",
        recovery=20),
    Row("F9", "queue server emptied", playing(flush), recovery=10),
    Row("F10", "queue server killed, back empty", playing(no_valkey), recovery=15),
    Row("F11", "PostgreSQL killed and started again", playing(no_database), databases=("postgres",),
        bound="sends in flight", recovery=20),
    Row("F12", "SQLite locked by another program", playing(locked), databases=("sqlite",), recovery=20),
    Row("F13", "provider down", playing(provider_down), recovery=60),
    Row("F14", "provider slow", playing(provider_slow), recovery=60),
    Row("F15", "provider drops the line after the data, 10 %", playing(dropping), bound="drops"),
    Row("F16", "provider answers 4xx", playing(put_off)),
    Row("F17", "provider answers 5xx", refusing),
    Row("F18", "disk full", playing(disk_full), alone=True, bound="sends in flight",
        setting={"disk": "96m"}),
    Row("F18b", "disk nearly full (min_free_space)", playing(disk_full), databases=("sqlite",), alone=True,
        bound="sends in flight", setting={"disk": "96m", "min_free_space": 8 << 20}),
    Row("F20", "clock jumps forward by an hour", playing(clock_jumps(3600)), alone=True,
        setting={"clock": True}),
    Row("F20b", "clock jumps back by an hour", playing(clock_jumps(-3600)), alone=True,
        setting={"clock": True}),
    Row("F21", "a mail that kills its worker", poison, bound="sends in flight", recovery=60),
    Row("F21b", "a mail that ends everything at once", poison_all, databases=("sqlite",), alone=True,
        bound="sends in flight", recovery=60),
    Row("F22", "kill -9 of everything, twice", playing(kill_all_twice), bound="sends in flight", recovery=20),
)  # fmt: skip
