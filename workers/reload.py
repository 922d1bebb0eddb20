"""Providers and routes follow the configuration file while mail goes on.

A worker reads the file again on SIGHUP, when the file or a secret's file changes, and when the record says so. A
file with a fault is refused as a whole, and what was in force stays.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from relay import config
from relay.config import DEFAULT_FILE, Settings
from relay.core.errors import Misconfigured
from relay.delivery.ways import Setup
from relay.observe import facts
from workers.setups import Builder

#: seconds between looks at the files; a change is acted on once it has stood for one look
_LOOK = 1.0


class Reloader:
    """Hands setups to `use`. Only providers and routes change; the rest of the settings needs a restart."""

    def __init__(self, settings: Settings, builder: Builder, use: Callable[[Setup], None]) -> None:
        self._settings = settings
        self._builder = builder
        self._use = use
        self._asked = asyncio.Event()
        self._why = ""
        self._known = self._fingerprint()

    def ask(self, why: str) -> None:
        """Reload soon. Call from the loop."""
        self._why = why
        self._asked.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(signal.SIGHUP, self.ask, "SIGHUP")
        watching = loop.create_task(self._watch())
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                await self.reload(self._why)
        finally:
            watching.cancel()

    async def reload(self, why: str) -> bool:
        """Read the file and use what it says; False when it is refused."""
        self._known = self._fingerprint()
        try:
            settings = await asyncio.to_thread(config.load, self._settings.source)
            # Providers may want the loop they will run on.
            setup = self._builder.build(settings)
        except Misconfigured as error:
            facts.reload_refused(why, str(error))
            return False
        except Exception as error:
            facts.fault("reload", error)
            return False
        self._settings = settings
        if len(self._known) != len(self._fingerprint()):
            # It names other files than before.
            self._known = self._fingerprint()
        self._use(setup)
        facts.reloaded(why, ", ".join(sorted(setup.providers)))
        return True

    async def _watch(self) -> None:
        seen = self._known
        while True:
            await asyncio.sleep(_LOOK)
            now = self._fingerprint()
            if now != self._known and now == seen:
                self._known = now
                self.ask("the file has changed")
            seen = now

    def _fingerprint(self) -> tuple[Any, ...]:
        return tuple(_stamp(path) for path in self._files())

    def _files(self) -> Iterator[Path]:
        yield self._settings.source or Path(DEFAULT_FILE).absolute()
        for options in self._settings.providers.values():
            yield from _references(options)


def _references(value: Any) -> Iterator[Path]:
    if isinstance(value, str) and value.startswith("file:"):
        yield Path(value.removeprefix("file:"))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
