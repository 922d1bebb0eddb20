"""A record, an engine and a batcher, for recipient lists from upload to outcome."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from relay.bulk.uploads import Steering, Upload, check, store
from relay.bulk.wish import Wish
from relay.core.identity import Identity
from relay.intake import Intake
from relay.policy import Streams
from relay.queue import NoQueue
from relay.sections import BatchSettings, TrackingSettings
from relay.store import accounts, batches, messages, templates
from relay.store import tables as t
from relay.store.templates import NewVersion
from relay.tracking.edit import Editor
from tests.workers.scene import Scene, playing
from workers.batches import Batcher

LETTER = NewVersion("Hello {{ name }}", "<p>Dear {{ name }}, you owe {{ sum }}.</p>", "Dear {{ name }}")
KEY = b"k" * 32


async def secret() -> bytes:
    return KEY


@dataclass
class Batching:
    scene: Scene
    identity: Identity
    batcher: Batcher
    steering: Steering

    @property
    def database(self):
        return self.scene.database

    async def upload(self, text: str | bytes, *, key: str | None = None, **wish: Any) -> int:
        data = text.encode() if isinstance(text, str) else text
        name = wish.pop("template", "letter")
        asked = Upload(
            name, Wish.model_validate({"from": "Shop <shop@example.org>", **wish}), "spring", key=key
        )
        template = await check(self.database, self.identity, asked)
        digest = hashlib.sha256(data).hexdigest()
        pieces = [data[start : start + 65536] for start in range(0, len(data), 65536)]
        found, _ = await store(self.database, self.identity, asked, template, digest, len(data), pieces)
        return found

    async def work(self) -> None:
        """Until no batch wants anything of a worker."""
        while await self.batcher.once():
            pass

    async def get(self, identifier: int) -> dict[str, Any]:
        return await self.database.read(batches.get, None, identifier)

    async def rows(self, identifier: int) -> list[dict[str, Any]]:
        return await self.database.read(batches.rows, identifier, limit=10_000)

    async def reasons(self, identifier: int) -> dict[int, str]:
        return {row["number"]: row["reason"] for row in await self.rows(identifier) if row["reason"]}

    async def mails(self) -> list[str]:
        def read(connection: sa.Connection) -> list[str]:
            return list(
                connection.execute(sa.select(t.message.c.recipient).order_by(t.message.c.id)).scalars()
            )

        return await self.database.read(read)

    async def raw(self, identifier: int) -> bytes:
        return await self.database.read(messages.raw, identifier)


def batcher(scene: Scene, **settings: Any) -> Batcher:
    editor = Editor(TrackingSettings(), "https://mail.example.org", Streams(scene.database), secret)
    intake = Intake(scene.database, NoQueue(), edit=editor)
    return Batcher(scene.database, NoQueue(), intake, BatchSettings(**settings))


@contextlib.asynccontextmanager
async def batching(database_url: str, **settings: Any) -> AsyncIterator[Batching]:
    async with playing(database_url) as scene:
        identity = await scene.database.read(accounts.identify_account, "default")
        assert identity is not None
        await scene.database.write(templates.create, identity.account_id, "letter", LETTER)
        yield Batching(scene, identity, batcher(scene, **settings), Steering(scene.database, NoQueue()))


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)
