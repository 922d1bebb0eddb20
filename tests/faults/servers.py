"""A PostgreSQL server that a test may stop, kill and start, and that syncs as one in production does."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests import services


class OwnPostgres:
    """One server in `root`, which must be readable by others: PostgreSQL does not run as root."""

    def __init__(self, root: Path, *, small: bool = False, **options: str) -> None:
        """`small` is for a small disk: its log goes round in a few MiB."""
        self.root = root
        self.data = root / "data"
        self._user = services._user()
        self._environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
        self._options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.data),
            "max_connections": "120",
            "shared_buffers": "32MB",
            **({"max_wal_size": "16MB", "min_wal_size": "4MB"} if small else {}),
            **options,
        }
        self._initdb = ["--wal-segsize=1"] if small else []
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.data}"

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    @property
    def ended(self) -> bool:
        """By itself."""
        return self._server is not None and self._server.poll() is not None

    def program(self, name: str) -> Path:
        return self._bin / name

    def start(self) -> None:
        self.root.mkdir(exist_ok=True)
        self._bin = services._programs(self.root, self._user)
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            if self._user is not None:
                shutil.chown(self.data, self._user)
            subprocess.run(
                [
                    self._bin / "initdb",
                    "-D",
                    self.data,
                    "-A",
                    "trust",
                    "-U",
                    "postgres",
                    "-E",
                    "UTF8",
                    *self._initdb,
                ],
                check=True,
                user=self._user,
                env=self._environment,
                cwd="/",
                stdout=subprocess.DEVNULL,
            )
        arguments = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        with (self.root / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data, *arguments],
                user=self._user,
                env=self._environment,
                cwd="/",
                stdout=log,
                stderr=log,
            )
        ready = [self._bin / "pg_isready", "-q", "-h", self.data]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, env=self._environment, check=False).returncode != 0:
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise services.ServiceMissing(f"PostgreSQL: {(self.root / 'log').read_text()}")
            time.sleep(0.05)

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is an orderly end, SIGQUIT one without: the next start recovers from the log."""
        if self._server is None:
            return
        self._server.send_signal(how)
        try:
            self._server.wait(30)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None
