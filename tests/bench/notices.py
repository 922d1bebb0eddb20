"""What webhooks to customers cost where mail is accepted and settled: `python -m tests.bench.notices [mails]`.

CPU of one process on SQLite, in groups of 50 mails; the outbox is taken out, has nobody to tell, or has one endpoint.
Rounds take turns, and the median of each is shown. Nothing is sent.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from unittest import mock

from relay.core.event import EventKind
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door, State
from relay.notices.endpoints import Endpoints
from relay.notices.secrets import open_safe
from relay.sections import NoticeSettings
from relay.store import accounts, deliveries, messages, migrate, notices, outbox
from relay.store.database import Database, open_database
from relay.store.settling import Settlement, settle

_GROUP = 50
_ROUNDS = 7


class Bench:
    """One database with one account."""

    def __init__(self, database: Database, account: int) -> None:
        self.database = database
        self.account = account

    def _submission(self) -> Submission:
        return Submission(
            account_id=self.account,
            key_id=None,
            door=Door.SMTP,
            sender="from@example.org",
            recipients=[EnvelopeRecipient("to@example.net")],
            head=b"Subject: x\r\n\r\n",
            tail=MemoryTail(b"body\r\n" * 100),
            from_="from@example.org",
        )

    async def round(self, mails: int) -> tuple[float, float]:
        """CPU microseconds per mail, for storing it and for settling it."""
        storing = settling = 0.0
        for _ in range(mails // _GROUP):
            group = [self._submission() for _ in range(_GROUP)]
            begun = time.process_time()
            stored = await self.database.write(messages.insert, group)
            storing += time.process_time() - begun
            now = datetime.now(UTC) + timedelta(seconds=1)
            ids = [one.id for one in stored]
            claimed = await self.database.write(deliveries.claim, ids, now=now, lease=30)
            settled = [
                Settlement(claim, State.DONE, EventKind.SENT, now, "250 2.0.0 ok", "office")
                for mail in claimed
                for claim in mail.claims
            ]
            begun = time.process_time()
            await self.database.write(settle, settled)
            settling += time.process_time() - begun
        return storing / mails * 1e6, settling / mails * 1e6

    async def look(self, times: int = 300) -> float:
        """CPU microseconds of one look at an outbox."""
        begun = time.process_time()
        for _ in range(times):
            await self.database.read(notices.waiting, now=datetime.now(UTC) - timedelta(days=1))
        return (time.process_time() - begun) / times * 1e6


async def _opened(directory: Path, name: str, endpoints: int) -> Bench:
    url = f"sqlite:///{directory / name}.db"
    await asyncio.to_thread(migrate.upgrade, url)
    database = open_database(url)
    account = await database.write(accounts.create_account, "bench", senders=["*"])
    made = Endpoints(database, NoticeSettings(), partial(open_safe, [], database))
    for number in range(endpoints):
        await made.create(account, f"https://8.8.8.8/{number}")
    return Bench(database, account)


async def measure(mails: int) -> None:
    with tempfile.TemporaryDirectory(prefix="pb-notices-") as directory:
        benches = {
            "without": await _opened(Path(directory), "without", 0),
            "nobody to tell": await _opened(Path(directory), "nobody", 0),
            "one endpoint": await _opened(Path(directory), "one", 1),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in benches}
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731 - a stand-in
        for turn in range(_ROUNDS + 1):
            for name, bench in benches.items():
                if name == "without":
                    with mock.patch.multiple(outbox, happened=nothing, accepted=nothing):
                        result = await bench.round(mails)
                else:
                    result = await bench.round(mails)
                if turn:  # the first one warms up
                    found[name].append(result)
        print(f"{mails} mails in groups of {_GROUP}, CPU per mail, median of {_ROUNDS} rounds")
        for name, results in found.items():
            storing = statistics.median(one for one, _ in results)
            settling = statistics.median(other for _, other in results)
            print(f"{name:15} storing {storing:6.1f} µs   settling {settling:6.1f} µs")
        print(f"a look with nothing to do    {await benches['nobody to tell'].look():6.1f} µs")
        print(f"a look where much waits      {await benches['one endpoint'].look():6.1f} µs")
        for bench in benches.values():
            await bench.database.close()


def main() -> None:
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))


if __name__ == "__main__":
    main()
