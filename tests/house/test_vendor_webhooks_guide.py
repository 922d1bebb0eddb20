"""What docs/webhooks-vendors.md says is so: every vendor has a row, its options exist, its commands run."""

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from providers import registry
from providers.fakes.posting import FATES
from relay import config
from relay.core.errors import Misconfigured
from tests.installation import Installation, free_port
from tests.providers.webhooks import VENDORS, adapter

GUIDE = (Path(__file__).parents[2] / "docs" / "webhooks-vendors.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([a-z]+)` \| (?!at the vendor).* \| (.*?) \|$", GUIDE, re.MULTILINE))


def _block(language: str, place: int = 0) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    return str(found[place])


def test_every_adapter_with_events_has_a_row_and_no_other() -> None:
    kinds = {name: registry.capabilities(name) for name in registry.kinds()}
    with_events = {name for name, can in kinds.items() if can is not None and can.events}
    assert set(ROWS) == with_events == set(VENDORS)


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_options_of_a_row_are_the_adapters(vendor: str) -> None:
    for option in re.findall(r"`([a-z_]+)`", ROWS[vendor]):
        # An option is known when an impossible value of it is what is complained of, or it is taken.
        try:
            adapter(vendor, **{option: {"impossible": True}})
        except Misconfigured as error:
            assert "unknown option" not in str(error), option  # noqa: PT017


def test_the_example_is_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in re.findall(r"env:([A-Z_]+)", GUIDE):
        monkeypatch.setenv(name, "a-secret-for-the-example")
    path = tmp_path / "pillarbox.toml"
    path.write_text(_block("toml"))
    assert set(registry.build(config.load(path).ways_out)) == {"main", "second", "amazon"}


def test_the_urls_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLARBOX_PUBLIC_URL", "https://mail.example.org")
    table = '[providers.main]\ntype = "postmark"\ntoken = "x"\n[routes.default]\nuse = "main"'
    with Installation(tmp_path, table) as installation:
        assert installation.run("migrate").returncode == 0
        arguments = shlex.split(_block("sh"))
        assert arguments[0] == "pillarbox"
        done = installation.run(*arguments[1:])
    assert done.returncode == 0, done.stderr
    assert "https://mail.example.org/v1/webhooks/main/" in done.stdout


def test_the_fakes_start_as_shown_and_know_the_names(tmp_path: Path) -> None:
    arguments = shlex.split(_block("sh", 1))
    assert arguments[:2] == ["pillarbox", "fakes"]
    port = free_port()
    command = [sys.executable, "-m", "relay", *arguments[1:], "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("what came"):
                    break
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/webhooks", timeout=20) as answer:
                shown: dict[str, Any] = json.load(answer)
        finally:
            process.terminate()
    assert shown["sendgrid"]["url"] == "http://127.0.0.1:8080/v1/webhooks/main/SECRET"
    named = set(re.findall(r"`([a-z-]+)@`", GUIDE))
    assert named == set(FATES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--webhook", "nobody=http://127.0.0.1:9/x"], "no fake of nobody"),
        (["--webhook", "postmark=http://elsewhere.example/x"], "https"),
        (["--webhook", "postmark"], "url"),
    ],
)
def test_a_hook_that_cannot_be_is_refused_in_words(arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", "relay", "fakes", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode
    assert words in done.stderr + done.stdout
