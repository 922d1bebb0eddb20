"""Backups are made while mail flows and restored by the words of docs/backup.md; nothing of before is missing."""

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

from relay.core import clock
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door
from relay.store import accounts, deliveries, messages
from relay.store.database import open_database
from tests.faults import load
from tests.faults.load import Load
from tests.faults.servers import OwnPostgres
from tests.installation import Installation, wait_for
from tests.sink import Sink

_DOC = (Path(__file__).parents[2] / "docs" / "backup.md").read_text()
_OUT = """
[providers.far]
type = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
[delivery.retry]
delays = [{delay}]
jitter = 0
"""


def words(beginning: str) -> str:
    """A command of the page, by how it begins."""
    (found,) = re.findall(rf"^ *({re.escape(beginning)}[^\n&]*)", _DOC, re.MULTILINE)
    return str(found).strip()


def door(installation: Installation) -> load.Door:
    return load.Door(installation.smtp_port, installation.api_port, installation.key)


def statuses(installation: Installation) -> dict[str, str]:
    return {one["id"]: one["status"] for one in installation.messages()}


@pytest.mark.slow
def test_a_sqlite_record_is_copied_in_use_and_comes_back(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with Sink(grey_times=1000) as sink:
        # What is greylisted waits while the copy is made, and goes out after it.
        with Installation(tmp_path, _OUT.format(port=sink.port, delay=1)) as installation:
            process = installation.up()
            with Load(door(installation), "before", most=12, kind="take") as sent:
                sent.join()
            with Load(door(installation), "open", most=6, kind="grey") as open_:
                open_.join()
            wait_for(lambda: sink.count >= 12, "the going out of the first")
            with Load(door(installation), "during", rate=80) as during:
                wait_for(lambda: len(during.accepted) > 5, "mail while the copy is made")
                done = installation.run("backup", str(copy))
                assert done.returncode == 0, done.stderr
            assert stat.S_IMODE(copy.stat().st_mode) == 0o600
            sink.grey_times = 0
            again = installation.run("backup", str(copy))
            assert again.returncode == 2
            assert "never replaces" in again.stderr
            wait_for(lambda: "ACCEPTED" not in statuses(installation).values(), "the going out of all")
            process.popen.terminate()
            assert process.wait() == 0
            before, waiting = {unit.id for unit in sent.accepted}, {unit.id for unit in open_.accepted}
            gone_out = sink.count

            shutil.copy(copy, tmp_path / "data" / "pillarbox.db")
            for name in re.findall(r"data/(pillarbox\.db-\w+)", words("rm -f data")):
                (tmp_path / "data" / name).unlink(missing_ok=True)
            hold = installation.run(*words("pillarbox queue hold").split()[1:])
            assert hold.returncode == 0, hold.stderr
            process = installation.up()
            restored = statuses(installation)
            assert {restored[one] for one in before} == {"SENT"}
            assert {restored[one] for one in waiting} == {"ACCEPTED"}
            with Load(door(installation), "after", most=4) as after:
                after.join()
            wait_for(lambda: sink.count >= gone_out + 4, "new mail, which flows")
            held = {unit.address for unit in open_.accepted}
            assert not held & {mail.recipients[0] for mail in sink.mails[gone_out:]}
            release = installation.run("queue", "release", "--all", "--yes")
            assert release.returncode == 0, release.stderr
            wait_for(
                lambda: "ACCEPTED" not in statuses(installation).values(), "the going out of what was held"
            )
            resent = {mail.recipients[0] for mail in sink.mails[gone_out:]}
            assert held <= resent
            assert not {unit.address for unit in sent.accepted} & resent
            process.popen.terminate()
            assert process.wait() == 0


@pytest.mark.slow
def test_a_postgres_record_is_dumped_in_use_and_comes_back(tmp_path: Path, valkey_url: str) -> None:
    from tests import services

    root = services.short_directory("pb-bk-")
    root.chmod(0o755)
    server = OwnPostgres(root, fsync="off")
    dump = tmp_path / "pillarbox.dump"
    server.start()
    try:
        with Sink() as sink:
            text = _OUT.format(port=sink.port, delay=1)
            with Installation(tmp_path, text, database=server.url, queue=valkey_url) as installation:
                process = installation.up()
                with Load(door(installation), "before", most=12) as sent:
                    sent.join()
                wait_for(lambda: "ACCEPTED" not in statuses(installation).values(), "the going out of all")
                said = statuses(installation)
                refused = installation.run("backup", str(tmp_path / "copy"))
                assert refused.returncode == 2
                assert "pg_dump" in refused.stderr
                shell(server, words("pg_dump --format"), dump, server.url)
                process.popen.terminate()
                assert process.wait() == 0
            shell(server, 'psql -q "$DATABASE_URL" -c "CREATE DATABASE restored"', dump, server.url)
            url = server.url.replace("/postgres?", "/restored?")
            shell(server, words("On PostgreSQL").partition("`")[2].rpartition("`")[0], dump, url)
            other = tmp_path / "other"
            other.mkdir()
            with Installation(other, text, database=url, queue=valkey_url) as installation:
                installation.key = sent.door.key
                assert installation.run("migrate").returncode == 0
                installation.up()
                assert statuses(installation) == said
                with Load(door(installation), "after", most=4) as after:
                    after.join()
                wait_for(lambda: sink.count >= 16, "new mail")
                assert sink.count == 16
    finally:
        server.stop()
        shutil.rmtree(root)


def shell(server: OwnPostgres, command: str, dump: Path, url: str) -> None:
    bin_dir = server.program("postgres").parent
    done = subprocess.run(
        ["sh", "-c", command.replace("/backup/pillarbox.dump", str(dump))],
        env={**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", "DATABASE_URL": url},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"


def test_a_backup_of_nothing_is_refused(tmp_path: Path) -> None:
    done = Installation(tmp_path).run("backup", str(tmp_path / "copy.db"))
    assert done.returncode == 2
    assert "no record" in done.stderr
    assert not (tmp_path / "copy.db").exists()


def test_a_copy_is_complete_by_itself_and_nobody_has_its_mail_in_hand(
    sqlite_url: str, tmp_path: Path
) -> None:
    from relay.store import backup

    asyncio.run(in_hand(sqlite_url))
    copy = tmp_path / "copy.db"
    assert backup.copy(Path(sqlite_url.removeprefix("sqlite:///")), copy) == copy.stat().st_size
    with sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True) as record:
        assert record.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert record.execute("SELECT state FROM recipient").fetchall() == [("queued",)]
    record.close()
    assert not list(tmp_path.glob("copy.db?*"))
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as record:
        assert record.execute("SELECT state FROM recipient").fetchall() == [("sending",)]
    record.close()


async def in_hand(url: str) -> None:
    """A mail that a worker is about to send."""
    database = open_database(url)
    try:
        account = await database.write(accounts.create_account, "one")
        mail = Submission(
            account_id=account,
            key_id=None,
            door=Door.SMTP,
            sender="a@example.org",
            recipients=[EnvelopeRecipient("b@example.net")],
            head=b"Subject: x\r\n\r\n",
            tail=MemoryTail(b"body\r\n"),
            from_="a@example.org",
        )
        (stored,) = await database.write(messages.insert, messages.prepare([mail]))
        claimed = await database.write(deliveries.claim, [stored.id], now=clock.now(), lease=30)
        assert len(claimed) == 1
    finally:
        await database.close()
