"""Programs of npm, installed beside the tests."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

_CACHE = Path(__file__).parents[1] / ".cache" / "npm"


def package(name: str) -> Path:
    """The folder in which scripts can `require(name)`. Fails the test when it cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.fail(f"{name} needs node and npm on PATH")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (_CACHE / "node_modules" / name / "package.json").exists():
            command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(_CACHE), name]
            done = subprocess.run(command, capture_output=True, text=True, timeout=170)
            if done.returncode:
                pytest.fail(f"{' '.join(command)}: {done.stderr.strip()}")
    return _CACHE
