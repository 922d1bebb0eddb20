"""Providers and routes follow the configuration file; a file with a fault changes nothing."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay import config
from relay.core.clock import now
from relay.core.errors import Misconfigured
from relay.delivery.engine import Engine
from relay.delivery.ways import Setup
from relay.store import circuits
from relay.store.database import open_database
from workers.reload import Reloader
from workers.setups import Builder, digest

pytestmark = pytest.mark.anyio

_FILE = """
[providers.a]
type = "capture"
directory = "{directory}/a"
rate = "{rate}/s"

[providers.b]
type = "capture"
directory = "{directory}/{where}"

[routes.default]
use = "{use}"
"""


def write(directory: Path, *, rate: int = 5, where: str = "b", use: str = "failover(a, b)") -> Path:
    path = directory / "pillarbox.toml"
    path.write_text(_FILE.format(directory=directory, rate=rate, where=where, use=use))
    return path


def test_what_has_not_changed_is_kept(tmp_path: Path) -> None:
    builder = Builder()
    first = builder.build(config.load(write(tmp_path)))
    second = builder.build(config.load(write(tmp_path, where="elsewhere", rate=9)))
    assert first.providers["a"] is second.providers["a"]
    assert first.providers["b"] is not second.providers["b"]
    assert (first.changed, second.changed) == ({"a", "b"}, {"b"})
    assert second.limits["a"].rate == "9/s"


def test_a_provider_that_cannot_be_built_leaves_the_builder_as_it_was(tmp_path: Path) -> None:
    builder = Builder()
    good = config.load(write(tmp_path))
    first = builder.build(good)
    bad = good.model_copy(update={"providers": {**good.providers, "b": {"type": "smtp"}}})
    with pytest.raises(Misconfigured, match=r"providers\.b"):
        builder.build(bad)
    assert builder.build(good).providers == first.providers


def test_a_digest_tells_configurations_apart_but_no_secrets(tmp_path: Path) -> None:
    one, other = config.load(write(tmp_path)), config.load(write(tmp_path, use="failover(b, a)"))
    assert digest(one) == digest(config.load(write(tmp_path)))
    assert digest(one) != digest(other)
    hidden = [
        one.model_copy(update={"providers": {"a": {"type": "smtp", "password": word}}}) for word in ("x", "y")
    ]
    assert digest(hidden[0]) == digest(hidden[1])


async def reloading(path: Path, used: list[Setup]) -> tuple[Reloader, asyncio.Task[None]]:
    settings = config.load(path)
    builder = Builder()
    builder.build(settings)
    made = Reloader(settings, builder, used.append)
    return made, asyncio.create_task(made.run())


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(100):
        while True:
            answer = condition()
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(0.02)


async def test_a_changed_file_is_followed_and_a_bad_one_is_not(tmp_path: Path) -> None:
    used: list[Setup] = []
    path = write(tmp_path)
    made, running = await reloading(path, used)
    try:
        assert await made.reload("test")
        assert str(used[-1].router.default) == "failover(a, b)"
        write(tmp_path, use="nobody")
        assert not await made.reload("test")
        path.unlink()
        assert not await made.reload("test")
        assert len(used) == 1
        # Longer than before, so that even a clock that stands still shows the change.
        write(tmp_path, use="weighted(a: 10, b: 20)")
        await until(lambda: len(used) > 1)
        assert str(used[-1].router.default) == "weighted(a: 10, b: 20)"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_secret_s_file_is_watched_too(tmp_path: Path, monkeypatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    path = tmp_path / "pillarbox.toml"
    path.write_text(f'[providers.a]\ntype = "smtp"\nhost = "x"\nusername = "u"\npassword = "file:{secret}"\n')
    used: list[Setup] = []
    _, running = await reloading(path, used)
    try:
        secret.write_text("another")
        await until(lambda: used)
        assert used[-1].changed == {"a"}
        assert "another" not in repr(used[-1])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_workers_everywhere_can_be_asked(database_url: str, tmp_path: Path) -> None:
    database = open_database(database_url)
    settings = config.load(write(tmp_path))
    builder = Builder()
    engine = Engine(database, builder.build(settings), settings.delivery)
    asked: list[str] = []
    long_ago = now().replace(year=2000)
    engine.on_reload(lambda: asked.append("reload"))
    stop = asyncio.Event()
    running = asyncio.create_task(engine.run(stop, drain=5))
    try:

        async def workers() -> bool:
            return bool(await database.read(circuits.workers, since=long_ago))

        await until(workers)
        assert asked == []
        await database.write(circuits.ask_for_reload, now=now())
        await until(lambda: asked == ["reload"])
    finally:
        stop.set()
        await running
        assert await database.read(circuits.workers, since=long_ago) == []
        await database.close()
