"""How the record bears a long queue: mails that wait, a million of them, and what everything costs as they grow.

    python -m tests.bench.scale --mails 1000000
    python -m tests.bench.scale --mails 5000000 --postgres

After each step it measures, on a record that nothing else uses: mails stored per second by groups as a door commits
them, the time of a claim of 100 due mails, the clock's look at the lanes, pages of a customer's list (plain, by tag
and by status, from anywhere in its history), this process's memory, and the size of the record. Prints a table or
JSON. Without `--database` it uses SQLite in a directory of its own, under `--directory`.
"""

import argparse
import asyncio
import contextlib
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from relay.core.clock import now
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door, Status
from relay.store import accounts, deliveries, messages, migrate
from relay.store.database import Database, open_database
from relay.store.deliveries import HandBack
from tests.faults.servers import OwnPostgres

_GROUP = 100
_LOOKS = 200
COLUMNS = {
    "waiting": "waiting",
    "stored_per_second": "stored/s",
    "claim_ms": "claim of 100, p50 ms",
    "claim_p99_ms": "p99 ms",
    "look_ms": "look at the lanes, p50 ms",
    "list_ms": "list of 50, p50 ms",
    "list_p99_ms": "p99 ms",
    "resident_mib": "memory MiB",
    "record_mib": "record MiB",
}


def _mail(account: int, number: int, octets: int) -> Submission:
    address = f"person{number}@customer{number % 5000}.example"
    return Submission(
        account_id=account,
        key_id=None,
        door=Door.SMTP,
        sender="sender@example.org",
        recipients=[EnvelopeRecipient(address)],
        head=b"From: sender@example.org\r\nTo: %s\r\nSubject: %d\r\n\r\n" % (address.encode(), number),
        tail=MemoryTail(b"x" * octets),
        from_="Sender <sender@example.org>",
        subject=f"Waiting {number}",
        tag=f"tag{number % 20}" if number % 3 == 0 else None,
    )


def _resident() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _size(folder: Path) -> float:
    """MiB of the files there; none where the record is elsewhere."""
    octets = 0
    for one in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a server makes and removes files as it likes
            octets += one.stat().st_size
    return octets / 2**20


async def _timed(count: int, work: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    """Median and 99th percentile of so many calls, in milliseconds."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await work()
        times.append((time.perf_counter() - started) * 1000)
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.99)]


class Record:
    """A database and what is done to it."""

    def __init__(self, database: Database, customers: list[int], octets: int) -> None:
        self._database = database
        self._customers = customers
        self._octets = octets
        self._stored = 0
        self._began = now()

    async def fill(self, count: int) -> float:
        """Store so many; returns how many a second."""
        started = time.perf_counter()
        for _ in range(count // _GROUP):
            group = [
                _mail(
                    self._customers[(self._stored + n) % len(self._customers)], self._stored + n, self._octets
                )
                for n in range(_GROUP)
            ]
            await messages.store(self._database, messages.prepare(group, self._database.dialect))
            self._stored += _GROUP
        return count / (time.perf_counter() - started)

    async def claim(self) -> None:
        """Take a hundred as a worker does, and put them back at the end of the queue."""
        mails = await self._database.write_soon(
            deliveries.claim_due, "normal", limit=100, now=now(), lease=60
        )
        assert len(mails) == min(100, self._stored), "something due was not found"
        self._taken = [claim for mail in mails for claim in mail.claims]

    async def put_back(self) -> None:
        returned = [HandBack(claim, now()) for claim in self._taken]
        await self._database.write(deliveries.hand_back, returned)

    async def look(self) -> None:
        assert "normal" in await self._database.read(deliveries.due_lanes, now=now())

    async def page(self) -> None:
        """Fifty of one customer's messages, from anywhere in its history, by one of the filters there are."""
        filters: dict[str, Any] = random.choice(
            [
                {},
                {"tag": f"tag{random.randrange(20)}"},
                {"status": Status.ACCEPTED},
                {"status": Status.BOUNCED},
            ]
        )
        before = self._began + timedelta(seconds=random.uniform(0, (now() - self._began).total_seconds()))
        query = messages.Query(limit=50, created_lt=before, **filters)
        await self._database.read(messages.listing, random.choice(self._customers), query)

    async def claims(self, count: int) -> tuple[float, float]:
        times = []
        for _ in range(count):
            middle, _most = await _timed(1, self.claim)
            times.append(middle)
            await self.put_back()
        times.sort()
        return times[len(times) // 2], times[int(len(times) * 0.99)]


async def measure(options: argparse.Namespace, url: str, folder: Path) -> list[dict[str, float]]:
    database = open_database(url)
    rows: list[dict[str, float]] = []
    try:
        # A name of its own, so that a PostgreSQL database can be used again.
        name = f"scale-{datetime.now().timestamp():.0f}"
        customers = [
            await database.write(accounts.create_account, f"{name}-{number}", senders=["*"])
            for number in range(options.customers)
        ]
        record = Record(database, customers, options.size)
        for waiting in range(options.step, options.mails + 1, options.step):
            stored = await record.fill(options.step)
            claim, claim_most = await record.claims(_LOOKS // 4)
            look, _ = await _timed(_LOOKS, record.look)
            page, page_most = await _timed(_LOOKS, record.page)
            values = (waiting, stored, claim, claim_most, look, page, page_most, _resident(), _size(folder))
            rows.append(dict(zip(COLUMNS, values, strict=True)))
            print(_row(rows[-1]), flush=True)
    finally:
        await database.close()
    return rows


def _row(row: dict[str, float]) -> str:
    return "| " + " | ".join(f"{row[name]:,.{0 if row[name] >= 100 else 2}f}" for name in COLUMNS) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mails", type=int, default=1_000_000)
    parser.add_argument(
        "--step", type=int, default=0, help="mails between two looks; default: a fifth of all"
    )
    parser.add_argument("--size", type=int, default=1024, help="octets of a mail")
    parser.add_argument("--customers", type=int, default=10)
    parser.add_argument(
        "--database", default="", help="URL of an empty or migrated database; default: SQLite"
    )
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server made for it")
    parser.add_argument("--directory", type=Path, help="where the SQLite file is made, and removed")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    options.step = max(options.step or options.mails // 5, _GROUP) // _GROUP * _GROUP
    with tempfile.TemporaryDirectory(prefix="pb-scale-", dir=options.directory) as name:
        Path(name).chmod(0o755)
        server = OwnPostgres(Path(name) / "server", shared_buffers="1GB") if options.postgres else None
        if server is not None:
            server.start()
        url = server.url if server else options.database or f"sqlite:///{name}/pillarbox.db"
        migrate.upgrade(url)
        print("| " + " | ".join(COLUMNS.values()) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
        try:
            rows = asyncio.run(measure(options, url, server.data if server else Path(name)))
        finally:
            if server is not None:
                server.stop()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
