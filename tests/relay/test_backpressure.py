"""A record that cannot be written to for a while: doors hold so much mail in memory and no more, and lose none."""

import asyncio
import sqlite3

import pytest

from relay.core.errors import Full
from relay.core.message import MemoryTail, Submission
from relay.intake import Intake
from relay.queue import NoQueue
from relay.store import accounts, messages
from relay.store.database import open_database
from tests.submissions import submission

KIB = 1024


def mail(account: int, octets: int) -> Submission:
    return submission(account, tail=MemoryTail(b"x" * octets))


def test_no_more_is_taken_than_memory_is_for(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.intake._MOST", 100 * KIB)

    async def main() -> None:
        database = open_database(sqlite_url)
        account = await database.write(accounts.create_account, "a", senders=("*",))
        intake = Intake(database, NoQueue())
        with sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None) as locker:
            locker.execute("BEGIN IMMEDIATE")
            # One that is larger than all there is room for is taken when it is alone.
            waiting = [asyncio.create_task(intake.accept(mail(account, 200 * KIB)))]
            await asyncio.sleep(0.05)
            with pytest.raises(Full) as refused:
                await intake.accept(mail(account, 1))
            assert (refused.value.smtp, refused.value.http_status) == ((452, "4.3.1"), 503)
            # A client that hangs up gives no room back: its mail is still there.
            gone = waiting[0]
            gone.cancel()
            await asyncio.sleep(0.05)
            with pytest.raises(Full):
                await intake.accept(mail(account, 1))
            locker.execute("ROLLBACK")
        locker.close()
        stored = [await _until_room(intake, account) for _ in range(3)]
        await intake.close()
        # The one whose client went away is among them.
        found, _ = await database.read(messages.listing, None, messages.Query(limit=10))
        assert len(found) == 4
        assert {one.id for one in stored} < {row["id"] for row in found}
        await database.close()

    async def _until_room(intake: Intake, account: int):
        async with asyncio.timeout(30):
            while True:
                try:
                    return await intake.accept(mail(account, 1))
                except Full:
                    await asyncio.sleep(0.05)

    asyncio.run(main())
