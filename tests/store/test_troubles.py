"""A database in trouble: clients are put off, the operator reads why, and it is used again once it is mended."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from relay.cli.examine import record
from relay.config import Settings
from relay.core.errors import Full, Unavailable
from relay.observe import facts
from relay.store import tables as t
from relay.store.database import open_database, ping, words_of
from tests.installation import Installation


def test_refused_credentials_are_told_and_recovered_from(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(facts, "record_away", told.append)
    # Once is told until it is mended, however long three tries take here.
    monkeypatch.setattr("relay.store.database._TELL", 3600.0)
    monkeypatch.setattr(facts, "record_back", lambda _seconds: told.append("back"))
    refused = make_url(postgres_url).set(username="refused", password="hidden")
    url = refused.render_as_string(hide_password=False)

    async def let(how: str) -> None:
        owner = open_database(postgres_url)
        await owner.write(lambda connection: connection.execute(sa.text(how)))
        await owner.close()

    async def main() -> None:
        await let("CREATE ROLE refused NOLOGIN")
        database = open_database(url)
        try:
            for _ in range(3):
                with pytest.raises(Unavailable) as raised:
                    await database.read(ping)
            assert words_of(raised.value) == 'role "refused" is not permitted to log in'
            await let("ALTER ROLE refused LOGIN")
            await database.read(ping)
        finally:
            await database.close()
            await let("ALTER ROLE refused NOLOGIN")

    try:
        asyncio.run(main())
        (why, back) = told
        assert "not permitted to log in" in why
        assert back == "back"
        (finding,) = record.schema(Settings(data_dir=tmp_path, database={"url": url}))
        assert (finding.level, "is not permitted to log in" in finding.says) == ("fail", True)
        assert "hidden" not in finding.says + finding.todo
        with Installation(tmp_path, database=url) as installation:
            done = installation.run("messages", "list")
            assert done.returncode == 1
            assert "the database cannot be used: role" in done.stderr
            assert "Traceback" not in done.stderr
    finally:
        asyncio.run(let("DROP ROLE refused"))


def test_a_full_disk_puts_mail_off_until_there_is_room(sqlite_url: str) -> None:
    async def main() -> None:
        database = open_database(sqlite_url)

        def limit(connection: sa.Connection, pages: int) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

        def fill(connection: sa.Connection, count: int) -> None:
            rows = [
                {"name": f"{n}", "mode": "active", "circuit": "closed", "openings": 0, "reason": "x" * 4000}
                for n in range(count)
            ]
            connection.execute(t.provider_state.insert(), rows)

        # SQLite says of this file what it would say of a full disk.
        await database.write(limit, 1)
        with pytest.raises(Full) as refused:
            await database.write(fill, 100)
        assert (refused.value.smtp, refused.value.http_status) == ((452, "4.3.1"), 503)
        await database.write(limit, 1_000_000)
        await database.write(fill, 100)
        await database.close()

    asyncio.run(main())
