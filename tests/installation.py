"""Whole installations as real processes, for journeys and benchmarks."""

import contextlib
import functools
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

_PATIENCE = 100.0
#: ports that one process of tests has for itself
_BLOCK = 500


def free_port() -> int:
    """A port of 127.0.0.1 for a server that is yet to start.

    The kernel would give one that it gives to somebody else before the server comes: to a client of another test, or
    to a server that takes any port. So it is below those, out of a block that no other process of tests uses.
    """
    ports = _own_ports()
    for _ in range(_BLOCK):
        port = next(ports)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@functools.cache
def _own_ports() -> Iterator[int]:
    """The ports of a block, again and again; the block is ours while a UDP socket is bound to its first number."""
    for first in range(10_000, _lowest_given() - _BLOCK, _BLOCK):
        mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            mark.bind(("127.0.0.1", first))
        except OSError:
            mark.close()
            continue
        mark.detach()  # open until this process ends
        return itertools.cycle(range(first + 1, first + _BLOCK))
    raise AssertionError("no block of ports is left")


def _lowest_given() -> int:
    """From here on the kernel gives ports to whoever takes any."""
    usual = 32_768
    with contextlib.suppress(OSError):
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        # Where it gives nearly all there are, those that it gives less often have to do.
        return lowest if lowest > 20_000 else usual
    return usual


def wait_for(condition: Callable[[], Any], what: str, seconds: float = _PATIENCE) -> Any:
    """The first true answer of `condition`; fails naming `what` when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Process:
    """One command of ours in a process group of its own, its output kept in a file."""

    def __init__(
        self,
        arguments: list[str],
        directory: Path,
        environment: Mapping[str, str] | None = None,
        module: str = "relay",
    ) -> None:
        self.log = directory / f"{'-'.join(arguments[:1])}-{time.monotonic_ns()}.log"
        self._output = self.log.open("wb")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {}), "COLUMNS": "200"},
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def wait(self, seconds: float = _PATIENCE) -> int:
        code = self.popen.wait(seconds)
        self._output.close()
        return code

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(40)
            except subprocess.TimeoutExpired:
                self.signal_group(signal.SIGKILL)
                self.popen.wait(_PATIENCE)
        self._output.close()

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.signal_group(signal.SIGKILL)
            self.popen.wait(_PATIENCE)
        self._output.close()


class Installation:
    """Configuration, ports and a key; `up` or single roles are started on it. Everything ends with the context."""

    def __init__(self, directory: Path, configuration: str = "", **urls: str) -> None:
        self.directory = directory
        self.smtp_port = free_port()
        self.api_port = free_port()
        self.key = ""
        self.processes: list[Process] = []
        tables = [f'data_dir = "{directory / "data"}"']
        tables += [f'[{section}]\nurl = "{url}"' for section, url in urls.items() if url]
        tables += [
            f"[[smtp.listeners]]\nport = {self.smtp_port}",
            f"[api]\nport = {self.api_port}",
            # Tests and benchmarks send faster than people do.
            "" if "[limits]" in configuration else "[limits]\nsends_per_second = 0",
            configuration,
        ]
        self.config = directory / "pillarbox.toml"
        self.config.write_text("\n".join(tables), encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Nothing is asked of them any more: those who care how they end let them end before.
        for process in reversed(self.processes):
            process.kill()

    def start(self, *arguments: str) -> Process:
        process = Process([*arguments, "--config", str(self.config)], self.directory)
        self.processes.append(process)
        return process

    def up(self) -> Process:
        """Start everything and wait until it says so; the first time this also learns the key."""
        process = self.start("up")

        def ready() -> bool:
            if process.popen.poll() is not None:
                raise AssertionError(f"up ended with {process.popen.returncode}:\n{process.output}")
            return "is up. Ctrl-C" in process.output and "messages list" in process.output

        wait_for(ready, "up")
        shown = re.search(r"first API key, shown this once:\s+(\S+)", process.output)
        if shown:
            self.key = shown[1]
        return process

    def fleet(self, *, workers: int) -> list[Process]:
        """The same parts as separate processes, as on several machines."""
        assert self.run("migrate").returncode == 0
        self.key = self.run("keys", "create").stdout.strip()
        started = [self.start(role) for role in ("smtp", "api", *["worker"] * workers, "clock")]
        wait_for(lambda: _listens(self.smtp_port) and _listens(self.api_port), "the doors' opening")
        return started

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "relay", *arguments, "--config", str(self.config)],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env={**os.environ, "COLUMNS": "200"},
        )

    def request(self, path: str, fields: dict[str, Any] | None = None) -> tuple[int, Any]:
        """One REST call: GET, or POST when there are fields. Returns status and decoded answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api_port}{path}",
            None if fields is None else json.dumps(fields).encode(),
            {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def messages(self) -> Iterator[dict[str, Any]]:
        """Every message of the key's account, by the list API."""
        offset = 0
        while True:
            status, page = self.request(
                f"/v1/transactional/email?limit=1000&offset={offset}&exclude_params=true"
            )
            assert status == 200, page
            yield from page["data"]
            if not page["has_more"]:
                return
            offset += 1000
