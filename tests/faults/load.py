"""A steady load by both doors, and what its clients were told of each mail."""

import http.client
import json
import smtplib
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

from tests.faults.rig import POISON


class Answer(Enum):
    """What a client knows of one try to hand a mail in."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  #: an error was read, or the mail was never handed over
    UNKNOWN = "unknown"  #: the line broke after the last octet and before an answer


@dataclass
class Unit:
    """One mail that must not go out more than once: a try by SMTP, or everything with one idempotency key."""

    address: str
    door: str
    answer: Answer = Answer.REFUSED
    id: str = ""
    at: float = 0.0
    #: the words of the refusal
    words: str = ""
    seconds: float = 0.0


@dataclass
class Door:
    """Where to hand in."""

    smtp_port: int
    api_port: int
    key: str


@dataclass
class Load:
    """Clients of both doors that hand in numbered mail at `rate` a second, and try again what was not accepted.

    SMTP clients that try again make another mail, as they do in life; those of REST repeat the request under its
    key. Addresses are `<kind>-<name>-<door><client>-<number>[-<try>]@far.example`.
    """

    door: Door
    name: str
    rate: float = 40
    clients: int = 2  #: at each door
    kind: str = "take"
    poison: bool = False
    by_smtp: bool = True
    by_rest: bool = True
    units: list[Unit] = field(default_factory=list)
    #: mails to hand in at most; 0 means until told to stop
    most: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._begun = 0
        self._threads = [
            threading.Thread(target=run, args=(client,))
            for run in [self._by_smtp] * self.by_smtp + [self._by_rest] * self.by_rest
            for client in range(self.clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def join(self) -> None:
        """Wait until `most` are handed in."""
        for thread in self._threads:
            thread.join()

    @property
    def accepted(self) -> list[Unit]:
        with self._lock:
            return [unit for unit in self.units if unit.answer is Answer.ACCEPTED]

    def _new(self, unit: Unit) -> Unit:
        with self._lock:
            self.units.append(unit)
        return unit

    def _another(self) -> bool:
        with self._lock:
            if self._stop.is_set() or (self.most and self._begun >= self.most):
                return False
            self._begun += 1
            return True

    def _pace(self, due: float) -> float:
        self._stop.wait(max(due - time.monotonic(), 0))
        # Nobody hurries to make up for an outage.
        return max(due, time.monotonic() - 0.5) + 2 * self.clients / self.rate

    def _by_smtp(self, client: int) -> None:
        line: smtplib.SMTP | None = None
        due, number = time.monotonic(), 0
        while self._another():
            for attempt in range(200):
                tail = f"-{attempt}" if attempt else ""
                unit = self._new(
                    Unit(f"{self.kind}-{self.name}-s{client}-{number}{tail}@far.example", "smtp")
                )
                line = self._smtp(line, unit)
                unit.at = time.time()
                if unit.answer is Answer.ACCEPTED or (attempt and self._stop.wait(0.3)):
                    break
            number += 1
            due = self._pace(due)
        if line is not None:
            line.close()

    def _smtp(self, line: smtplib.SMTP | None, unit: Unit) -> smtplib.SMTP | None:
        """One transaction; returns the connection if it may be used again."""
        poison = POISON.decode() + "\r\n" if self.poison else ""
        mail = (
            f"From: ann@example.org\r\nTo: {unit.address}\r\nSubject: {unit.address}\r\n{poison}\r\nbody\r\n"
        )
        started = time.monotonic()
        handed_over = False
        try:
            if line is None:
                line = smtplib.SMTP("127.0.0.1", self.door.smtp_port, timeout=40)
                line.login("default", self.door.key)
            for command in ("MAIL FROM:<ann@example.org>", f"RCPT TO:<{unit.address}>", "DATA"):
                code, reply = line.docmd(command)
                if code >= 400:
                    unit.words = f"{code} {reply.decode()}"
                    line.close()
                    return None
            handed_over = True
            line.send(mail.encode() + b".\r\n")
            code, reply = line.getreply()
        except (smtplib.SMTPException, OSError) as error:
            unit.answer = Answer.UNKNOWN if handed_over else Answer.REFUSED
            unit.words = unit.words or repr(error)
            if line is not None:
                line.close()
            return None
        unit.seconds = time.monotonic() - started
        text = reply.decode()
        if code == 250:
            unit.answer, unit.id = Answer.ACCEPTED, text.rpartition(" ")[2]
            return line
        unit.words = f"{code} {text}"
        line.close()
        return None

    def _by_rest(self, client: int) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self.door.api_port, timeout=40)
        due, number = time.monotonic(), 0
        while self._another():
            unit = self._new(Unit(f"{self.kind}-{self.name}-r{client}-{number}@far.example", "rest"))
            for attempt in range(200):
                self._rest(line, unit)
                unit.at = time.time()
                if unit.answer is Answer.ACCEPTED or (attempt and self._stop.wait(0.3)):
                    break
            number += 1
            due = self._pace(due)
        line.close()

    def _rest(self, line: http.client.HTTPConnection, unit: Unit) -> None:
        fields = {
            "from": "ann@example.org",
            "recipient": unit.address,
            "subject": unit.address,
            "body": "<p>body</p>",
        }
        headers = {
            "Authorization": f"Bearer {self.door.key}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"key-{unit.address}",
        }
        started = time.monotonic()
        handed_over = False
        try:
            if line.sock is None:
                line.connect()
            handed_over = True
            line.request("POST", "/v1/transactional/email/send", json.dumps(fields), headers)
            answer = line.getresponse()
            found = json.loads(answer.read())
        except (http.client.HTTPException, OSError, ValueError) as error:
            # Once unknown it stays so until it is accepted.
            if handed_over:
                unit.answer = Answer.UNKNOWN
            unit.words = unit.words or repr(error)
            line.close()
            return
        unit.seconds = time.monotonic() - started
        if answer.status == 201:
            unit.answer, unit.id = Answer.ACCEPTED, found["id"]
        else:
            unit.words = f"{answer.status} {found}"


class Newcomers:
    """Clients of both doors that make a connection for each mail, one after the other, until the end."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.taken = 0
        #: what was not taken, in the words of who was refused
        self.refused: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._come, args=(mail, f"take-new-{number}-{mail.__name__}"))
            for number, mail in enumerate((self._by_smtp, self._by_rest) * 2)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _come(self, mail: Callable[[str], None], name: str) -> None:
        number = 0
        while not self._stop.wait(0.005):
            number += 1
            try:
                mail(f"{name}-{number}@far.example".replace("_", "-"))
                self.taken += 1
            except (smtplib.SMTPException, http.client.HTTPException, OSError) as error:
                self.refused.append(repr(error))

    def _by_smtp(self, address: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.door.smtp_port, timeout=40) as line:
            line.login("default", self.door.key)
            line.sendmail(
                "ann@example.org", address, f"From: ann@example.org\r\nTo: {address}\r\n\r\nbody\r\n"
            )

    def _by_rest(self, address: str) -> None:
        fields = {"from": "ann@example.org", "recipient": address, "subject": "x", "body": "<p>body</p>"}
        headers = {"Authorization": f"Bearer {self.door.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.door.api_port}/v1/transactional/email/send",
            json.dumps(fields).encode(),
            headers,
        )
        with urllib.request.urlopen(request, timeout=40) as answer:  # noqa: S310
            answer.read()
