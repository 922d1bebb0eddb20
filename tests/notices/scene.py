"""An outbox with mail happening in it, and a clock that can be put forward."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from relay.core.event import EventKind
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door, State
from relay.notices.endpoints import Endpoints
from relay.notices.post import Post
from relay.notices.secrets import Safe, open_safe
from relay.notices.sender import Sender
from relay.sections import NoticeSettings
from relay.store import accounts, deliveries, endpoints, messages, notices, settling
from relay.store.database import Database, open_database
from relay.store.settling import Settlement

#: receivers of the tests are on this machine, without TLS, on any port; but only on the first of its addresses
LOOSE: dict[str, Any] = {"allow_networks": ["127.0.0.1/32"], "allow_http": True, "ports": [], "timeout": 60}


class Scene:
    def __init__(self, url: str, **settings: Any) -> None:
        self.settings = NoticeSettings(**{**LOOSE, **settings})
        self.database: Database = open_database(url)
        self.ahead = timedelta()
        self.account = 0
        self.sender = self.new_sender()
        self.endpoints = Endpoints(self.database, self.settings, self.safe)

    async def safe(self) -> Safe:
        return await open_safe([], self.database)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def new_sender(self, post: Post | None = None) -> Sender:
        """Another worker's."""
        return Sender(self.database, self.settings, self.safe, post=post, now=self.now)

    async def listen(self, url: str, **wanted: Any) -> tuple[int, str]:
        """A new endpoint of the account: its id and secret."""
        row, secret = await self.endpoints.create(self.account, url, **wanted)
        return row["id"], secret

    async def mail(self, *addresses: str, **fields: Any) -> int:
        """A mail that a door takes; returns its id."""
        submission = Submission(
            account_id=fields.pop("account", self.account),
            key_id=None,
            door=Door.REST,
            sender="shop@acme.example",
            recipients=[EnvelopeRecipient(address) for address in addresses or ("to@example.net",)],
            head=b"Subject: x\r\n\r\n",
            tail=MemoryTail(b"body\r\n"),
            from_="Shop <shop@acme.example>",
            **fields,
        )
        (stored,) = await self.database.write(messages.insert, [submission])
        return stored.id

    async def settle(self, message_id: int, *kinds: EventKind, **fields: Any) -> None:
        """Let its workers say so, one after the other."""
        for kind in kinds:
            again = kind is not kinds[-1] or kind is EventKind.DEFERRED
            now = datetime.now(UTC) + timedelta(seconds=1)
            mails = await self.database.write(deliveries.claim, [message_id], now=now, lease=30)
            values: dict[str, Any] = {
                "state": State.QUEUED if again else State.DONE,
                "kind": kind,
                "at": now,
                "reply": "250 2.0.0 ok",
                "provider": "office",
                "due_at": datetime.now(UTC) if again else None,
            }
            settled = [Settlement(claim, **(values | fields)) for mail in mails for claim in mail.claims]
            await self.database.write(settling.settle, settled)

    async def work(self, *senders: Sender) -> int:
        """Send until nothing is due at this time of the clock; returns how many tries that took."""
        tries = 0
        while made := [await sender.look() for sender in senders or (self.sender,)]:
            if not any(made):
                return tries
            tries += sum(made)
            for sender in senders or (self.sender,):
                await sender.settled()
        return tries

    async def pass_time(self, step: timedelta, times: int) -> int:
        tries = 0
        for _ in range(times):
            self.ahead += step
            tries += await self.work()
        return tries

    async def endpoint(self, endpoint_id: int) -> dict[str, Any]:
        return await self.database.read(endpoints.get, None, endpoint_id)

    async def notices(self, endpoint_id: int, **wanted: Any) -> list[dict[str, Any]]:
        """Oldest first."""
        found = await self.database.read(notices.page, endpoint_id, limit=10_000, **wanted)
        return found[::-1]

    async def attempts(self, endpoint_id: int) -> list[dict[str, Any]]:
        """Oldest first."""
        found = await self.database.read(notices.attempts, endpoint_id, limit=10_000)
        return found[::-1]


Play = Callable[..., None]


def play(url: str, scene: Callable[[Scene], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def main() -> None:
        made = Scene(url, **settings)
        try:
            made.account = await made.database.write(accounts.create_account, "acme", senders=["*"])
            await scene(made)
        finally:
            await made.sender.aclose()
            with contextlib.suppress(Exception):
                await made.database.close()

    asyncio.run(main())
