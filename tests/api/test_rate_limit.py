"""The rate limit of 4.7: who is counted with whom, what answers say, what happens without the queue server."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from relay.config import Settings
from relay.core.identity import Identity
from relay.embedded import EmbeddedValkey
from relay.ratelimit import RateLimiter, Verdict
from tests.api.conftest import EMAILS, Door, refused

MESSAGE = "Too many requests. Please try again later."
ALICE = Identity(1, 11, "alice", None, frozenset({"send"}), None, ("*",))


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not be taken for a server that is away."""
    monkeypatch.setattr("relay.ratelimit._PATIENCE", 20.0)


@pytest.fixture
def long_window(monkeypatch: pytest.MonkeyPatch) -> int:
    """Nor may it begin a new second between two requests. The window's length."""
    monkeypatch.setattr("relay.ratelimit._WINDOW", 600)
    return 600


@pytest.fixture
def door(sqlite_url: str, valkey_url: str, settings: Callable[..., Settings]) -> Iterator[Door]:
    opened = Door(
        settings(database={"url": sqlite_url}, queue={"url": valkey_url}, limits={"sends_per_second": 3})
    )
    yield opened
    opened.close()


def test_sends_are_counted_refused_ones_too(door: Door) -> None:
    answers = [door.send(tag=""), door.send(), door.post(5), door.send()]
    # All four within a second of each other; a machine that is slower than that starts a new window.
    codes = [answer.status_code for answer in answers]
    assert codes[:3] == [400, 201, 400]
    first = answers[0].headers
    assert (first["x-ratelimit-limit"], first["x-ratelimit-remaining"]) == ("3", "2")
    assert (first["ratelimit-limit"], first["ratelimit-remaining"], first["ratelimit-reset"]) == (
        "3",
        "2",
        "1",
    )
    assert 0 <= int(first["x-ratelimit-reset"]) - time.time() + 60 < 120
    assert "retry-after" not in first
    last = answers[-1]
    if codes[3] == 429:
        refused(last, 429, "rate_limit", MESSAGE)
        assert last.headers["retry-after"] == "1"
        assert last.headers["ratelimit-remaining"] == "0"


@pytest.mark.usefixtures("long_window")
def test_nothing_is_stored_of_what_is_too_much(door: Door) -> None:
    codes = [door.send().status_code for _ in range(12)]
    assert codes == [201] * 3 + [429] * 9
    listed = door.get(f"{EMAILS}?limit=100")
    assert len(listed.json()["data"]) == codes.count(201)
    assert "x-ratelimit-limit" not in listed.headers


def test_reading_is_free_and_keys_that_do_not_work_are_not_counted(door: Door) -> None:
    for _ in range(20):
        assert door.get(EMAILS).status_code == 200
        assert door.post({}, key="acme_v1_wrong").status_code == 401
    assert door.send().headers["ratelimit-remaining"] == "2"


def ask(url: str, *who: Identity, per_second: int = 3, doors: int = 1) -> list[Verdict]:
    async def hit() -> list[Verdict]:
        limiters = [RateLimiter(url, per_second=per_second, namespace="test") for _ in range(doors)]
        found = await asyncio.gather(*(limiters[n % doors].hit(one) for n, one in enumerate(who)))
        for limiter in limiters:
            await limiter.close()
        return list(found)

    return asyncio.run(hit())


def test_processes_count_together(valkey_url: str, long_window: int) -> None:
    verdicts = ask(valkey_url, *[ALICE] * 8, doors=4)
    assert sorted(one.remaining for one in verdicts if one.allowed) == [0, 1, 2]
    assert [one.retry_after for one in verdicts if not one.allowed] == [long_window] * 5


@pytest.mark.usefixtures("long_window")
def test_accounts_and_keys_with_a_limit_of_their_own_are_apart(valkey_url: str) -> None:
    other_key = replace(ALICE, key_id=12)
    fast = replace(ALICE, key_id=13, rate_limit=5)
    bob = replace(ALICE, account_id=2, key_id=21)
    verdicts = ask(valkey_url, ALICE, ALICE, other_key, other_key, *[fast] * 6, bob)
    assert [one.allowed for one in verdicts] == [True] * 3 + [False] + [True] * 5 + [False, True]
    assert {one.limit for one in verdicts} == {3, 5}


def test_a_day_has_a_quota(valkey_url: str) -> None:
    thrifty = replace(ALICE, daily_quota=2)
    verdicts = ask(valkey_url, thrifty, thrifty, thrifty, per_second=0)
    assert [one.allowed for one in verdicts] == [True, True, False]
    assert 0 < verdicts[2].retry_after <= 86_400
    assert verdicts[2].reset_seconds == verdicts[2].retry_after


def test_no_limit_asks_nobody() -> None:
    (verdict,) = ask("unix:///nowhere", ALICE, per_second=0)
    assert verdict.allowed
    assert verdict.limit == 0


@pytest.mark.usefixtures("long_window")
def test_each_process_counts_while_the_server_is_away(tmp_path: Path, valkey_url: str) -> None:
    verdicts = ask(f"unix://{tmp_path / 'nobody'}", *[ALICE] * 5)
    assert [one.allowed for one in verdicts] == [True] * 3 + [False] * 2


@pytest.mark.usefixtures("long_window")
def test_a_server_that_does_not_answer_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.ratelimit._PATIENCE", 0.2)

    async def silent() -> list[Verdict]:
        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1000):
                pass
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_unix_server(say_nothing, tmp_path / "silent")
        limiter = RateLimiter(f"unix://{tmp_path / 'silent'}", per_second=2, namespace="test")
        try:
            return [await asyncio.wait_for(limiter.hit(ALICE), 20) for _ in range(3)]
        finally:
            await limiter.close()
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0)

    assert [one.allowed for one in asyncio.run(silent())] == [True, True, False]


def test_counting_together_comes_back_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import services

    monkeypatch.setattr("relay.ratelimit._PAUSE", 0.0)
    directory = services.short_directory("pb-rl-")
    server = EmbeddedValkey(directory)

    async def run() -> None:
        limiter = RateLimiter(f"unix://{server.socket}", per_second=2, namespace="test")
        assert (await limiter.hit(ALICE)).remaining == 1
        other = RateLimiter(f"unix://{server.socket}", per_second=2, namespace="test")
        await asyncio.to_thread(server.start, 120)
        quick = replace(ALICE, daily_quota=1)
        assert (await limiter.hit(quick)).allowed
        verdict = await other.hit(replace(quick, rate_limit=1000))
        assert not verdict.allowed
        await limiter.close()
        await other.close()

    try:
        asyncio.run(run())
    finally:
        server.stop()
        import shutil

        shutil.rmtree(directory)
