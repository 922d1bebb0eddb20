"""The line to PostgreSQL is cut around a commit: what a client is told is what is in the record."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from relay.core.errors import Unavailable
from relay.intake import Intake
from relay.queue import NoQueue
from relay.store import accounts
from relay.store import tables as t
from relay.store.database import open_database
from tests.services import short_directory
from tests.submissions import submission

SOCKET = ".s.PGSQL.5432"


class Line:
    """A way to the server that is cut at a COMMIT, once: before it gets there, or before its answer comes back."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self.cut: str | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = await asyncio.open_unix_connection(self._server)
        back = asyncio.create_task(self._answers(near, writer))
        try:
            while data := await reader.read(65536):
                cut = self.cut if b"COMMIT" in data else None
                if cut:
                    self.cut = None
                    back.cancel()
                    await asyncio.wait([back])
                if cut != "before":
                    far.write(data)
                    await far.drain()
                if cut:
                    if cut == "after":
                        await near.read(65536)
                    break
        finally:
            back.cancel()
            for one in (far, writer):
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _answers(self, near: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await near.read(65536):
                writer.write(data)
            writer.close()


@contextlib.asynccontextmanager
async def line_to(url: str) -> AsyncIterator[tuple[Line, str]]:
    """A line, and the URL of the database behind it."""
    parts = make_url(url)
    directory = short_directory("pb-line-")
    line = Line(Path(str(parts.query["host"])) / SOCKET)
    try:
        async with await asyncio.start_unix_server(line.serve, directory / SOCKET):
            through = parts.set(query={**parts.query, "host": str(directory)})
            yield line, through.render_as_string(hide_password=False)
    finally:
        for left in directory.iterdir():
            left.unlink()
        directory.rmdir()


@pytest.mark.parametrize("cut", ["before", "after"])
def test_mail_is_stored_when_and_only_when_its_client_is_told_so(postgres_url: str, cut: str) -> None:
    async def main() -> None:
        async with line_to(postgres_url) as (line, url):
            database = open_database(url)
            intake = Intake(database, NoQueue())
            account = await database.write(accounts.create_account, "default", senders=["*"])
            try:
                line.cut = cut
                # Two go in a group, as they do at a busy door.
                answers = await asyncio.gather(
                    *(intake.accept(submission(account, f"{number}@x.example")) for number in range(2)),
                    return_exceptions=True,
                )
                answers.append(await intake.accept(submission(account, "2@x.example")))
                stored = await database.read(lambda c: set(c.execute(sa.select(t.message.c.id)).scalars()))
            finally:
                await intake.close()
                await database.close()
        assert line.cut is None
        assert stored == {one.id for one in answers if not isinstance(one, BaseException)}
        refused = [one for one in answers if isinstance(one, BaseException)]
        assert all(isinstance(one, Unavailable) for one in refused)
        assert bool(refused) is (cut == "before")

    asyncio.run(main())


def test_a_record_that_stays_away_is_not_waited_for_without_end(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.intake._PATIENCE", 0.5)

    async def main() -> None:
        async with line_to(postgres_url) as (line, url):
            database = open_database(url)
            intake = Intake(database, NoQueue())
            account = await database.write(accounts.create_account, "default", senders=["*"])
            line.cut = "after"
            line._server = Path("/nowhere")
            try:
                with pytest.raises(Unavailable):
                    await intake.accept(submission(account))
            finally:
                await intake.close()
                await database.close()

    asyncio.run(main())
