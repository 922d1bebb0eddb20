"""A database of the first schema with mail in it is brought up to date, and its mail goes on where it was."""

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from relay.core.errors import Unavailable
from relay.core.ids import new_id
from relay.store import migrate, tables
from relay.store.database import open_database
from relay.store.types import Instant
from tests.installation import Installation, wait_for
from tests.sink import Sink

pytestmark = pytest.mark.slow

#: the schema of the first published version
_FIRST = "0004"
_COUNT = 20
_KEY = "default_v1_" + "x" * 44
_OUT = """
[providers.far]
type = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
"""


@pytest.fixture(params=["sqlite", "postgres"])
def old_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/old.db"
        return
    with request.getfixturevalue("postgres_server").database("template0") as url:
        yield url


def fill(connection: sa.Connection) -> dict[str, str]:
    """Mail that was sent, mail that waits, and mail that was in a worker's hands; returns statuses by id."""
    found = sa.MetaData()
    found.reflect(connection)
    now = datetime.now(UTC)
    account = new_id()

    def insert(table: str, **values: Any) -> None:
        known = found.tables[table]
        for name in values:
            assert name in known.c, f"{table}.{name} is not of {_FIRST}"
            current = tables.metadata.tables[table].c
            if name in current and isinstance(current[name].type, Instant):
                known.c[name].type = Instant()
        connection.execute(known.insert().values(**values))

    insert("account", id=account, name="default", created_at=now)
    insert(
        "api_key",
        id=new_id(),
        account_id=account,
        digest=hashlib.sha256(_KEY.encode()).hexdigest(),
        last_five=_KEY[-5:],
        label="old",
        scopes=["send", "read", "admin"],
        created_at=now,
    )
    insert("sender", id=new_id(), account_id=account, pattern="*", created_at=now)
    statuses = {}
    for number in range(_COUNT):
        state = ("done", "queued", "sending")[number % 3]
        status = "SENT" if state == "done" else "ACCEPTED"
        message, recipient, address = new_id(), new_id(), f"take-{state}-{number}@far.example"
        insert(
            "message",
            **{"from": "Ann <ann@example.org>"},
            id=message,
            account_id=account,
            door="smtp",
            lane="normal",
            sender="ann@example.org",
            recipient=address,
            subject=f"Number {number}",
            size=40,
            smtputf8=False,
            eight_bit=False,
            status=status,
            created_at=now,
            updated_at=now,
            accepted_at=now,
            sent_at=now if state == "done" else None,
            from_address="ann@example.org",
        )
        insert("body", message_id=message, part=0, data=f"Subject: Number {number}\r\n\r\nbody\r\n".encode())
        insert(
            "recipient",
            id=recipient,
            message_id=message,
            account_id=account,
            position=0,
            address=address,
            kind="to",
            lane="normal",
            state=state,
            status=status,
            attempts=0 if state == "queued" else 1,
            crashes=0,
            fence=0 if state == "queued" else 1,
            due_at=now if state == "queued" else None,
            lease_until=now - timedelta(seconds=5) if state == "sending" else None,
            updated_at=now,
        )
        insert("event", id=new_id(), message_id=message, recipient_id=recipient, kind="accepted", at=now)
        statuses[str(message)] = status
    insert(
        "suppression",
        id=new_id(),
        account_id=account,
        address="gone@far.example",
        reason="bounce",
        source="far",
        created_at=now,
    )
    return statuses


def make_old(url: str) -> dict[str, str]:
    def old(connection: sa.Connection) -> dict[str, str]:
        command.upgrade(migrate.alembic_config(connection), _FIRST)
        return fill(connection)

    made = migrate._run(url, old, create=True)
    assert made is not None
    return made


def test_mail_of_the_first_schema_goes_on(old_url: str, tmp_path: Path, valkey_url: str) -> None:
    statuses = make_old(old_url)
    assert migrate.current(old_url) == _FIRST
    urls = {"database": old_url, "queue": valkey_url}
    with Sink() as sink, Installation(tmp_path, _OUT.format(port=sink.port), **urls) as installation:
        early = installation.run("worker")
        assert early.returncode == 2
        assert "pillarbox migrate" in early.stderr
        done = installation.run("migrate")
        assert done.returncode == 0, done.stderr
        installation.key = _KEY
        installation.up()

        def told() -> dict[str, str]:
            return {one["id"]: one["status"] for one in installation.messages()}

        assert told().keys() == statuses.keys()
        wait_for(lambda: set(told().values()) == {"SENT"}, "the going out of what waited")
        waited = sorted(status for status in statuses.values() if status == "ACCEPTED")
        assert sorted(mail.recipients[0].split("-")[1] for mail in sink.mails) == sorted(
            state
            for number in range(_COUNT)
            if (state := ("done", "queued", "sending")[number % 3]) != "done"
        )
        assert len(sink.mails) == len(waited)
        listed = installation.run("suppressions", "list", "--account", "default")
        assert "gone@far.example" in listed.stdout


def test_an_upgrade_that_fails_changes_nothing(old_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is one transaction on both databases: a version that cannot migrate leaves what the old one needs."""
    make_old(old_url)
    original = command.upgrade

    def fails(config: Any, revision: str) -> None:
        original(config, revision)
        raise OSError("the disk, the power, anything")

    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", fails)
        with pytest.raises((OSError, Unavailable)):
            migrate.upgrade(old_url)
    assert migrate.current(old_url) == _FIRST
    migrate.upgrade(old_url)
    assert migrate.is_current(old_url)

    async def count() -> int:
        one = open_database(old_url)
        try:
            query = sa.select(sa.func.count()).select_from(tables.message)
            return int(await one.read(lambda connection: connection.execute(query).scalar_one()))
        finally:
            await one.close()

    assert asyncio.run(count()) == _COUNT


Columns = dict[str, dict[str, Any]]


def test_the_version_before_can_go_on_writing(old_url: str) -> None:
    """Between `pillarbox migrate` and the last restart it works on the new schema, not knowing what was added."""

    def tables_at(revision: str) -> dict[str, Columns]:
        def look(connection: sa.Connection) -> dict[str, Columns]:
            command.upgrade(migrate.alembic_config(connection), revision)
            inspector = sa.inspect(connection)
            return {
                name: {str(column["name"]): dict(column) for column in inspector.get_columns(name)}
                for name in inspector.get_table_names()
            }

        found = migrate._run(old_url, look, create=True)
        assert found is not None
        return found

    later = [revision for revision in migrate._revisions() if revision >= _FIRST]
    before = tables_at(later[0])
    for revision in later[1:]:
        after = tables_at(revision)
        for table, columns in before.items():
            assert columns.keys() <= after[table].keys(), f"{revision} takes something from {table}"
            for name, column in after[table].items():
                optional = column["nullable"] or column["default"] is not None
                known = columns.get(name)
                assert optional or (known and not known["nullable"]), (
                    f"{revision}: {table}.{name} is demanded"
                )
        before = after
