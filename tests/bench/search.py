"""How long finding mail takes among many: every filter, for one account and for all; prints a table.

    python -m tests.bench.search --messages 1000000

On SQLite, filled by SQL and not by a door. Milliseconds are the best of three.
"""

import argparse
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.ids import floor_at
from relay.core.status import Door, Status
from relay.store import migrate
from relay.store.search import Search, search
from relay.store.sqlite import sqlite_engine

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last}) "
_MESSAGES = """
INSERT INTO message(id, account_id, door, lane, sender, "from", from_address, recipient, subject, tag, size, smtputf8,
  eight_bit, status, created_at, updated_at)
SELECT {base} + i * {step}, 1 + i % 3, CASE WHEN i % 5 THEN 'smtp' ELSE 'rest' END, 'normal', 's@x.example',
  's@x.example', 's' || (i % 1000) || '@x.example', 'r' || (i % 200000) || '@c.example', 'Order number ' || i,
  't' || (i % 50), 1000, 0, 0, CASE WHEN i % 100 THEN 'SENT' ELSE 'BOUNCED' END, 1, 1 FROM n
"""
_RECIPIENTS = """
INSERT INTO recipient(id, message_id, account_id, position, address, kind, lane, state, status, attempts, crashes,
  fence, provider, updated_at)
SELECT {base} + i * {step} + 1, {base} + i * {step}, 1 + i % 3, 0, 'r' || (i % 200000) || '@c.example', 'to',
  'normal', 'done', 'SENT', 1, 0, 0, CASE WHEN i % 1000 THEN 'main' ELSE 'spare' END, 1 FROM n
"""

FILTERS = {
    "newest": Search(),
    "recipient": Search(recipient="r77@c.example"),
    "sender": Search(from_="s77@x.example"),
    "tag": Search(tag="t7"),
    "status bounced": Search(status=Status.BOUNCED),
    "nine days ago": Search(created_before=now() - timedelta(days=9)),
    "door": Search(door=Door.REST),
    "provider, rare": Search(provider="spare"),
    "provider, none": Search(provider="nobody"),
    "subject, none": Search(subject="nothing like it"),
    "status accepted, none": Search(status=Status.ACCEPTED),
}


def fill(connection: sa.Connection, messages: int) -> None:
    base = floor_at(now() - timedelta(days=10))
    values = {"base": base, "step": (floor_at(now()) - base) // messages, "last": messages - 1}
    driver = connection.connection.driver_connection
    driver.execute("BEGIN")
    for account in (1, 2, 3):
        driver.execute(
            "INSERT INTO account(id, name, created_at) VALUES (?, ?, 1)", (account, f"account {account}")
        )
    for text in (_MESSAGES, _RECIPIENTS):
        driver.execute((_NUMBERS + text).format(**values))
    driver.execute("COMMIT")


def measure(messages: int) -> dict[tuple[str, str], tuple[float, int]]:
    """Milliseconds and rows found, by filter and by whose mail."""
    found: dict[tuple[str, str], tuple[float, int]] = {}
    with tempfile.TemporaryDirectory(prefix="pb-search-") as directory:
        path = Path(directory) / "record.db"
        migrate.upgrade(f"sqlite:///{path}")
        engine = sqlite_engine(path)
        with engine.connect() as connection:
            fill(connection, messages)
            for name, wanted in FILTERS.items():
                for whose, account in (("all accounts", None), ("one account", 1)):
                    best, rows = float("inf"), 0
                    for _ in range(3):
                        began = time.perf_counter()
                        rows = len(search(connection, account, wanted).rows)
                        best = min(best, time.perf_counter() - began)
                    found[name, whose] = best * 1000, rows
        engine.dispose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    for (name, whose), (milliseconds, rows) in measure(parser.parse_args().messages).items():
        print(f"{name:24} {whose:14} {milliseconds:8.1f} ms  {rows:3} rows")


if __name__ == "__main__":
    main()
