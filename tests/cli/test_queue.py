"""`pillarbox queue` as an operator meets it."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.config import load
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door
from relay.store import accounts, messages
from relay.store.database import open_database
from tests.installation import Installation


def submission(account: int, address: str, **fields: object) -> Submission:
    return Submission(
        account_id=account,
        key_id=None,
        door=Door.SMTP,
        sender="news@example.org",
        recipients=[EnvelopeRecipient(address)],
        head=b"Subject: x\r\n\r\n",
        tail=MemoryTail(b"x\r\n"),
        from_="news@example.org",
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture
def installation(tmp_path: Path, sqlite_template: Path) -> Iterator[Installation]:
    """One with 150 bulk mails and a normal one, and nobody at work."""
    with Installation(tmp_path) as made:
        (tmp_path / "data").mkdir(mode=0o700)
        shutil.copy(sqlite_template, tmp_path / "data" / "pillarbox.db")

        async def fill() -> None:
            database = open_database(load(made.config).database_url)
            account = await database.write(accounts.create_account, "acme", senders=["*"])
            mails = [submission(account, f"{n}@list.example", options={"lane": "bulk"}) for n in range(150)]
            await database.write(messages.insert, [*mails, submission(account, "one@example.net", tag="otp")])
            await database.close()

        asyncio.run(fill())
        yield made


def test_what_waits_is_counted_listed_stopped_and_let_go(installation: Installation) -> None:
    run = installation.run
    summary = run("queue")
    assert summary.returncode == 0, summary.stderr
    rows = {line.split()[0]: line.split()[1:] for line in summary.stdout.splitlines() if line.strip()}
    assert rows["bulk"] == ["150", "0", "0", "0", "0"]
    assert "No worker is alive" in summary.stdout
    assert "and no worker is alive" in run("queue", "--lane", "normal").stdout
    # Nothing that is much is done without a yes, and nothing by a slip.
    asked = run("queue", "hold", "--lane", "bulk")
    assert asked.returncode == 1
    assert "hold 150 recipients?" in asked.stderr
    for unclear in (["hold"], ["hold", "--all", "--lane", "bulk"]):
        refused = run("queue", *unclear)
        assert refused.returncode == 2
        assert "name message IDs or conditions" in refused.stderr
    counted = run("queue", "hold", "--to-domain", "list.example", "--dry-run")
    assert counted.stdout.strip() == "hold: 150 recipients would be changed"
    held = run("queue", "hold", "--lane", "bulk", "--yes", "--note", "wrong price", "--json")
    assert json.loads(held.stdout) == {"action": "hold", "dry_run": False, "changed": 150}
    listed = json.loads(run("queue", "list", "--state", "held", "--limit", "2", "--json").stdout)
    assert len(listed["data"]) == 2
    assert listed["data"][0]["why"]["reason"] == "held"
    assert listed["data"][0]["why"]["message"].endswith(": wrong price")
    assert "at the command line" in listed["data"][0]["why"]["message"]
    more = run("queue", "list", "--state", "held", "--limit", "1000", "--cursor", listed["next_cursor"])
    assert more.stdout.count("list.example") == 148
    one = str(listed["data"][0]["message_id"])
    assert run("queue", "release", one).stdout.strip() == "release: 1 recipients"
    assert run("queue", "cancel", one).stdout.strip() == "cancel: 1 recipients"
    assert "cancelled" in run("messages", "show", one).stdout
    purged = run("queue", "purge", "--state", "held", "-y")
    assert purged.stdout.strip() == "purge: 149 recipients"
    with sqlite3.connect(installation.directory / "data" / "pillarbox.db") as record:
        # The cancelled one and the one that waits are kept.
        assert record.execute("SELECT count(*) FROM body").fetchone() == (2,)
    record.close()


def test_another_way_is_a_provider_that_there_is(installation: Installation) -> None:
    unknown = installation.run("queue", "reroute", "nobody", "--all")
    assert unknown.returncode == 2
    assert "there is no provider nobody" in unknown.stderr
    moved = installation.run("queue", "reroute", "capture", "--tag", "otp")
    assert moved.stdout.strip() == "reroute: 1 recipients"
    listed = json.loads(installation.run("queue", "list", "--provider", "capture", "--json").stdout)
    assert [row["route"] for row in listed["data"]] == ["capture"]


def test_what_is_unclear_is_said(installation: Installation) -> None:
    for arguments, says in (
        (("list", "--older-than", "soon"), "15m"),
        (("list", "--state", "done"), "not waiting"),
        (("list", "--cursor", "x"), "none of ours"),
        (("hold", "x"), "an ID is a number"),
        (("list", "--account", "nobody"), "nobody"),
    ):
        answer = installation.run("queue", *arguments)
        assert answer.returncode in {1, 2}, arguments
        assert says in answer.stderr
        assert "Traceback" not in answer.stderr
