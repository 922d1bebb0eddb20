"""The machine's clock is put back: nothing waits for the time that was, whenever it is written."""

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from relay.core import clock
from relay.core.ids import floor_at
from relay.core.status import State
from relay.sections import DeliverySettings
from relay.store import accounts, messages
from relay.store import tables as t
from relay.store.database import Database, open_database
from tests.submissions import submission
from workers.takeover import Takeover

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class Play:
    """A record, whoever takes back what vanished workers hold, and a clock that can be wrong."""

    def __init__(self, database: Database, account: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = database
        self.account = account
        self.ahead = timedelta()
        self._monkeypatch = monkeypatch
        monkeypatch.setattr("workers.takeover.now", self.now)
        monkeypatch.setattr("relay.store.messages.now", self.now)
        context: Any = SimpleNamespace(
            database=database, settings=SimpleNamespace(delivery=DeliverySettings(lease=30))
        )
        self.takeover = Takeover(context)

    def now(self) -> datetime:
        return clock.now() + self.ahead

    async def mail(self, **fields: Any) -> int:
        """A mail that a door has made now by its clock."""
        mail = submission(self.account, id=floor_at(self.now()), **fields)
        (stored,) = await self.database.write(messages.insert, [mail])
        return stored.id

    async def change(self, identifier: int, **values: Any) -> None:
        r = t.recipient
        statement = r.update().where(r.c.message_id == identifier).values(**values)
        await self.database.write(lambda connection: connection.execute(statement))

    async def read(self, identifier: int) -> Any:
        statement = sa.select(t.recipient).where(t.recipient.c.message_id == identifier)
        return await self.database.read(lambda connection: connection.execute(statement).one())

    async def tick(self) -> None:
        self.takeover.note()
        await self.takeover.run()

    async def put_back(self) -> None:
        """By an hour, which the leader notices."""
        self.ahead = HOUR
        self.takeover.note()
        self.ahead = timedelta()
        self.takeover.note()


@pytest.fixture
async def play(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    database = open_database(database_url)
    account = await database.write(accounts.create_account, "default", senders=["*"])
    yield Play(database, account, monkeypatch)
    await database.close()


async def test_what_was_written_before_is_brought_forward_once(play: Play) -> None:
    play.ahead = HOUR
    waits = await play.mail()
    deferred = await play.mail()
    await play.change(deferred, attempts=1, due_at=play.now() + 5 * MINUTE)
    tomorrow = play.now() + timedelta(days=1)
    wanted = await play.mail(send_at=tomorrow)
    await play.put_back()
    for _ in range(3):
        await play.tick()
        assert (await play.read(waits)).due_at <= play.now()
        assert MINUTE < (await play.read(deferred)).due_at - play.now() <= 5 * MINUTE
        assert (await play.read(wanted)).due_at == tomorrow


async def test_what_was_reckoned_before_and_written_after_does_not_wait_for_an_hour(play: Play) -> None:
    await play.put_back()
    await play.tick()
    play.ahead = HOUR
    late = await play.mail()
    deferred = await play.mail()
    await play.change(deferred, attempts=1, due_at=play.now() + 5 * MINUTE)
    claimed = await play.mail()
    await play.change(claimed, state=State.SENDING, lease_until=play.now() + MINUTE / 2)
    play.ahead = timedelta()
    soon = play.now() + 30 * MINUTE
    wanted = await play.mail(send_at=soon)
    for _ in range(3):
        await play.tick()
        assert (await play.read(late)).due_at <= play.now()
        assert MINUTE < (await play.read(deferred)).due_at - play.now() <= 5 * MINUTE
        assert (await play.read(claimed)).lease_until - play.now() <= MINUTE / 2
        # Asked for by the clock that is right.
        assert (await play.read(wanted)).due_at == soon


@pytest.mark.parametrize(("seen_to", "forgotten"), [(0.0, True), (3600.0, False)])
async def test_what_another_leader_has_seen_to_is_not_done_again(
    play: Play, monkeypatch: pytest.MonkeyPatch, seen_to: float, forgotten: bool
) -> None:
    monkeypatch.setattr("workers.takeover._SEEN_TO", seen_to)
    await play.put_back()
    play.takeover.note()
    play.takeover.follow()
    soon = play.now() + 30 * MINUTE
    wanted = await play.mail(send_at=soon)
    await play.takeover.run()
    assert ((await play.read(wanted)).due_at == soon) is forgotten
