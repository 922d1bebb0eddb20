"""Providers and routes as an operator meets them at the command line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import Installation

_TABLES = """
[providers.parts]
type = "azure"
base_url = "http://127.0.0.1:1"
access_key = "aGlkZGVuIHNlY3JldA=="

[providers.direct]
type = "mx"
hostname = "mail.example.org"

[routes.default]
use = "failover(parts, direct)"
"""


def test_a_list_marks_what_is_experimental_and_explain_asks_about_the_very_mail(tmp_path: Path) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_text("From: a@example.org\nTo: jane@example.net\nSubject: x\nX-One: 1\nX-One: 2\n\nhello\n")
    with Installation(tmp_path, _TABLES) as installation:
        assert installation.run("migrate").returncode == 0
        listed = installation.run("providers", "list")
        assert "mx (experimental)" in listed.stdout
        assert "azure (experimental)" not in listed.stdout
        explained = installation.run(
            "routes", "explain", "--to", "jane@example.net", "--mail", str(mail), "--json"
        )
        (one,) = json.loads(explained.stdout)
        parts, direct = one["ways"]
        assert (parts["now"], one["provider"], direct["now"]) == ("cannot", "direct", "takes it")
        assert "X-One occurs more than once" in parts["why"]
        plain = installation.run("routes", "explain", "--to", "jane@example.net")
        assert "provider parts" in plain.stdout
        # Too large for one and paused at the other: it waits for that one.
        assert installation.run("providers", "pause", "direct").returncode == 0
        waits = installation.run("routes", "explain", "--to", "jane@example.net", "--mail", str(mail))
        assert "none now: the mail waits for direct" in waits.stdout
        gone = installation.run("routes", "explain", "--to", "a@b.example", "--mail", str(tmp_path / "none"))
        assert gone.returncode == 2
        assert "Traceback" not in gone.stderr


def test_checks_are_told_to_programs_too(tmp_path: Path) -> None:
    with Installation(tmp_path, _TABLES) as installation:
        done = installation.run("providers", "check", "--json")
        assert done.returncode == 1
        found = {row["name"]: row for row in json.loads(done.stdout)}
        assert set(found) == set(re.findall(r"^\[providers\.(\w+)\]", _TABLES, re.MULTILINE))
        assert (found["parts"]["ok"], bool(found["parts"]["says"])) == (False, True)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pillarbox que", ["queue"]),
        ("pillarbox queue ho", ["hold"]),
        ("pillarbox queue list --st", ["--state", "--stream"]),
        ("pillarbox providers pause dir", ["direct"]),
    ],
)
def test_the_shell_completes_commands_options_and_names(
    tmp_path: Path, words: str, offered: list[str]
) -> None:
    with Installation(tmp_path, _TABLES) as installation:
        done = subprocess.run(
            [Path(sys.executable).with_name("pillarbox")],
            cwd=installation.directory,
            env={
                **os.environ,
                "_PILLARBOX_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(words.count(" ")),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.split() == offered, done.stderr
