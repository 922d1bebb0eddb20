"""The relay that most people write first, as a yardstick: stock aiosmtpd, one ORM commit per mail, stock aiosmtplib.

python -m tests.bench.naive --port 2525 --sink 2526 --directory /tmp/x
"""

import argparse
import asyncio
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import aiosmtplib
from aiosmtpd.smtp import SMTP
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlmodel import Field, SQLModel


class Mail(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    sender: str
    recipient: str
    subject: str
    raw: bytes
    sent: bool = False


class Relay:
    def __init__(self, engine: Any, port: int) -> None:
        self._engine = engine
        self._port = port
        self._queue: asyncio.Queue[int] = asyncio.Queue()

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        parsed = message_from_bytes(envelope.content, policy=policy.default)
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            mail = Mail(
                sender=envelope.mail_from,
                recipient=envelope.rcpt_tos[0],
                subject=str(parsed["subject"]),
                raw=envelope.content,
            )
            session.add(mail)
            await session.commit()
        assert mail.id is not None
        await self._queue.put(mail.id)
        return "250 2.0.0 queued"

    async def work(self) -> None:
        while True:
            identifier = await self._queue.get()
            async with AsyncSession(self._engine) as session:
                mail = await session.get(Mail, identifier)
                assert mail is not None
                async with aiosmtplib.SMTP(hostname="127.0.0.1", port=self._port) as client:
                    await client.sendmail(mail.sender, [mail.recipient], mail.raw)
                mail.sent = True
                await session.commit()


async def main(options: argparse.Namespace) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{options.directory / 'naive.db'}")
    async with engine.begin() as connection:
        await connection.execute(text("PRAGMA journal_mode=WAL"))
        await connection.run_sync(SQLModel.metadata.create_all)
    relay = Relay(engine, options.sink)
    loop = asyncio.get_running_loop()
    workers = [loop.create_task(relay.work()) for _ in range(8)]
    await loop.create_server(lambda: SMTP(relay, loop=loop, hostname="naive"), "127.0.0.1", options.port)
    print("listening", flush=True)
    await asyncio.gather(*workers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sink", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    asyncio.run(main(parser.parse_args()))
