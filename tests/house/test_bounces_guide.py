"""docs/bounces.md says what is so: its settings are settings, its commands run, its lists are complete."""

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay.cli.app import app
from relay.config import parse
from relay.core import bounces
from relay.core.bounce import BounceReason
from relay.core.return_path import ReturnPaths

GUIDE = (Path(__file__).parents[2] / "docs" / "bounces.md").read_text(encoding="utf-8")
BOUNCE = b"""From: MAILER-DAEMON@mx.example.net
To: {home}
Subject: failure notice

<gone@example.net>:
550 5.1.1 no such user here
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the configuration of the guide's first block."""
    monkeypatch.chdir(tmp_path)
    file = f'[database]\nurl = "{sqlite_url}"\n{blocks("toml")[0]}'
    (tmp_path / "pillarbox.toml").write_text(file)
    return tmp_path


def run(*words: str):
    return CliRunner().invoke(app, list(words), catch_exceptions=False)


def test_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCES_PASSWORD", "secret")
    settings = parse("\n".join(blocks("toml")))
    assert settings.ingest.bounce_domain == "bounce.example.org"
    assert [one.address for one in settings.ingest.mailboxes] == [
        ("imap.example.org", 993),
        ("pop.example.org", 995),
    ]
    assert settings.limits_of("office").return_path == "sender"


def test_commands_run_and_understand_each_other(place: Path) -> None:
    (commands,) = blocks("sh")
    said = ""
    for line in commands.splitlines():
        words = shlex.split(line)
        assert words[0] == "pillarbox"
        if words[2] == "read":
            Path("bounce.eml").write_bytes(BOUNCE.replace(b"{home}", said.strip().encode()))
        done = run(*words[1:])
        assert done.exit_code == 0, done.output
        said = done.output
        if words[2] == "address":
            assert re.fullmatch(r"b\+[a-z2-7]{45}@bounce\.example\.org\n", said)
    assert "hard" in said
    assert "no_such_user" in said
    assert "would be ignored" not in said


def test_a_bounce_that_nobody_would_believe_is_said_to_be_one(place: Path) -> None:
    forged = ReturnPaths(b"guess", "bounce.example.org").make(1, 0, datetime.now(UTC))
    Path("forged.eml").write_bytes(BOUNCE.replace(b"{home}", forged.encode()))
    assert "would be ignored" in run("bounces", "read", "forged.eml").output
    assert '"class": "hard"' in run("bounces", "read", "forged.eml", "--json").output


def test_without_a_domain_there_is_no_return_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("bounces", "address", "1")
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_return_path_shown_has_the_right_form() -> None:
    (shown,) = blocks("text")
    assert re.fullmatch(r"b\+[a-z2-7]{45}@bounce\.example\.org", shown.strip())


def test_classes_and_reasons_are_all_named() -> None:
    rest = GUIDE[GUIDE.index("## Classes and reasons") :]
    for reason in BounceReason:
        if reason is not BounceReason.SUPPRESSED:  # providers say so, servers do not
            group = re.search(rf"`{reason.value}`[^()]*\((\w+)\)", rest)
            assert group, reason
            assert group[1] == bounces.class_of(reason).value
