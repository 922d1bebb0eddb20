"""Mail servers that change users and want accounts of their own, run by whoever runs the tests."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests import debian

PACKAGES = ("libnss-wrapper", "libuid-wrapper")
_STOP = 10  # seconds


def environment(
    directory: Path, users: Mapping[str, tuple[int, int]], groups: Mapping[str, int]
) -> dict[str, str]:
    """What makes a program see these accounts and believe that it is root and can change users.

    Nobody changes in truth: see the manual pages nss_wrapper(1) and uid_wrapper(1).
    """
    passwd, group = directory / "passwd", directory / "group"
    passwd.write_text(
        "".join(
            f"{name}:x:{uid}:{gid}::/:/bin/false\n" for name, (uid, gid) in {"root": (0, 0), **users}.items()
        )
    )
    group.write_text("".join(f"{name}:x:{gid}:\n" for name, gid in {"root": 0, **groups}.items()))
    (libraries,) = {one.parent for one in (debian.ROOT / "usr" / "lib").glob("*/libuid_wrapper.so")}
    return {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": debian.environment()["LD_LIBRARY_PATH"],
        "LD_PRELOAD": f"{libraries / 'libuid_wrapper.so'}:{libraries / 'libnss_wrapper.so'}",
        "NSS_WRAPPER_PASSWD": str(passwd),
        "NSS_WRAPPER_GROUP": str(group),
        "UID_WRAPPER": "1",
        "UID_WRAPPER_ROOT": "1",
    }


@contextlib.contextmanager
def serving(
    command: Sequence[str | Path], known: Mapping[str, str], port: int, directory: Path
) -> Iterator[None]:
    """While the server runs, once it greets. What it prints goes to a file `output` in `directory`."""
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(known), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        if not _greets(process, port):
            logs = [
                path.read_text() for path in (directory / "output", directory / "maillog") if path.exists()
            ]
            pytest.fail(f"{command[0]} did not start: {' '.join(logs)}")
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP)
        # Its parts are in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _greets(process: subprocess.Popen[bytes], port: int) -> bool:
    end = time.monotonic() + 100
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as line:
            line.settimeout(5)
            if line.recv(200).startswith(b"220 "):
                return True
        time.sleep(0.05)
    return False
