"""What every child process of ours needs: an end when its parent ends, pauses between its restarts, and a name."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

# Looked up before any fork: between fork and exec nothing may be loaded.
_prctl: Callable[..., int] | None = (
    ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
)


def die_with_parent(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send this process `number` when `parent`, the process that forked it, ends in any way.

    Call in the child, right after the fork. The kernel watches the thread that forked, so fork from the main
    thread. Elsewhere than on Linux this does nothing, and a parent killed with SIGKILL leaves its children behind.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, number.value)
    if os.getppid() != parent:
        # It ended before the kernel was asked to watch.
        os._exit(1)


def call_thread(name: str) -> None:
    """Name the calling thread for `top -H` and its like; the first 15 octets are shown. Linux only.

    The main thread's name is what `ps` and `top` call the process.
    """
    if _prctl is not None:
        _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()))


class Backoff:
    """Pauses between restarts: `first` seconds, doubling to `longest`, and short again after `healthy` seconds."""

    def __init__(self, first: float = 0.1, longest: float = 10, healthy: float = 30) -> None:
        self._first = first
        self._longest = longest
        self._healthy = healthy
        self._next = first

    def pause(self, lived: float) -> float:
        """Seconds to wait before the next start of something that has just ended after `lived` seconds."""
        if lived >= self._healthy:
            self._next = self._first
        pause = self._next
        self._next = min(pause * 2, self._longest)
        return pause
