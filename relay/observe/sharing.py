"""Counts of the processes on one machine, put where the one that is asked can read them.

Under `pillarbox up` every process writes its counts to a file of its own now and then, and a process that is started
again counts on from there. Nothing of it has to survive a crash of the machine.
"""

import contextlib
import os
import threading
from pathlib import Path

import orjson

from relay.observe import counts
from relay.observe.counts import Snapshot

#: seconds between two writes
_EVERY = 2.0


class Shared:
    """A directory of counts, and this process's place in it."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._path = directory / f"{name}.json"
        self._last = b""
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take over what a predecessor of this name has counted, and begin to write."""
        with contextlib.suppress(OSError, orjson.JSONDecodeError):
            counts.resume(orjson.loads(self._path.read_bytes()))
        self._thread = threading.Thread(target=self._run, name="counts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def others(self) -> list[Snapshot]:
        """The counts of the other processes, as they last wrote them."""
        found: list[Snapshot] = []
        for path in self._directory.glob("*.json"):
            if path != self._path:
                with contextlib.suppress(OSError, orjson.JSONDecodeError):
                    found.append(orjson.loads(path.read_bytes()))
        return found

    def _run(self) -> None:
        while not self._ending.wait(_EVERY):
            self._write()
        self._write()

    def _write(self) -> None:
        content = orjson.dumps(counts.snapshot())
        if content == self._last:
            return
        # A disk without room, or a directory taken away, costs the figures only.
        with contextlib.suppress(OSError):
            fresh = self._path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(self._path)
            self._last = content


def clear(directory: Path) -> None:
    """Begin anew: counts of an earlier run are not of this one. Raises nothing for what is not there."""
    with contextlib.suppress(FileNotFoundError):
        for path in directory.iterdir():
            path.unlink()
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chmod(directory, 0o700)  # noqa: PTH101
