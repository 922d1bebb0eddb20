"""What CONTRIBUTING says is generated is, by the command it names."""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from relay.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_generated_files_are_what_their_commands_write() -> None:
    (block,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = block.splitlines()
    assert len(lines) == 6
    for line in lines:
        command, _, file = line.partition(" > ")
        told = CliRunner().invoke(app, shlex.split(command)[1:])
        assert told.exit_code == 0, told.output
        assert told.stdout == (ROOT / file).read_text(encoding="utf-8"), line
