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
_STATE = _CACHE / "apt"
#: what is installed on this machine
_STATUS = Path("/var/lib/dpkg/status")


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


def unpack_with_needs(package: str, *others: str) -> None:
    """Have a package in `ROOT` with everything it needs that is not installed on this machine."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (_HAVE / package).exists():
            return
        _update()
        wanted = ["--print-uris", "--yes", "--no-install-recommends", "install", package, *others]
        listed = _run(["apt-get", *_options(), *wanted], _STATE)
        # Lines such as: 'http://host/pool/x.deb' name_version_arch.deb size digest
        names = [line.split()[1].partition("_")[0] for line in listed.splitlines() if line.startswith("'")]
        _fetch(names)
        (_HAVE / package).touch()


def environment() -> dict[str, str]:
    """What an unpacked program needs to find its libraries."""
    root = _CACHE / "root"
    libraries = [str(one) for one in (root / "usr" / "lib").glob("*-linux-gnu")]
    libraries += [str(one) for one in (root / "usr" / "lib").glob("*-linux-gnu/pulseaudio")]
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
    _update()
    _run(["apt-get", *_options(), "download", *packages], _STATE)
    for archive in _STATE.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(archive), str(ROOT)], _STATE)
        archive.unlink()
    _HAVE.mkdir(exist_ok=True)
    for package in packages:
        (_HAVE / package).touch()


def _update() -> None:
    """Have Debian's lists of packages, once."""
    for folder in ("lists/partial", "archives/partial"):
        (_STATE / folder).mkdir(parents=True, exist_ok=True)
    if not any((_STATE / "lists").glob("*Packages*")):
        _run(["apt-get", *_options(), "update", "-qq"], _STATE)


def _options() -> list[str]:
    return [
        f"-oDir::State::lists={_STATE / 'lists'}",
        f"-oDir::State::status={_STATUS}",
        f"-oDir::Cache={_STATE}",
        f"-oDir::Cache::archives={_STATE / 'archives'}",
        "-oDebug::NoLocking=1",
        "-oAPT::Sandbox::User=",
    ]


def _run(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=170)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
