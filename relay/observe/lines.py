"""Log lines of the busiest facts: written as bytes, gathered, and put out by a thread a few times a second.

A structured logger's chain of processors costs a tenth of what storing a mail does. What is gathered is lost if the
process is killed within the pause; the record itself is not in the log.
"""

import atexit
import os
import sys
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Any

import orjson

_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
#: seconds for which lines are gathered
_PAUSE = 0.05


class Lines:
    """One per process, made after any fork. Lines of all threads come out whole and in order."""

    def __init__(self, role: str, descriptor: int) -> None:
        self._role = role
        # Our own: the number of a stream that is closed elsewhere would soon name some other file, a database even.
        self._descriptor = os.dup(descriptor)
        self._waiting: deque[bytes] = deque()
        self._some = threading.Event()
        self._writing = threading.Lock()
        self._ended = False
        #: started with the first line, so that a parent which writes none can still fork
        self._thread: threading.Thread | None = None
        atexit.register(self.flush)

    def put(self, event: str, fields: dict[str, Any]) -> None:
        """A line of level info."""
        fields["event"] = event
        fields["level"] = "info"
        fields["timestamp"] = datetime.now(UTC)
        fields["role"] = self._role
        self._waiting.append(orjson.dumps(fields, default=str, option=_OPTIONS))
        if self._thread is None:
            self._start()
        if not self._some.is_set():
            self._some.set()

    def _start(self) -> None:
        with self._writing:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Write what was gathered; what cannot be written is dropped, as a log must not stop its process."""
        with self._writing:
            self._some.clear()
            lines = []
            while self._waiting:
                lines.append(self._waiting.popleft())
            view = memoryview(b"".join(lines))
            try:
                while view:
                    view = view[os.write(self._descriptor, view) :]
            except OSError:
                pass

    def close(self) -> None:
        self._ended = True
        self._some.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()
        atexit.unregister(self.flush)
        os.close(self._descriptor)

    def _run(self) -> None:
        pause = threading.Event()
        while not self._ended:
            self._some.wait()
            pause.wait(0 if self._ended else _PAUSE)
            self.flush()


class Ordered:
    """Standard error for everything else, behind what was gathered before it."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def write(self, text: str) -> int:
        self._lines.flush()
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
