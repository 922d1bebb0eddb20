"""Every snippet of the guide to tracking runs on a real installation, and its links do what it says."""

import json
import re
import shlex
import subprocess
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.installation import Installation, wait_for

GUIDE = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
URL = "https://mail.example.org"


def settings() -> str:
    """The guide's settings, with what a test adds."""
    (block,) = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert tomllib.loads(block)["public_url"] == URL
    return block


def commands() -> tuple[str, list[str]]:
    shorthand, *snippets = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    starts = re.compile(r"^(?=api |pillarbox |curl |printf )", re.MULTILINE)
    return shorthand, [one for snippet in snippets for one in starts.split(snippet) if one]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def test_the_guide_runs_as_printed(tmp_path: Path) -> None:
    shorthand, listed = commands()
    top, _, table = settings().partition("\n\n")
    with Installation(tmp_path, table) as installation:
        installation.config.write_text(f"{top}\n{installation.config.read_text()}", encoding="utf-8")
        installation.up()
        here = f"http://127.0.0.1:{installation.api_port}"
        names = {"PATH": "/usr/bin:/bin", "PILLARBOX_API_KEY": installation.key}
        outputs: list[tuple[str, str]] = []
        for command in listed:
            if command.startswith("pillarbox "):
                done = installation.run(*shlex.split(command)[1:])
            else:
                text = shorthand + command.replace("http://127.0.0.1:8080", here)
                done = subprocess.run(
                    ["sh", "-ec", text], env=names, cwd=tmp_path, capture_output=True, text=True, timeout=60
                )
            assert done.returncode == 0, command + done.stdout + done.stderr
            outputs.append((command, done.stdout))
            if '"track"' in command:
                names["MESSAGE_ID"] = json.loads(done.stdout)["id"]
                names["UNSUBSCRIBE_URL"] = visit_all(installation, names["MESSAGE_ID"], here)
        check(installation, outputs, names["MESSAGE_ID"])


def visit_all(installation: Installation, identifier: str, here: str) -> str:
    """Open the mail and follow its link, as a reader does; returns the way out of it, as the test reaches it."""
    request = urllib.request.Request(  # noqa: S310
        f"{here}/v1/messages/{identifier}/source", headers={"Authorization": f"Bearer {installation.key}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        mail = answer.read().decode().replace("=\r\n", "").replace(URL, here)
    pixel, link, out = (re.search(rf"{here}/{path}/[A-Za-z0-9_.-]+", mail)[0] for path in ("t/o", "t/c", "u"))
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in mail
    assert "<mailto:leave@example.org?subject=unsubscribe>" in mail
    opener = urllib.request.build_opener(NoRedirect)
    opener.addheaders = [("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0")]
    with opener.open(pixel, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "image/gif"
    with pytest.raises(urllib.error.HTTPError) as led:
        opener.open(link, timeout=60)
    with led.value as answer:
        assert (answer.code, answer.headers["Location"]) == (302, "https://shop.example/spring")
    return out


def check(installation: Installation, outputs: list[tuple[str, str]], identifier: str) -> None:
    def kinds() -> bool:
        _, message = installation.request(f"/v1/messages/{identifier}")
        found = {event["kind"] for event in message["events"]}
        return {"opened", "clicked", "unsubscribed"} <= found and message["status"] == "OPENED"

    wait_for(kinds, "opens, clicks and leaving in the timeline")
    printed = dict(outputs)
    listed = next(text for command, text in outputs if command.startswith("pillarbox streams list"))
    assert "News from the shop" in listed
    exported = next(text for command, text in printed.items() if "suppressions export" in command)
    rows = {tuple(line.split(",")[:3]) for line in exported.splitlines()}
    assert {
        ("ada@example.net", "news", "unsubscribe"),
        ("carol@example.net", "news", "unsubscribe"),
        ("dave@example.net", "", "bounce"),
    } <= rows
    assert not any(row[0] == "bob@example.net" for row in rows)
    fields = {"from": "shop@example.org", "to": "ada@example.net", "subject": "x", "text": "x"}
    assert installation.request("/v1/messages", {**fields, "stream": "news"})[0] == 400
    assert installation.request("/v1/messages", fields)[0] == 201
    assert len(outputs) == 15
