"""A record, an engine and a provider to try deliveries on, without doors or processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from providers.memory import Memory
from relay.core import routes
from relay.core.clock import now
from relay.core.message import MemoryTail, Submission
from relay.core.provider import Provider
from relay.core.status import State
from relay.delivery.engine import Engine
from relay.delivery.ways import Setup
from relay.routing import Router, Rule, Tolerance
from relay.sections import DeliverySettings, ProviderLimits, RuleSettings
from relay.store import accounts, deliveries, messages, recovery
from relay.store import tables as t
from relay.store.database import Database, open_database
from relay.store.messages import Stored
from tests.submissions import submission


@dataclass
class Scene:
    database: Database
    account: int
    provider: Memory
    engine: Engine
    stop: asyncio.Event
    providers: dict[str, Memory]
    engines: list[Engine]

    async def store(self, *addresses: str, **fields: Any) -> Stored:
        (stored,) = await self.database.write(messages.insert, [self._mail(addresses, **fields)])
        return stored

    async def abandoned(self, *addresses: str) -> list[int]:
        """Mails, one to each address, that a worker took and vanished with; returns their ids.

        All in one transaction, so that no engine has any of them in hand before.
        """

        def take(connection: sa.Connection) -> list[int]:
            stored = messages.insert(connection, [self._mail([one]) for one in addresses])
            ids = [one.id for one in stored]
            deliveries.claim(connection, ids, now=now(), lease=-1)
            recovery.recover(connection, now=now(), poison_after=3)
            return ids

        return await self.database.write(take)

    def _mail(self, addresses: Sequence[str], *, body: bytes = b"body\r\n", **fields: Any) -> Submission:
        return submission(self.account, *addresses, tail=MemoryTail(body), **fields)

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for `condition`, a function or coroutine function, to be true."""
        async with asyncio.timeout(100):
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

    async def deliver(self, count: int, domain: str = "x.example", **fields: Any) -> list[int]:
        """Store so many mails, all at once, and wake the engines; returns their ids."""
        mails = [self._mail([f"{number}@{domain}"], **fields) for number in range(count)]
        ids = [one.id for one in await self.database.write(messages.insert, mails)]
        for engine in self.engines:
            engine.wake("normal", ids)
        return ids

    async def come_due(self, *ids: int) -> None:
        """Let the time be over for which these mails wait in the queue, and wake the engines.

        For a second try that is not to be made before the test has seen what the first one left.
        """
        row = t.recipient.c
        waits = t.recipient.update().where(row.message_id.in_(ids), row.state == State.QUEUED)
        await self.database.write(lambda connection: connection.execute(waits.values(due_at=now())))
        self.wake()

    def wake(self) -> None:
        for engine in self.engines:
            engine.wake("normal", [])

    def taken(self, name: str) -> list[str]:
        """Who got mail by this provider."""
        return [one.address for _, one in self.providers[name].delivered]

    async def settled(self, ids: Iterable[int]) -> bool:
        for one in ids:
            if any(state != "done" for state, _, _ in await self.states(one)):
                return False
        return True

    async def kinds(self, message_id: int) -> list[str]:
        return [row["kind"] for row in await self.database.read(messages.timeline, message_id)]


def setup_of(
    providers: Mapping[str, Provider],
    use: str,
    *,
    limits: Mapping[str, Mapping[str, Any]] | None = None,
    rules: Sequence[Mapping[str, Any]] = (),
    tolerance: Tolerance | None = None,
    switch_after: int = 3,
    changed: Iterable[str] = (),
) -> Setup:
    return Setup(
        providers,
        {name: ProviderLimits(**options) for name, options in (limits or {}).items()},
        Router(
            [Rule(number, RuleSettings(**rule)) for number, rule in enumerate(rules, 1)],
            routes.parse(use),
            switch_after=switch_after,
        ),
        tolerance or Tolerance(),
        frozenset(changed),
    )


#: for `playing`: the next try is not made before its test says so, see `Scene.come_due`
PATIENT: dict[str, Any] = {"retry": {"delays": (3600,), "jitter": 0}}


async def not_at_midnight() -> None:
    """A day, or a month, that ends within the test would have two allowances: wait for the next one."""
    moment = datetime.now(UTC)
    if (moment.hour, moment.minute) == (23, 59):
        await asyncio.sleep(60 - moment.second)


@contextlib.asynccontextmanager
async def playing(
    database_url: str,
    *,
    use: str = "out",
    workers: int = 1,
    routing: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Scene]:
    """Engines at work on a fresh record, stopped and drained at the end; a `Memory` for each provider in `use`.

    The providers are shared by the engines, so that what was sent is seen in one place.
    """
    options: dict[str, Any] = {"retry": {"delays": (0.2,), "jitter": 0}} | settings
    database = open_database(database_url)
    names = [one.name for one in routes.uses(routes.parse(use))]
    providers = {name: Memory(name, {}) for name in names}
    try:
        account = await database.write(accounts.create_account, "default", senders=["*"])
        setup = setup_of(providers, use, **(routing or {}))
        engines = [Engine(database, setup, DeliverySettings(**options)) for _ in range(workers)]
        stop = asyncio.Event()
        running = [asyncio.create_task(engine.run(stop, drain=30)) for engine in engines]
        try:
            yield Scene(database, account, providers[names[0]], engines[0], stop, providers, engines)
        finally:
            stop.set()
            for provider in providers.values():
                provider.gate.set()
            await asyncio.gather(*running)
    finally:
        await database.close()
