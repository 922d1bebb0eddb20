"""The parent of everything `pillarbox up` runs: forks the children, restarts them, ends them in order.

Plain synchronous code without threads or an event loop, so that a fork copies a process nobody else is changing.
Import heavy modules before `run`: the children share their memory.
"""

import contextlib
import gc
import math
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn

from relay.child import Backoff, die_with_parent
from relay.embedded import EmbeddedValkey
from relay.observe import facts

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
#: A second Ctrl-C within this many seconds of the first is the same one, passed on by a wrapper.
_SAME_CTRL_C = 0.3


@dataclass(frozen=True, slots=True)
class Child:
    """A process to be. `run` works in the fork, calls its argument once it is able to, and returns the exit code."""

    name: str
    run: Callable[[Callable[[], None]], int]


@dataclass(slots=True)
class _Place:
    """Where a child runs, or will run again."""

    child: Child
    pid: int = 0  #: 0 while it is not running
    ready_fd: int = -1  #: open while it has not said that it is ready
    ready: bool = False
    started: float = 0.0
    restart_at: float = math.inf
    backoff: Backoff = field(default_factory=Backoff)


class Supervisor:
    """Runs `children` and the queue server until SIGTERM or SIGINT; call `run` once, in the main thread.

    `drain` is the number of seconds children have to finish after SIGTERM, `start_timeout` to become ready.
    """

    def __init__(
        self,
        children: Iterable[Child],
        valkey: EmbeddedValkey | None = None,
        *,
        drain: float = 30,
        start_timeout: float = 60,
    ) -> None:
        self._places = [_Place(child) for child in children]
        self._valkey = valkey
        self._drain = drain
        self._start_timeout = start_timeout
        self._selector = selectors.DefaultSelector()
        self._signal_fds = (-1, -1)
        self._code = 0
        self._complete = False  #: every child has been ready once
        self._stop_by = math.inf  #: when patience ends; finite while stopping
        self._interrupts: list[float] = []

    def run(self, on_ready: Callable[[], None] = lambda: None) -> int:
        """Start everything, call `on_ready` once all children are ready, and return the exit code after the end.

        A child that ends before it was ever ready, while the others start too, ends everything with its code; later
        it is restarted, however it ended. Raises `Misconfigured` when the queue server does not start.
        """
        assert threading.active_count() == 1, "a fork would copy locks held by other threads"
        with self._signals():
            try:
                if self._valkey is not None:
                    self._valkey.start()
                gc.collect()
                # Keeps the collector from touching, and so copying, what the children share with us.
                gc.freeze()
                for place in self._places:
                    self._fork(place)
                self._watch(on_ready)
            finally:
                self._kill_all()
                if self._valkey is not None:
                    self._valkey.stop()
        return self._code

    def _watch(self, on_ready: Callable[[], None]) -> None:
        start_by = time.monotonic() + self._start_timeout
        while True:
            if not self._stopping and not self._complete:
                if all(place.ready for place in self._places):
                    self._complete = True
                    try:
                        on_ready()
                    except Exception as error:
                        facts.fault("ready", error)
                elif time.monotonic() > start_by:
                    late = next(place for place in self._places if not place.ready)
                    facts.child_failed(late.child.name, 1)
                    self._stop(1)
            if self._stopping and (not self._running or time.monotonic() > self._stop_by):
                return
            wait = self._restart_due()
            if not self._stopping:
                if self._valkey is not None:
                    wait = min(wait, self._valkey.poll())
                if not self._complete:
                    wait = min(wait, start_by - time.monotonic())
            wait = min(wait, self._stop_by - time.monotonic())
            for key, _ in self._selector.select(None if wait == math.inf else max(wait, 0) + 0.001):
                if key.data is None:
                    self._handle(os.read(self._signal_fds[0], 4096))
                else:
                    self._hear(key.data)

    @property
    def _stopping(self) -> bool:
        return self._stop_by < math.inf

    @property
    def _running(self) -> list[_Place]:
        return [place for place in self._places if place.pid]

    def _handle(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP:
                self._signal_all(signal.SIGHUP)
            elif self._stopping and number == signal.SIGINT and self._hurried():
                self._stop_by = 0
            elif not self._stopping:
                facts.stopping(signal.Signals(number).name)
                if number == signal.SIGINT:
                    self._hurried()
                self._stop(0)

    def _hurried(self) -> bool:
        self._interrupts.append(time.monotonic())
        return self._interrupts[-1] - self._interrupts[0] > _SAME_CTRL_C

    def _stop(self, code: int) -> None:
        if not self._stopping:
            self._code = code
            self._stop_by = time.monotonic() + self._drain
            self._signal_all(signal.SIGTERM)

    def _hear(self, place: _Place) -> None:
        if place.ready_fd < 0:
            # Its end was noticed in the same turn.
            return
        with contextlib.suppress(BlockingIOError):
            place.ready = os.read(place.ready_fd, 1) != b"" or place.ready
        self._deafen(place)

    def _deafen(self, place: _Place) -> None:
        if place.ready_fd >= 0:
            self._selector.unregister(place.ready_fd)
            os.close(place.ready_fd)
            place.ready_fd = -1

    def _reap(self) -> None:
        for place in self._running:
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if pid:
                self._ended(place, os.waitstatus_to_exitcode(status))

    def _ended(self, place: _Place, code: int) -> None:
        self._hear(place)
        place.pid = 0
        if self._stopping:
            return
        if not self._complete and not place.ready:
            if -code in {signal.SIGTERM, signal.SIGINT}:
                # Meant for the whole group, and it has ended the child before we have heard of it.
                self._stop(0)
                return
            facts.child_failed(place.child.name, code)
            self._stop(128 - code if code < 0 else code or 1)
            return
        pause = place.backoff.pause(time.monotonic() - place.started)
        facts.child_lost(place.child.name, code, pause)
        place.restart_at = time.monotonic() + pause

    def _restart_due(self) -> float:
        """Fork what is due; returns the seconds until the next restart."""
        if self._stopping:
            return math.inf
        now = time.monotonic()
        for place in self._places:
            if not place.pid and place.restart_at <= now:
                self._fork(place)
        return min((place.restart_at - now for place in self._places), default=math.inf)

    def _fork(self, place: _Place) -> None:
        place.restart_at = math.inf
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        parent = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # A signal between the fork and the child's own dispositions would reach the handlers, and the pipe, of
        # its parent; held back, it finds the child's.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            place.pid = os.fork()
            if place.pid == 0:
                self._become(place.child, parent, reading, writing, held)
        except OSError as error:
            os.close(reading)
            place.pid = 0
            facts.fault("fork", error)
            place.restart_at = time.monotonic() + place.backoff.pause(0)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            os.close(writing)
        place.ready_fd = reading
        place.started = time.monotonic()
        self._selector.register(reading, selectors.EVENT_READ, place)
        facts.child_started(place.child.name, place.pid)

    def _become(self, child: Child, parent: int, reading: int, writing: int, mask: Iterable[int]) -> NoReturn:
        """The life of a child, from its fork to its end."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                # SIGHUP asks for a reload; a child that cannot (yet) must not die of it.
                ignored = number == signal.SIGHUP
                signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
            die_with_parent(parent)
            self._selector.close()
            for fd in (reading, *self._signal_fds, *(other.ready_fd for other in self._places)):
                if fd >= 0:
                    os.close(fd)
            if self._valkey is not None:
                self._valkey.forget()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            code = child.run(_announcer(writing))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException as error:
            with contextlib.suppress(Exception):
                facts.fault(child.name, error)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(code)

    def _signal_all(self, number: signal.Signals) -> None:
        for place in self._running:
            # Not reaped yet, so the number cannot be somebody else's by now.
            os.kill(place.pid, number)

    def _kill_all(self) -> None:
        """End what did not end in time."""
        for place in self._running:
            facts.child_killed(place.child.name, place.pid)
        self._signal_all(signal.SIGKILL)
        for place in self._places:
            if place.pid:
                os.waitpid(place.pid, 0)
                place.pid = 0
            self._deafen(place)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn signals into bytes on a pipe, and put everything back at the end."""
        reading, writing = self._signal_fds = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        before = {number: signal.signal(number, _noted) for number in _SIGNALS}
        wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._selector.register(reading, selectors.EVENT_READ)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            os.close(reading)
            os.close(writing)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """A handler has to exist for the signal to be written to the wake-up pipe."""


def _announcer(fd: int) -> Callable[[], None]:
    told = False

    def ready() -> None:
        nonlocal told
        if not told:
            told = True
            os.write(fd, b"1")
            os.close(fd)

    return ready
