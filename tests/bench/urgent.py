"""How long one urgent mail takes from its acceptance to the provider's while a long bulk queue drains.

    python -m tests.bench.urgent --bulk 100000 --tries 100

The bulk mail is in the record before anything starts; then `pillarbox up` sends it by SMTP to a counting sink on this
machine, by no more connections than `--out`. Times are the record's own: when the mail was committed, and when the
provider's answer was there.
"""

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from relay.config import load
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door
from relay.store import accounts, messages
from relay.store.database import open_database
from tests.bench.measure import CountingSink
from tests.bench.throughput import CONFIGURATION
from tests.installation import Installation

_GROUP = 1000
_OTP = {
    "from": "otp@example.org",
    "recipient": "someone@example.net",
    "subject": "One time OTP",
    "body": "It is 145863",
    "classification": "URGENT",
}


async def fill(url: str, count: int) -> None:
    """So many bulk mails of one account, due now."""
    database = open_database(url)
    account = await database.write(accounts.create_account, "default", senders=["*"])
    for start in range(0, count, _GROUP):
        group = [
            Submission(
                account_id=account,
                key_id=None,
                door=Door.REST,
                sender="news@example.org",
                recipients=[EnvelopeRecipient(f"reader{number}@example.net")],
                head=b"From: news@example.org\r\nSubject: News\r\n\r\n",
                tail=MemoryTail(b"n" * 70 + b"\r\n"),
                from_="news@example.org",
                options={"lane": "bulk"},
            )
            for number in range(start, min(start + _GROUP, count))
        ]
        await database.write(messages.insert, group)
    await database.close()


def measure(options: argparse.Namespace) -> dict[str, float]:
    with CountingSink() as sink, tempfile.TemporaryDirectory(prefix="pb-bench-") as directory:
        configuration = CONFIGURATION.format(
            port=sink.port, connections=options.out, level="warning", doors=1, workers=options.workers
        )
        with Installation(Path(directory), configuration) as installation:
            assert installation.run("migrate").returncode == 0
            asyncio.run(fill(load(installation.config).database_url, options.bulk))
            installation.up()
            for _ in range(options.tries):
                status, answer = installation.request("/v1/transactional/email/send", _OTP)
                assert status == 201, answer
                time.sleep(options.every)
            drained = sink.count() - options.tries
            record = Path(directory) / "data" / "pillarbox.db"
            seconds = waits(record, options.tries)
    ordered = sorted(seconds)
    return {
        "tries": len(ordered),
        "bulk_left": options.bulk - drained,
        "p50_ms": statistics.median(ordered) * 1000,
        "p99_ms": ordered[max(0, -(-99 * len(ordered) // 100) - 1)] * 1000,
        "most_ms": ordered[-1] * 1000,
    }


def waits(record: Path, count: int) -> list[float]:
    """Seconds from acceptance to the provider's of all urgent mail. Raises TimeoutError."""
    deadline = time.monotonic() + 60
    with sqlite3.connect(record) as connection:
        while True:
            rows = connection.execute(
                "SELECT r.sent_at - m.accepted_at FROM recipient AS r JOIN message AS m ON m.id = r.message_id"
                " WHERE r.lane = 'urgent' AND r.sent_at IS NOT NULL"
            ).fetchall()
            if len(rows) == count:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(rows)} of {count} urgent mails were sent")
            time.sleep(0.1)
    connection.close()
    return [row[0] / 1_000_000 for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bulk", type=int, default=100_000)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--every", type=float, default=0.2, help="seconds between two tries")
    parser.add_argument("--out", type=int, default=20, help="connections to the sink at most")
    parser.add_argument("--workers", type=int, default=1)
    print(json.dumps(measure(parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
