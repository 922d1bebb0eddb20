"""A storm of events on a whole installation: doubled, shuffled, before and after our own record of the send.

python -m tests.bench.events --events 100000              as fast as it goes
python -m tests.bench.events --events 30000 --rate 1000   the lag at 1,000 events a second

Real processes, HTTP with a vendor's signature, one event in a request unless --batch says otherwise. At the end every
status is compared with what follows from everything that was told.
"""

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from relay.config import load
from relay.core.event import EventKind
from relay.core.ids import made_at
from relay.store import inbox, settling
from relay.store import tables as t
from relay.store.database import Database, open_database
from tests import services
from tests.bench.rest import cpu
from tests.installation import Installation
from tests.tracking.stream import HARD, PROVIDER, Fact, Mail, account_of, claimed, life, outcome, snapshot

KEY = "signing-secret"
SECRET = "a-long-enough-path-secret"
CONFIGURATION = f"""
[providers.{PROVIDER}]
type = "mailersend"
api_key = "unused"
webhook_key = "{KEY}"
webhook_secret = "{SECRET}"
[log]
level = "warning"
"""
_NAMES = {
    EventKind.SENT: "sent",
    EventKind.DEFERRED: "deferred",
    EventKind.DELIVERED: "delivered",
    EventKind.OPENED: "opened",
    EventKind.CLICKED: "clicked",
    EventKind.COMPLAINED: "spam_complaint",
    EventKind.UNSUBSCRIBED: "unsubscribed",
}
_CONNECTIONS = 16


def told(mail: Mail, fact: Fact) -> dict[str, Any]:
    """A fact as the vendor has it."""
    name = _NAMES.get(fact.kind) or ("hard_bounced" if fact.bounce == HARD else "soft_bounced")
    return {
        "type": f"activity.{name}",
        "data": {
            "id": f"{mail.claim.id}-{name}-{fact.second}",
            "created_at": fact.at.isoformat(),
            "email": {
                "tags": [f"pillarbox:{mail.claim.message_id}.{mail.claim.id}"],
                "message": {"id": mail.ref},
                "recipient": {"email": mail.claim.address},
            },
        },
    }


def request(events: Sequence[dict[str, Any]]) -> bytes:
    """One signed request of HTTP/1.1."""
    body = json.dumps(events if len(events) > 1 else events[0]).encode()
    signature = hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
    return (
        f"POST /v1/webhooks/{PROVIDER}/{SECRET} HTTP/1.1\r\nHost: door\r\nSignature: {signature}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@dataclass
class Storm:
    """Mails, and everything that is going to be told of them."""

    mails: list[Mail]
    events: list[tuple[Mail, Fact]]
    answered: dict[str, float] = field(default_factory=dict)
    #: requests that got no 200, to be made again as a vendor would
    failures: int = 0

    @classmethod
    async def prepare(cls, database: Database, account: int, count: int, seed: int = 1) -> "Storm":
        dice = random.Random(seed)
        lives: list[list[Fact]] = []
        reports = 0
        while 2 * reports < count:
            facts = [fact for fact in life(dice) if not fact.machine and fact.kind is not EventKind.UNKNOWN]
            lives.append(facts)
            reports += sum(1 for fact in facts if fact.settled is None)
        mails = await claimed(database, account, len(lives))
        for mail, facts in zip(mails, lives, strict=True):
            mail.facts = facts
        events = 2 * [(mail, fact) for mail in mails for fact in mail.facts if fact.settled is None]
        dice.shuffle(events)
        return cls(mails, events)

    async def settle(self, database: Database, mails: Sequence[Mail]) -> None:
        """Our own record of the sends."""
        settlements = [
            mail.settlement(fact) for mail in mails for fact in mail.facts if fact.settled is not None
        ]
        for start in range(0, len(settlements), 200):
            await database.write(settling.settle, settlements[start : start + 200])
            await asyncio.sleep(0)

    async def blow(self, port: int, *, rate: float = 0, batch: int = 1) -> float:
        """Tell everything; returns the seconds it took."""
        groups = [self.events[start : start + batch] for start in range(0, len(self.events), batch)]
        requests = [(request([told(*one) for one in group]), group) for group in groups]
        started = time.monotonic()
        position = 0

        async def client() -> None:
            nonlocal position
            async with _connection(port) as (reader, writer):
                while position < len(requests):
                    mine = position
                    position += 1
                    if rate:
                        await asyncio.sleep(max(0.0, started + mine * batch / rate - time.monotonic()))
                    data, group = requests[mine]
                    while not await self._post(reader, writer, data):
                        self.failures += 1
                        await asyncio.sleep(0.2)
                    for mail, fact in group:
                        self.answered.setdefault(told(mail, fact)["data"]["id"], time.time())

        await asyncio.gather(*(client() for _ in range(_CONNECTIONS)))
        return time.monotonic() - started

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bool:
        writer.write(data)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        await reader.readexactly(length)
        return head.startswith(b"http/1.1 200")

    async def faults(self, database: Database) -> list[str]:
        """What the record says that does not follow from what was told."""
        found = await database.read(snapshot, self.mails)
        wrong = []
        for mail, (recipient, message, lines, _) in zip(self.mails, found, strict=True):
            expected = outcome(mail.facts)
            if recipient[0] != expected or message[0] != expected:
                wrong.append(f"{mail.claim.id}: {recipient[0]} and {message[0]}, expected {expected}")
            kinds = sorted((kind, at) for kind, at, _, _ in lines)
            if kinds != sorted((fact.kind.value, fact.at) for fact in mail.facts):
                wrong.append(f"{mail.claim.id}: lines {kinds}")
        return wrong

    async def lags(self, database: Database) -> list[float]:
        """Seconds from the answer to the vendor until the event was being recorded, for each event."""
        e = t.event.c
        rows = await database.read(
            lambda connection: [
                (row.id, row.detail["original"]["data"]["id"])
                for row in connection.execute(sa.select(e.id, e.detail).where(e.dedupe.is_not(None)))
            ]
        )
        return sorted(made_at(identifier).timestamp() - self.answered[key] for identifier, key in rows)


@contextlib.asynccontextmanager
async def _connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def emptied(database: Database, seconds: float = 300) -> float:
    """Wait until nothing is left in the inbox; returns the seconds it took."""
    started = time.monotonic()
    while await database.read(_left):
        if time.monotonic() - started > seconds:
            raise AssertionError(f"{await database.read(_left)} left in the inbox")
        await asyncio.sleep(0.05)
    return time.monotonic() - started


def _left(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(t.inbox)).scalar_one())


async def storm(installation: Installation, count: int, rate: float, batch: int) -> None:
    database = open_database(load(installation.config).database_url)
    try:
        blowing = await Storm.prepare(database, await account_of(database), count)
        half = len(blowing.mails) // 2
        await blowing.settle(database, blowing.mails[:half])
        before = {process.pid: cpu(process.pid) for process in _processes(installation)}
        settling = asyncio.create_task(blowing.settle(database, blowing.mails[half:]))
        took = await blowing.blow(installation.api_port, rate=rate, batch=batch)
        await settling
        rest = await emptied(database)
        spent = sum(cpu(process.pid) - before.get(process.pid, 0) for process in _processes(installation))
        total = len(blowing.events)
        lags = await blowing.lags(database)
        wrong = await blowing.faults(database)
        print(
            f"{len(blowing.mails)} mails, {total} events ({total // 2} of them told twice), {batch} a request"
        )
        print(f"answered   {total / took:8.0f}/s   {blowing.failures} requests made again")
        print(
            f"recorded   {total / (took + rest):8.0f}/s   the inbox was empty {rest:.2f} s after the last answer"
        )
        print(f"CPU        {1000 * spent / total:8.2f} s for 1,000 events")
        middle, late = statistics.median(lags), lags[len(lags) * 99 // 100]
        print(
            f"lag        p50 {middle * 1000:.0f} ms, p99 {late * 1000:.0f} ms, most {lags[-1] * 1000:.0f} ms"
        )
        print(f"wrong      {len(wrong)}", *wrong[:5], sep="\n")
        assert not wrong
        assert not await database.read(inbox.page, limit=1)
    finally:
        await database.close()


@dataclass(frozen=True)
class _Running:
    pid: int


def _processes(installation: Installation) -> list[_Running]:
    """Every process of the installation, children of `up` included."""
    groups = {process.popen.pid for process in installation.processes}
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[2]) in groups:
                found.append(_Running(int(path.parent.name)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=0, help="events a second; 0 is as fast as it goes")
    parser.add_argument("--batch", type=int, default=1, help="events in one request")
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pb-events-")))
        urls = {}
        if options.postgres:
            home = services.short_directory("pb-pg-")
            home.chmod(0o755)
            server = services.Postgres(home)
            server.open()
            stack.callback(server.close)
            urls["database"] = stack.enter_context(server.database())
        with Installation(directory, CONFIGURATION, **urls) as installation:
            installation.up()
            asyncio.run(storm(installation, options.events, options.rate, options.batch))


if __name__ == "__main__":
    main()
