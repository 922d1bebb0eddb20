"""The program under test with named places at which it can be made to die: `python -m tests.faults.rig up ...`.

Nothing of this is in the program: the rig replaces a few of its functions in its own process before it runs it. A
place does nothing until a file of its name is in the directory `$FAULTS`; whoever reaches the place first takes the
file away and dies of SIGKILL. `name@role` is for one role only.
"""

import contextlib
import mmap
import os
import select
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DIRECTORY = Path(os.environ.get("FAULTS", "/nonexistent"))
#: a mail with these octets kills whoever sends it, each time
POISON = b"X-Poison: yes"

#: the places, and where they are
POINTS = {
    "before-commit": "a door has written a group of mails and not committed it",
    "after-commit": "a door has committed, and neither answered nor asked for delivery",
    "before-wake-up": "a door has answered, and is about to ask the queue server",
    "holding": "a worker has taken a wake-up from the queue server and not looked at the record",
    "after-claim": "a worker has claimed mail and not begun to send it",
    "after-send": "the provider has taken a mail, and nothing is recorded",
    "before-settle": "results are written and not committed",
}
#: places at which the process is stopped (SIGSTOP) instead: in its transaction, and between claim and send
STOPPED = "stopped-in-write"
STOPPED_CLAIMED = "stopped-after-claim"

_role = ""
_box: mmap.mmap | None = None
_sending = 0


def everything(directory: Path) -> Path:
    """While this file is there, a deadly mail ends all processes at once."""
    return directory / "everything"


def reached(name: str) -> None:
    """Die here if somebody wants that."""
    for file in (DIRECTORY / name, DIRECTORY / f"{name}@{_role}"):
        with contextlib.suppress(OSError):
            file.unlink()
            (DIRECTORY / f"{name}.reached").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP if name in {STOPPED, STOPPED_CLAIMED} else signal.SIGKILL)


def _tell(change: int) -> None:
    """Keep the number of sends in flight where it can be read after our end."""
    global _sending
    _sending += change
    if _box is not None:
        _box[:8] = struct.pack("q", _sending)


def in_flight(directory: Path, pid: int) -> int:
    """How many sends a process had in flight when it was last heard of."""
    with contextlib.suppress(OSError):
        return int(struct.unpack("q", (directory / f"{pid}.flight").read_bytes()[:8])[0])
    return 0


def _after(owner: Any, name: str, then: Callable[..., None]) -> None:
    """Call `then` with the arguments after each call of a plain function."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        then(*args, **kwargs)
        return result

    setattr(owner, name, wrapped)


def _before(owner: Any, name: str, first: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        first(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def _rig_writing(point: str) -> None:
    """In a transaction that is not committed yet.

    Where the server commits by itself one dies before it is given anything, and is not stopped: nothing is held.
    """
    from relay.store import postgres
    from relay.store.rows import Bound

    _after(Bound, "run", lambda *_: (reached(point), reached(STOPPED)))
    _before(postgres, "_changed", lambda *_: reached(point))


def _rig_doors() -> None:
    from relay.queue import RedisQueue

    _rig_writing("before-commit")
    _before(RedisQueue, "deliver", lambda *_: reached("after-commit") if _role in {"smtp", "api"} else None)

    def wake_up(*_: Any) -> None:
        if any((DIRECTORY / f"before-wake-up{who}").exists() for who in ("", f"@{_role}")):
            time.sleep(0.3)  # in a thread of its own: the answer goes out meanwhile
            reached("before-wake-up")

    _before(RedisQueue, "_send", wake_up)


def _rig_workers() -> None:
    from relay.delivery.dispatch import Dispatcher
    from relay.delivery.engine import Engine

    _before(Engine, "wake", lambda *_: reached("holding"))
    _rig_writing("before-settle")

    start: Any = Dispatcher.start
    receipts: Any = Dispatcher._receipts
    send: Any = Dispatcher._send

    async def started(self: Any, mails: Any) -> Any:
        reached("after-claim")
        reached(STOPPED_CLAIMED)
        return await start(self, mails)

    async def received(self: Any, way: Any, outgoing: Any) -> Any:
        if any(POISON in bytes(one.raw) for one in outgoing):
            (DIRECTORY / f"{os.getpid()}.poisoned").touch()
            if everything(DIRECTORY).exists():
                os.killpg(0, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        found = await receipts(self, way, outgoing)
        reached("after-send")
        return found

    async def sent(self: Any, parts: Any, bodies: Any) -> Any:
        claims = sum(len(part.claims) for part in parts)
        _tell(claims)
        try:
            return await send(self, parts, bodies)
        finally:
            _tell(-claims)

    Dispatcher.start = started
    Dispatcher._receipts = received
    Dispatcher._send = sent


def _rig_sleep() -> None:
    """`time.sleep` is made of a system call that libfaketime refuses (EINVAL); this waits as long."""

    def wait(seconds: float, /) -> None:
        select.select((), (), (), seconds)

    time.sleep = wait


def _rig_roles() -> None:
    from relay import process

    original = process.run

    def run(role: Any, name: str, *args: Any, **kwargs: Any) -> int:
        global _role, _box, _sending
        _role, _sending = name, 0
        path = DIRECTORY / f"{os.getpid()}.flight"
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            _box = mmap.mmap(file.fileno(), 8)
        (DIRECTORY / f"{os.getpid()}.{name}").touch()
        return original(role, name, *args, **kwargs)

    process.run = run
    # Read by the doors when they are loaded. Clients on a busy machine may take longer to begin than those in life.
    assert not {"api.main", "relay.smtp.server"} & sys.modules.keys()
    process.HANDOVER = 4.0


def main() -> None:
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        # First of all: others take the function when they are loaded.
        _rig_sleep()
    from relay.cli.app import app

    _rig_doors()
    _rig_workers()
    _rig_roles()
    assert threading.active_count() == 1
    app(prog_name="pillarbox", args=sys.argv[1:])


if __name__ == "__main__":
    main()
