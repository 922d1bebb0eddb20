"""The guides to moving and to security: what they run works, on one installation, in their order."""

import contextlib
import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from relay.cli import reference
from relay.cli.app import app
from relay.core.event import EventKind
from relay.core.notice import TYPES
from relay.store.accounts import generate_secret
from tests.installation import Installation

DOCS = Path(__file__).parents[2] / "docs"
MOVING = (DOCS / "moving.md").read_text(encoding="utf-8")
SECURITY = (DOCS / "security.md").read_text(encoding="utf-8")


def blocks(guide: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)


def lines(guide: str) -> list[str]:
    return [
        line
        for block in blocks(guide, "sh")
        for line in block.replace("\\\n", " ").replace("\n  ", "  ").splitlines()
        if line.strip()
    ]


def test_every_command_and_program_runs(tmp_path: Path) -> None:
    (nomsa, suppressed) = blocks(MOVING, "python")
    summaries = [
        {"EmailAddress": "gone@example.net", "Reason": "BOUNCE"},
        {"EmailAddress": "angry@example.net", "Reason": "COMPLAINT"},
    ]
    (tmp_path / "ses.json").write_text(json.dumps({"SuppressedDestinationSummaries": summaries}))
    with Installation(tmp_path) as installation:
        installation.up()
        environment = {
            **os.environ,
            "PILLARBOX_API_KEY": installation.key,
            "PILLARBOX_CONFIG": str(installation.config),
        }

        def run(arguments: list[str]) -> str:
            done = subprocess.run(
                arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)
            return done.stdout

        def here(text: str) -> str:
            return text.replace("127.0.0.1:8080", f"127.0.0.1:{installation.api_port}")

        identifier, status = run([sys.executable, "-c", here(nomsa)]).split()
        assert (identifier.isdigit(), status) == (True, "ACCEPTED")
        run([sys.executable, "-c", suppressed])
        said = {}
        for line in lines(MOVING) + lines(SECURITY):
            words = shlex.split(line)
            if words[0] == "curl":
                said["curl"] = run(["sh", "-ec", here(line)])
                continue
            if words[0] == "head":
                run(["sh", "-ec", line.replace("/run/secrets/pillarbox", str(tmp_path / "secret"))])
                assert (tmp_path / "secret").stat().st_size >= 44
                continue
            assert words[0] == "pillarbox", line
            # In this process: thirteen interpreters would take longer than all they do.
            with contextlib.chdir(tmp_path):
                told = CliRunner().invoke(app, [*words[1:], "--config", str(installation.config)])
            assert told.exit_code == 0, (line, told.output)
            said[" ".join(words[1:3])] = told.output
    assert json.loads(said["curl"])["id"].isdigit()
    assert "gone@example.net" in said["suppressions list"]
    assert "complaint" in said["suppressions list"]
    assert "till 4" in said["keys list"]
    assert "0 failed" in said["doctor --offline"]


def test_the_example_of_a_list_is_one() -> None:
    (text,) = blocks(MOVING, "csv")
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["reason"] for row in rows} <= {"bounce", "complaint", "unsubscribe", "manual"}
    assert all("@" in row["address"] for row in rows)


def test_kinds_of_events_are_ours() -> None:
    named = set(re.findall(r"`(email\.\w+)`", MOVING))
    assert named
    assert named <= set(TYPES.values())
    assert len(EventKind) > len(named)


def test_what_is_said_of_keys_and_defaults_is_so() -> None:
    assert len(generate_secret("x").removeprefix("x_v1_")) * 6 == 264
    assert "264 random bits" in SECURITY
    settings = {".".join(one.path): one.default for table in reference.tables() for one in table.settings}
    assert settings["smtp.max_auth_failures"] == 20
    assert settings["smtp.auth_lock"] == 900
    assert settings["log.addresses"] == "masked"
    assert (settings["api.host"], settings["smtp.listeners[].host"]) == ("127.0.0.1", "127.0.0.1")
    assert settings["webhooks.allow_networks"] == []
