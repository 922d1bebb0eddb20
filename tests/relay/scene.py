"""A program for the tests of the supervisor: `python scene.py DATA_DIR CHILD...`, each child a word from below.

It tells what happens on standard output, one line a fact: `ready`, `NAME PID started`, `NAME PID SIGNAL`.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from relay import supervisor as supervising
from relay.core.errors import Misconfigured
from relay.embedded import EmbeddedValkey
from relay.observe import logs
from relay.sections import LogSettings
from relay.supervisor import Child, Supervisor


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def note(name: str, ends: bool):
    """A well-behaved process: says every signal it gets, and ends at SIGTERM when it `ends` at all."""

    def run(ready) -> int:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        say(name, os.getpid(), "started")
        ready()
        while True:
            # An end of its own, lest one that does not listen outlive a test that failed.
            got = signal.sigtimedwait(numbers, 120)
            if got is None:
                return 1
            number = signal.Signals(got.si_signo)
            say(name, os.getpid(), number.name)
            if number == signal.SIGTERM and ends:
                return 0

    return run


def flaky(ready) -> int:
    ready()
    say("flaky", os.getpid(), "started")
    return 3


def refusing(ready) -> int:
    return 2


def silent(ready) -> int:
    threading.Event().wait()
    return 0


def raising(ready) -> int:
    raise RuntimeError("no such luck")


CHILDREN = {
    "one": note("one", ends=True),
    "two": note("two", ends=True),
    "deaf": note("deaf", ends=False),
    "flaky": flaky,
    "refusing": refusing,
    "silent": silent,
    "raising": raising,
}


def main() -> int:
    logs.configure(LogSettings(format="json", level="debug"), role="up")
    supervising._SAME_CTRL_C = float(os.environ.get("SAME_CTRL_C", supervising._SAME_CTRL_C))
    valkey = EmbeddedValkey(Path(sys.argv[1])) if sys.argv[1] != "-" else None
    supervisor = Supervisor(
        [Child(name, CHILDREN[name]) for name in sys.argv[2:]],
        valkey,
        drain=float(os.environ.get("DRAIN", "60")),
        start_timeout=float(os.environ.get("START", "60")),
    )

    def on_ready() -> None:
        say("ready", os.getpid(), valkey.pid if valkey else "-")

    try:
        return supervisor.run(on_ready)
    except Misconfigured as error:
        say("misconfigured", error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
