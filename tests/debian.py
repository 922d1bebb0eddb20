"""Real mail tools from Debian, unpacked beside the tests: no root, nothing installed."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

_CACHE = Path(__file__).parents[1] / ".cache" / "debian"
ROOT = _CACHE / "root"
#: a file for each package that was unpacked
_HAVE = _CACHE / "have"


def tool(program: str, *packages: str) -> Path:
    """A program from PATH, else from Debian's `packages` (default: of its own name) and what they are given here.

    Fails the test when it cannot be had.
    """
    found = shutil.which(program)
    if found:
        return Path(found)
    unpack(*packages or (program,))
    unpacked = _find(program)
    if unpacked is None:
        pytest.fail(
            f"{program} is neither on PATH nor to be had from Debian's {' '.join(packages or (program,))}"
        )
    return unpacked


def unpack(*packages: str) -> None:
    """Have these `packages` in `ROOT`, whatever is installed besides. Fails the test when they cannot be had."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [one for one in packages if not (_HAVE / one).exists()]
        if missing:
            _fetch(missing)


def environment() -> dict[str, str]:
    """What an unpacked program needs to find its libraries."""
    root = _CACHE / "root"
    libraries = [str(one) for one in (root / "usr" / "lib").glob("*-linux-gnu")]
    libraries.append(str(root / "usr" / "lib" / "postfix"))
    perl = [
        root / "usr/share/perl5",
        *(root / "usr/share/perl").glob("5.*"),
        *(root / "usr/lib").glob("*/perl*/5.*"),
    ]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]),
        "PERL5LIB": ":".join(map(str, perl)),
    }


def _find(program: str) -> Path | None:
    for folder in ("usr/bin", "usr/sbin", "bin", "sbin"):
        path = _CACHE / "root" / folder / program
        if path.exists():
            return path
    return None


def _fetch(packages: Sequence[str]) -> None:
    state = _CACHE / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    options = [
        f"-oDir::State::lists={state / 'lists'}",
        f"-oDir::Cache={state}",
        f"-oDir::Cache::archives={state / 'archives'}",
        "-oDebug::NoLocking=1",
        "-oAPT::Sandbox::User=",
    ]
    if not any((state / "lists").glob("*Packages*")):
        _run(["apt-get", *options, "update", "-qq"], state)
    _run(["apt-get", *options, "download", *packages], state)
    for archive in state.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(archive), str(_CACHE / "root")], state)
        archive.unlink()
    _HAVE.mkdir(exist_ok=True)
    for package in packages:
        (_HAVE / package).touch()


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=170)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: {done.stderr.strip()}")
