"""Every snippet of docs/time-and-retention.md runs, on a real installation; its settings are the code's."""

import json
import re
import shlex
import subprocess
import time
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from relay.sections import RetentionSettings
from tests.installation import Installation, wait_for

GUIDE = (Path(__file__).parents[2] / "docs" / "time-and-retention.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_guide_runs_as_printed(tmp_path: Path) -> None:
    shorthand, *snippets = blocks("sh")
    moment = datetime.now(UTC)
    known = {
        "SEND_AT": (moment + timedelta(hours=1)).isoformat(),
        "EXPIRES_AT": (moment + timedelta(hours=2)).isoformat(),
    }
    said: dict[str, str] = {}
    with Installation(tmp_path) as installation:
        installation.up()
        for snippet in snippets:
            for command in re.split(r"^(?=api |pillarbox )", snippet, flags=re.MULTILINE)[1:]:
                if command.startswith("pillarbox"):
                    done = installation.run(*shlex.split(_filled(command, known))[1:])
                else:
                    here = command.replace("127.0.0.1:8080", f"127.0.0.1:{installation.api_port}")
                    done = subprocess.run(
                        ["sh", "-ec", shorthand + here],
                        env={"PATH": "/usr/bin:/bin", "PILLARBOX_API_KEY": installation.key, **known},
                        capture_output=True,
                        text=True,
                        timeout=60,
                    )
                assert done.returncode == 0, command + done.stdout + done.stderr
                said[command.strip()] = done.stdout
                if "/v1/messages -H" in command:
                    known["MESSAGE_ID"] = json.loads(done.stdout)["id"]
        assert known["MESSAGE_ID"] in said["api http://127.0.0.1:8080/v1/scheduled"]
        assert "news" in said["pillarbox retention show"]
        assert "erased; a last search found nothing" in said["pillarbox erase ada@example.net"]
        status, shown = installation.request(f"/v1/messages/{known['MESSAGE_ID']}")
        assert (status, shown["status"], shown["subject"]) == (200, "UNSENT", "")
        # The clock counts by itself.
        wait_for(lambda: _cancelled(installation) == 1, "the count")
        data = installation.directory / "data"
        record = [path for path in data.iterdir() if path.name.startswith("pillarbox.db")]
        assert record
        assert not [path for path in record if b"ada@example.net" in path.read_bytes().lower()]


def _filled(command: str, known: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda found: known[found[1]], command)


def _cancelled(installation: Installation) -> int:
    time.sleep(0.5)
    status, answer = installation.request("/v1/statistics?by=total")
    assert status == 200
    return int(answer["totals"]["cancelled"])


def test_the_settings_are_those_of_the_code() -> None:
    (table,) = blocks("toml")
    written = tomllib.loads(table)["retention"]
    assert set(written) == set(RetentionSettings.model_fields)
    assert RetentionSettings(**written).body == 30
