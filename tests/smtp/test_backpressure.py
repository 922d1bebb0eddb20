"""A record that is slow: the door holds so much mail in memory, and puts the rest off."""

import asyncio
import sqlite3

import pytest

from tests.smtp.door import Door


def test_the_smtp_door_puts_mail_off_and_takes_it_afterwards(
    door: Door, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.intake._MOST", 10_000)
    large = b"From: app@example.org\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 300 + b".\r\n"
    small = b"From: app@example.org\r\n\r\nhello\r\n.\r\n"
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None) as locker:
        first, second = door.ready(), door.ready()
        for client in (first, second):
            client.envelope("a@example.net")
            client.ask("DATA", 354)
        locker.execute("BEGIN IMMEDIATE")
        first.send(large)
        _until_held(door)
        second.send(small)
        assert second.expect(452)[-1].startswith("452 4.3.1 ")
        locker.execute("ROLLBACK")
    locker.close()
    first.expect(250)
    # The same client, a moment later.
    second.envelope("a@example.net")
    assert second.mail(small).startswith("250")
    first.close()
    second.close()


def _until_held(door: Door) -> None:
    async def held() -> None:
        async with asyncio.timeout(30):
            while not door.intake._writer.held:  # noqa: ASYNC110 - it has nothing to wait for
                await asyncio.sleep(0.01)

    door.call(held())
