"""A provider from a package of somebody else's: installed, found, configured, and put through the published suite."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACKAGE = HERE / "pigeon"
README = (HERE.parents[1] / "providers" / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package was installed to, by pip and without a network."""
    target = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-build-isolation",
        "--no-deps",
    ]
    command += ["--disable-pip-version-check", "--target", str(target), str(PACKAGE)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return target


def _run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": f"{installed}:{HERE.parents[1]}", "PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=150
    )


def test_its_kind_is_known_once_it_is_installed(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "pillarbox.toml").write_text(
        '[providers.home]\ntype = "pigeon"\nloft = "/tmp"\nbirds = "7"\n'
    )
    program = (
        "from providers import registry; from relay import config\n"
        "built = registry.build(config.load().ways_out)['home']\n"
        "print(type(built).__name__, built.name, 'pigeon' in registry.kinds())"
    )
    done = _run(installed, tmp_path, "-c", program)
    assert done.stdout.split() == ["Pigeon", "home", "True"], done.stderr


def test_it_passes_the_published_suite(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE / "tests", tmp_path / "tests")
    done = _run(
        installed, tmp_path, "-m", "pytest", "tests", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"
    )
    counted = re.search(r"(\d+) passed, (\d+) skipped", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert counted
    assert int(counted[1]) >= 15


def test_the_readme_shows_the_package_as_it_is() -> None:
    shown = re.findall(r"^ *```python\n(.*?)^ *```", README, re.MULTILINE | re.DOTALL)
    sources = [
        (PACKAGE / name).read_text() for name in ("pillarbox_pigeon/__init__.py", "tests/test_pigeon.py")
    ]
    assert shown == sources
