"""Every command of the guide to the contract's calls runs, and its settings and codes are real."""

import json
import re
import subprocess
from pathlib import Path

from relay import config
from relay.core import errors
from tests.installation import Installation

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "rest.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_commands_work(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        installation.up()
        answers = []
        for block in blocks("sh"):
            done = subprocess.run(
                ["sh", "-ec", block.replace("127.0.0.1:8080", f"127.0.0.1:{installation.api_port}")],
                env={"PILLARBOX_API_KEY": installation.key, "PATH": "/usr/bin:/bin"},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, block + done.stdout + done.stderr
            answers.append(json.loads(done.stdout))
        subjects = [answer["params"]["subject"] for answer in answers[:3]]
        assert subjects == ["One time OTP", "Report", "Report"]
        assert [file["fileName"] for file in answers[1]["attachments_metadata"]] == ["report.csv"] * 2
        assert isinstance(answers[3]["data"], list)


def test_settings_are_accepted() -> None:
    for text in blocks("toml"):
        config.parse(text)


def test_every_error_named_is_one_of_ours() -> None:
    ours = {one.code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "code")}
    cells = re.findall(r"^\| \d{3} \| ([^|]+) \|", GUIDE, re.MULTILINE)
    named = {code for cell in cells for code in re.findall(r"`(\w+)`", cell)}
    assert named
    assert named - {"method_not_allowed"} <= ours


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (DOCS / target).exists(), target
