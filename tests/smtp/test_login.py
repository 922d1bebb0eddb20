"""Who may send: guessing is slowed and locked over all processes, ended keys stop working, limits are told."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from relay.core.clock import now
from relay.core.identity import Identity
from relay.ratelimit import RateLimiter, Verdict
from relay.store import accounts
from relay.store import tables as t
from relay.throttle import Throttle, block
from tests.smtp.door import Door

WRONG = "AGFueWJvZHkAd3Jvbmc="


def test_guesses_are_counted_over_all_processes(valkey_url: str) -> None:
    async def main() -> None:
        here, there = (Throttle(failures=3, lock=60, url=valkey_url) for _ in range(2))
        for number, one in enumerate((here, there, here), 1):
            assert not await one.locked("192.0.2.1", f"user{number}")
            assert await one.failed("192.0.2.1", f"user{number}") == number
        assert await there.locked("192.0.2.1", "somebody")
        assert not await there.locked("192.0.2.2", "somebody")
        await here.close()
        await there.close()

    asyncio.run(main())


def test_a_user_is_locked_wherever_the_guesses_come_from_but_not_where_its_key_is_known(
    valkey_url: str,
) -> None:
    async def main() -> None:
        here, there = (Throttle(failures=3, lock=60, url=valkey_url) for _ in range(2))
        await here.succeeded("198.51.100.1", "Erp")
        for number in range(3):
            await here.failed(f"192.0.2.{number}", "ERP")
        assert await there.locked("203.0.113.9", "erp")
        assert not await there.locked("203.0.113.9", "other")
        assert not await there.locked("198.51.100.1", "erp")
        await here.close()
        await there.close()

    asyncio.run(main())


def test_a_lock_ends(valkey_url: str) -> None:
    async def main() -> None:
        throttle = Throttle(failures=1, lock=5, url=valkey_url)
        await throttle.failed("192.0.2.1", "a")
        assert await throttle.locked("192.0.2.1", "b")
        async with asyncio.timeout(30):
            while await throttle.locked("192.0.2.1", "b"):  # noqa: ASYNC110 - the server counts the time
                await asyncio.sleep(0.1)
        await throttle.close()

    asyncio.run(main())


@pytest.mark.parametrize("url", [None, "unix:///nowhere/at/all.sock"])
def test_without_a_queue_server_each_process_counts_alone(url: str | None) -> None:
    async def main() -> None:
        throttle = Throttle(failures=2, lock=60, url=url)
        await throttle.failed("192.0.2.1", "a")
        await throttle.failed("192.0.2.1", "b")
        await throttle.succeeded("192.0.2.1", "b")
        assert await throttle.locked("192.0.2.1", "c")
        assert not await throttle.locked("192.0.2.2", "c")
        await throttle.close()

    asyncio.run(main())


def test_an_ipv6_client_is_its_network() -> None:
    assert block("2001:db8::1") == block("2001:db8::ffff:1") != block("2001:db8:0:1::1")
    assert block("::ffff:192.0.2.1") == block("192.0.2.1")


def _change(door: Door, work: Callable[[sa.Connection], Any]) -> Any:
    return door.call(door.database.write(work))


def test_doors_share_the_lock(open_door: Callable[..., Door], valkey_url: str, sqlite_url: str) -> None:
    door = open_door(max_auth_failures=2)
    door.server.service.throttle = Throttle(failures=2, lock=60, url=valkey_url)

    async def elsewhere() -> None:
        other = Throttle(failures=2, lock=60, url=valkey_url)
        await other.failed("127.0.0.1", "x")
        await other.failed("127.0.0.1", "y")
        await other.close()

    asyncio.run(elsewhere())
    with door.connect() as client:
        client.expect(220)
        client.ask("EHLO a", 250)
        # Even the right key is not looked at, or guessing would go on.
        client.ask(f"AUTH PLAIN {door.plain()}", 421)
        assert client.closed()
    door.call(door.server.service.throttle.close())


def test_answers_to_wrong_keys_take_longer_and_longer(
    open_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def noted(seconds: float) -> None:
        waited.append(seconds)

    # Its own name alone: whatever else sleeps in this process would never rest.
    monkeypatch.setattr("relay.smtp.login.asyncio", SimpleNamespace(sleep=noted))
    door = open_door(auth_delay=0.5)
    with door.connect() as client:
        client.expect(220)
        client.ask("EHLO a", 250)
        for _ in range(3):
            client.ask(f"AUTH PLAIN {WRONG}", 535)
    assert waited == [0.5, 1.0, 1.5]


def test_a_key_that_ends_in_the_middle_sends_no_more(
    open_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.smtp.session._SURE", 0)
    monkeypatch.setattr("tests.smtp.door.TTL", 0)
    door = open_door()
    with door.ready() as client:
        client.envelope()
        _change(door, lambda c: c.execute(t.api_key.update().values(revoked_at=now())))
        # The transaction that was begun is finished.
        client.mail(b"From: app@example.org\r\n\r\nhi\r\n.\r\n")
        client.ask("MAIL FROM:<app@example.org>", 530)
        client.ask("NOOP", 250)
        client.ask("MAIL FROM:<app@example.org>", 530)
        key = _change(door, lambda c: accounts.create_key(c, "legacy")).secret
        door.key = key
        client.ask(f"AUTH PLAIN {door.plain()}", 235)
        client.ask("MAIL FROM:<app@example.org>", 250)
    assert len(door.stored()) == 1


def test_a_key_that_expires_in_the_middle_sends_no_more(door: Door) -> None:
    with door.ready() as client:
        client.envelope()
        client.ask("RSET", 250)
        (connection,) = door.server.service.connections
        session = connection._dialogue  # type: ignore[attr-defined]
        ended = {f: getattr(session.identity, f) for f in Identity.__dataclass_fields__}
        session.identity = Identity(**{**ended, "expires_at": now() - timedelta(seconds=1)})
        _change(door, lambda c: c.execute(t.api_key.update().values(expires_at=now() - timedelta(seconds=1))))
        door.server.service.authenticator._known.clear()  # type: ignore[attr-defined]
        client.ask("MAIL FROM:<app@example.org>", 530)


def test_a_key_for_other_networks_does_not_work_here(open_door: Callable[..., Door]) -> None:
    door = open_door()
    _change(door, lambda c: c.execute(t.api_key.update().values(networks=["192.0.2.0/24"])))
    with door.connect() as client:
        client.expect(220)
        client.ask("EHLO a", 250)
        assert client.ask(f"AUTH PLAIN {door.plain()}", 535)[0].startswith("535 5.7.8 ")


def test_an_expired_key_does_not_work(door: Door) -> None:
    _change(door, lambda c: c.execute(t.api_key.update().values(expires_at=now() - timedelta(days=1))))
    with door.connect() as client:
        client.expect(220)
        client.ask("EHLO a", 250)
        client.ask(f"AUTH PLAIN {door.plain()}", 535)


def test_connections_of_one_account_are_limited(open_door: Callable[..., Door]) -> None:
    door = open_door(max_connections_per_account=1)
    with door.ready() as first:
        with door.connect() as second:
            second.expect(220)
            second.ask("EHLO a", 250)
            second.ask(f"AUTH PLAIN {door.plain()}", 421)
            assert second.closed()
        first.ask("QUIT", 221)
        assert first.closed()
    with door.ready() as third:
        third.ask("NOOP", 250)
    door.call(_gone(door))
    assert not door.server.service.by_account


async def _gone(door: Door) -> None:
    while door.server.service.connections:  # noqa: ASYNC110 - connections end by themselves
        await asyncio.sleep(0.01)


class _Limiter:
    """Lets one mail through."""

    def __init__(self) -> None:
        self.hits = 0

    async def hit(self, identity: Identity) -> Verdict:
        self.hits += 1
        return Verdict(1, 0, 1, allowed=self.hits == 1, retry_after=7)


def test_too_much_mail_is_put_off_and_told_when_to_come_again(door: Door) -> None:
    door.server.service.limiter = _Limiter()
    door.server.service.sends_per_second = 1
    with door.ready() as client:
        client.envelope()
        client.ask("RSET", 250)
        reply = client.ask("MAIL FROM:<app@example.org>", 450)
        assert reply[0].startswith("450 4.7.1 ")
        assert "7 s" in reply[0]


def test_the_limit_of_a_key_counts_over_its_connections(door: Door, valkey_url: str) -> None:
    _change(door, lambda c: c.execute(t.api_key.update().values(daily_quota=2)))

    async def limited() -> RateLimiter:
        return RateLimiter(valkey_url, per_second=0, namespace="t")

    limiter = door.server.service.limiter = door.call(limited())
    with door.ready() as first, door.ready() as second:
        first.ask("MAIL FROM:<app@example.org>", 250)
        second.ask("MAIL FROM:<app@example.org>", 250)
        second.ask("RSET", 250)
        assert second.ask("MAIL FROM:<app@example.org>", 450)[0].startswith("450 4.7.1 ")
    door.call(limiter.close())


def test_suppressed_recipients_are_refused_alone(door: Door) -> None:
    row = {"id": 1, "account_id": None, "address": "gone@example.net", "reason": "bounce", "source": "test"}
    _change(door, lambda c: c.execute(t.suppression.insert(), {**row, "created_at": now()}))
    with door.ready() as client:
        client.ask("MAIL FROM:<app@example.org>", 250)
        assert client.ask("RCPT TO:<Gone@example.net>", 550)[0].startswith("550 5.1.1 ")
        client.ask("RCPT TO:<rcpt@example.net>", 250)
        client.mail(b"From: app@example.org\r\n\r\nhi\r\n.\r\n")
    (stored,) = door.stored()
    assert [r["address"] for r in stored["recipients"]] == ["rcpt@example.net"]


def test_no_key_reaches_a_log_line(
    open_door: Callable[..., Door], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from relay.observe import logs
    from relay.sections import LogSettings

    logs.configure(LogSettings(format="json", level="debug"), role="smtp")
    door = open_door()

    async def broken(*_: Any) -> Any:
        raise RuntimeError("the record is on fire")

    door.server.service.authenticator.identify = broken  # type: ignore[method-assign]
    with door.connect() as client:
        client.expect(220)
        client.ask("EHLO a", 250)
        assert "fire" not in client.ask(f"AUTH PLAIN {door.plain()}", 451)[0]
    logged = capfd.readouterr().err
    assert "the record is on fire" in logged
    assert door.key not in logged
