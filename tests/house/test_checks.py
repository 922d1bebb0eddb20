"""The rules that machines keep: style, types, direction of imports."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(660)
@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("importlinter",),
    ],
    ids=" ".join,
)
def test_check_passes(command: tuple[str, ...]) -> None:
    module, *arguments = command
    program = (
        ["-c", "from importlinter.cli import lint_imports_command as c; c()"]
        if module == "importlinter"
        else ["-m", module]
    )
    done = subprocess.run(
        [sys.executable, *program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


HOMES = {
    "cryptography": ("relay/signing", "relay/notices/", "providers/"),
    "aiosmtpd": ("relay/smtp/",),
    "sqlmodel": ("relay/store/",),
    "sqlalchemy": ("relay/store/",),
    "alembic": ("relay/store/",),
    "dramatiq": ("relay/queue", "workers/"),
    "redis": ("relay/queue", "workers/", "relay/throttle"),
    "limits": ("relay/ratelimit",),
    "python_multipart": ("api/",),
    "fastapi": ("api/",),
    "jinja2": ("api/console/", "relay/templates/"),
    "starlette": ("api/",),
    "uvicorn": ("api/", "relay/cli/fakes"),
    "httpx2": ("providers/", "relay/notices/"),
    "httpcore2": ("relay/notices/",),
    "botocore": ("providers/ses/",),
    "dns": ("providers/mx/", "relay/cli/examine/names"),
    "aiosmtplib": ("providers/",),
    "structlog": ("relay/observe/",),
    "prometheus_client": ("relay/observe/",),
    "opentelemetry": ("relay/observe/",),
    "pydantic_settings": ("relay/config",),
    "typer": ("relay/cli/",),
    "rich": ("relay/cli/",),
}


def test_each_dependency_has_one_home() -> None:
    strays = []
    for package in ("relay", "api", "workers", "providers"):
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            text = path.read_text(encoding="utf-8")
            # An import for annotations only does not tie the module to the library.
            text = re.sub(r"if TYPE_CHECKING:\n(?:    .*\n|\n)+", "", text)
            for found in re.finditer(r"^\s*(?:from|import) ([a-z_]+)", text, re.MULTILINE):
                homes = HOMES.get(found[1])
                if homes and not name.startswith(homes):
                    strays.append(f"{name} imports {found[1]}")
    assert strays == []


def test_files_stay_small() -> None:
    large = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for package in ("relay", "api", "workers", "providers")
        for path in (ROOT / package).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 500
    ]
    assert large == []
