"""Every snippet of the guide to our own REST calls runs, in its order, on a real installation."""

import json
import re
import subprocess
from pathlib import Path

from tests.installation import Installation

GUIDE = (Path(__file__).parents[2] / "docs" / "rest-beyond.md").read_text(encoding="utf-8")


def test_the_guide_runs_as_printed(tmp_path: Path) -> None:
    shorthand, *snippets = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    commands = [
        command
        for snippet in snippets
        for command in re.split(r"^(?=api |printf )", snippet, flags=re.MULTILINE)
        if command
    ]
    ids: dict[str, str] = {}
    ran = 0
    with Installation(tmp_path) as installation:
        installation.up()
        for command in commands:
            here = command.replace("127.0.0.1:8080", f"127.0.0.1:{installation.api_port}")
            done = subprocess.run(
                ["sh", "-ec", shorthand + here],
                env={"PATH": "/usr/bin:/bin", "PILLARBOX_API_KEY": installation.key, **ids},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, command + done.stdout + done.stderr
            ran += 1
            if "/v1/messages -H" in command:
                ids["MESSAGE_ID"] = json.loads(done.stdout)["id"]
            elif "/v1/api-keys -H" in command:
                ids["KEY_ID"] = json.loads(done.stdout)["id"]
            elif "/batch" in command:
                assert [one["http_status"] for one in json.loads(done.stdout)["results"]] == [201, 201]
            elif "/v1/messages?recipient=ada" in command:
                assert len(json.loads(done.stdout)["data"]) == 3
            elif "/v1/events?recipient=ada" in command:
                events = json.loads(done.stdout)["data"]
                assert len({one["message_id"] for one in events if one["kind"] == "accepted"}) == 3
    assert ran == 17
