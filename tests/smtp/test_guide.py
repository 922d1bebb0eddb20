"""What docs/smtp.md says is so: its snippets run, its settings are settings, its tables are true."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay import config
from relay.core import controls
from relay.smtp import replies
from tests.smtp.door import Door

GUIDE = (Path(__file__).parents[2] / "docs" / "smtp.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", _blocks("toml"), ids=lambda block: block.splitlines()[0])
def test_settings_are_settings(block: str) -> None:
    config.parse(block)


@pytest.mark.parametrize(
    ("language", "interpreter"), [("python", [sys.executable, "-c"]), ("sh", ["sh", "-ec"])]
)
def test_snippets_send_a_mail(language: str, interpreter: list[str], door: Door) -> None:
    (snippet,) = _blocks(language)
    snippet = snippet.replace("127.0.0.1:2525", f"127.0.0.1:{door.port}").replace("2525", str(door.port))
    environment: dict[str, Any] = {"PILLARBOX_API_KEY": door.key, "PATH": "/usr/bin:/bin:/usr/local/bin"}
    done = subprocess.run(
        [*interpreter, snippet], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    (stored,) = door.stored()
    assert b"pillarbox-" not in stored["raw"].lower()


def test_every_reply_of_the_table_is_one_of_ours() -> None:
    ours = {value[:9] for name, value in vars(replies).items() if name.isupper() and isinstance(value, bytes)}
    from relay.core import errors

    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.RelayError):
            ours.add("{} {}".format(*error.smtp).encode())
    told = re.findall(r"^\| `(\d{3} \d\.\d\.\d)` \|", GUIDE, re.MULTILINE)
    assert len(told) > 10
    assert {code.encode() for code in told} <= ours


def test_every_alias_is_told() -> None:
    text = GUIDE.lower()
    for name in [*controls._FIELDS, *controls._ALIASES]:
        short = name.decode()
        assert short in text or short.rpartition("-")[2] in text, short
