"""docs/operations.md: its commands run, its snippets are taken, and nothing that it lists is missing."""

import re
import shlex
import tomllib
from pathlib import Path

import yaml

from api.manage.queue import Doing
from relay.config import Settings
from relay.delivery.waiting import Reason
from relay.store.interventions import Action
from tests.installation import Installation

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_every_command_works(tmp_path: Path) -> None:
    tables = "".join(f'[providers.{name}]\ntype = "capture"\n' for name in ("main", "spare"))
    with Installation(tmp_path, f'{tables}[routes.default]\nuse = "failover(main, spare)"\n') as installation:
        assert installation.run("migrate").returncode == 0
        assert installation.run("keys", "create").returncode == 0
        for line in "".join(blocks("sh")).splitlines():
            words = shlex.split(line)
            assert words[0] == "pillarbox"
            done = installation.run(*words[1:])
            assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_snippets_are_taken() -> None:
    (asked,) = blocks("json")
    assert Doing.model_validate_json(asked).dry_run
    (table,) = blocks("toml")
    settings = Settings(**tomllib.loads(table))
    assert settings.limits_of("bank").ambiguous == "at_most_once"


def test_every_reason_action_and_alert_has_its_place() -> None:
    listed = re.findall(r"^\| (`[^|]*) \|", GUIDE, re.MULTILINE)
    words = {word.split()[0] for cell in listed for word in re.findall(r"`([^`]+)`", cell)}
    assert words == {*Reason, *Action}
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
    names = [rule["alert"] for group in alerts["groups"] for rule in group["rules"]]
    assert re.findall(r"^### (Pillarbox\w+)$", GUIDE, re.MULTILINE) == names
