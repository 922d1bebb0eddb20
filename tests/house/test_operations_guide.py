"""Every command and snippet of docs/providers-operations.md runs, against a running installation."""

import re
import shlex
from pathlib import Path

import pytest

from relay import config
from tests.installation import Installation
from tests.sink import Sink

GUIDE = (Path(__file__).parents[2] / "docs" / "providers-operations.md").read_text(encoding="utf-8")

_PROVIDER = """
[providers.{name}]
type = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_every_command_works_and_says_what_the_guide_says(tmp_path: Path) -> None:
    said: dict[str, str] = {}
    with Sink() as sink:
        routes = '[routes.default]\nuse = "failover(main, spare)"\n'
        tables = "".join(_PROVIDER.format(name=name, port=sink.port) for name in ("main", "spare"))
        with Installation(tmp_path, tables + routes) as installation:
            installation.up()
            for block in blocks("sh"):
                for line in block.splitlines():
                    words = shlex.split(line)
                    assert words[0] == "pillarbox"
                    done = installation.run(*words[1:])
                    assert done.returncode == 0, (line, done.stdout, done.stderr)
                    said[" ".join(words[1:3])] = done.stdout
            listed = installation.run("providers", "list", "--json").stdout
            sink.wait(1)
    assert "main" in said["providers list"]
    assert "CIRCUIT" in said["providers list"]
    assert said["providers test"].startswith("accepted: 250")
    assert "rule     default" in said["routes explain"]
    assert "provider main" in said["routes explain"]
    assert "nothing is in hand" in said["providers drain"]
    assert '"mode": "draining"' in listed


@pytest.mark.parametrize("text", blocks("toml"))
def test_configuration_examples_are_accepted(text: str) -> None:
    settings = config.parse(text)
    assert len(settings.routes.rules) == 2
    assert settings.limits_of("fresh").warmup is not None


def test_links_lead_somewhere() -> None:
    commands = re.findall(r"`python -m ([\w.]+)`", GUIDE)
    assert commands
    for module in commands:
        assert (Path(__file__).parents[2] / (module.replace(".", "/") + ".py")).exists()
