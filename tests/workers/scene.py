"""A record, an engine and a provider to try deliveries on, without doors or processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from providers.memory import Memory
from relay.config import DeliverySettings
from relay.core import routes
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door
from relay.delivery.engine import Engine
from relay.delivery.ways import Setup
from relay.routing import Router
from relay.store import accounts, messages
from relay.store.database import Database, open_database
from relay.store.messages import Stored


@dataclass
class Scene:
    database: Database
    account: int
    provider: Memory
    engine: Engine
    stop: asyncio.Event

    async def store(self, *addresses: str, body: bytes = b"body\r\n", **fields: Any) -> Stored:
        mail = Submission(
            account_id=self.account,
            key_id=None,
            door=Door.SMTP,
            sender="from@example.org",
            recipients=[EnvelopeRecipient(address) for address in addresses],
            head=b"Subject: x\r\n\r\n",
            tail=MemoryTail(body),
            from_="from@example.org",
            **fields,
        )
        (stored,) = await self.database.write(messages.insert, [mail])
        return stored

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for `condition`, a function or coroutine function, to be true."""
        async with asyncio.timeout(30):
            while True:
                answer = condition()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return answer
                await asyncio.sleep(0.01)

    async def states(self, message_id: int) -> list[tuple[str, str, int]]:
        rows = await self.database.read(messages.recipients, message_id)
        return [(row["state"], row["status"], row["attempts"]) for row in rows]

    async def kinds(self, message_id: int) -> list[str]:
        return [row["kind"] for row in await self.database.read(messages.timeline, message_id)]


@contextlib.asynccontextmanager
async def playing(database_url: str, **settings: Any) -> AsyncIterator[Scene]:
    """An engine at work on a fresh record, stopped and drained at the end."""
    options: dict[str, Any] = {"retry": {"delays": (0.2,), "jitter": 0}} | settings
    database = open_database(database_url)
    provider = Memory("out", {})
    try:
        account = await database.write(accounts.create_account, "default", senders=["*"])
        setup = Setup({"out": provider}, {}, Router([], routes.parse("out")))
        engine = Engine(database, setup, DeliverySettings(**options))
        stop = asyncio.Event()
        running = asyncio.create_task(engine.run(stop, drain=5))
        try:
            yield Scene(database, account, provider, engine, stop)
        finally:
            stop.set()
            provider.gate.set()
            await running
    finally:
        await database.close()
