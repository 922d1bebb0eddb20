"""Every command and snippet of the papers runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from relay import config
from tests import debian
from tests.installation import Installation, wait_for

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

#: set-up commands: CI itself runs `test.sh`; `start.sh` differs in what it installs and in the last word
_SET_UP = {"sh deploy/start.sh", "sh deploy/test.sh"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_set_up_commands_exist() -> None:
    named = {line.strip() for block in blocks("sh") for line in block.splitlines() if "deploy/" in line}
    assert named == _SET_UP
    for command in named:
        script = ROOT / command.split()[1]
        subprocess.run(["sh", "-n", str(script)], check=True)


def test_first_mails_and_their_status(tmp_path: Path) -> None:
    debian.tool("swaks", "swaks", "perl-modules-5.36")
    with Installation(tmp_path) as installation:
        installation.up()
        environment = {
            **debian.environment(),
            "PILLARBOX_API_KEY": installation.key,
            "PILLARBOX_CONFIG": str(installation.config),
        }
        environment["PATH"] = f"{ROOT / '.cache/debian/root/usr/bin'}:{tmp_path}:{os.environ['PATH']}"
        command = tmp_path / "pillarbox"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m relay "$@"\n')
        command.chmod(0o755)

        def here(text: str) -> str:
            for port, actual in (("2525", installation.smtp_port), ("8080", installation.api_port)):
                text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{actual}")
                text = text.replace(f'"127.0.0.1", {port}', f'"127.0.0.1", {actual}')
            return text.replace(".venv/bin/pillarbox", str(command))

        def run(arguments: list[str]) -> str:
            done = subprocess.run(
                arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        for snippet in blocks("python"):
            run([sys.executable, "-c", here(snippet)])
        said = []
        for block in blocks("sh"):
            if "deploy/" in block or "pip install" in block or "<id>" in block:
                continue
            said.append(run(["sh", "-ec", here(block)]))
        assert len(said) == 4
        messages = list(installation.messages())
        assert [one["recipient"] for one in messages] == ["someone@example.net"] * 3
        assert all(one["id"] in said[-1] for one in messages)
        assert "0 failed" in said[-1]
        wait_for(
            lambda: all(one["status"] == "SENT" for one in installation.messages()), "capture of all three"
        )
        run(["sh", "-ec", here(f".venv/bin/pillarbox messages show {messages[0]['id']}")])


@pytest.mark.parametrize("text", blocks("toml"))
def test_configuration_examples_are_accepted(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"env:([A-Z_]+)", text):
        monkeypatch.setenv(name, "x")
    settings = config.parse(text)
    for options in settings.ways_out.values():
        config.resolve(options)


def test_settings_named_in_the_readme_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in re.findall(r"(PILLARBOX_[A-Z_]+__[A-Z_]+)=(\S+?)[`\s]", README):
        monkeypatch.setenv(name, value)
    config.parse("")


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
