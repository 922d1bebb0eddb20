"""Every command and snippet of docs/providers-operations.md runs, against a running installation."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from providers import registry
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
    answers: list[dict[str, Any]] = []
    with Sink() as sink:
        routes = '[routes.default]\nuse = "failover(main, spare)"\n'
        tables = "".join(_PROVIDER.format(name=name, port=sink.port) for name in ("main", "spare"))
        with Installation(tmp_path, tables + routes) as installation:
            installation.up()
            for block in blocks("sh"):
                for line in block.splitlines():
                    words = shlex.split(line)
                    if words[0] == "curl":
                        answers.append(asked(installation, line))
                        continue
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
    assert '"mode": "active"' in listed
    everything, paused, resumed, explained = answers
    assert {one["name"] for one in everything["data"]} == {"main", "spare"}
    assert (paused["mode"], resumed["mode"]) == ("paused", "active")
    assert explained["data"][0]["provider"] == "main"


def asked(installation: Installation, command: str) -> dict[str, Any]:
    environment = {
        "PATH": os.environ["PATH"],
        "PILLARBOX_URL": f"http://127.0.0.1:{installation.api_port}",
        "PILLARBOX_API_KEY": installation.key,
    }
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_way_without_a_smarthost_is_accepted_and_marked() -> None:
    _, direct = blocks("toml")
    settings = config.parse(direct)
    registry.build(config.provider_options(settings))
    can = registry.capabilities(settings.ways_out["direct"]["type"])
    assert can is not None
    assert can.experimental


@pytest.mark.parametrize("text", blocks("toml")[:1])
def test_configuration_examples_are_accepted(text: str) -> None:
    settings = config.parse(text)
    assert len(settings.routes.rules) == 2
    assert settings.limits_of("fresh").warmup is not None


def test_links_lead_somewhere() -> None:
    commands = re.findall(r"`python -m ([\w.]+)`", GUIDE)
    assert commands
    for module in commands:
        assert (Path(__file__).parents[2] / (module.replace(".", "/") + ".py")).exists()
