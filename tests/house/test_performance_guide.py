"""The commands of docs/performance.md run, with less to do."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
#: what makes each command short; a later option counts
_SHORT = {
    "tests.bench": ["--rounds", "1", "--mails", "60", "--connections", "4", "--only", "pillarbox"],
    "tests.bench.throughput": ["--rounds", "1", "--mails", "60", "--connections", "4"],
    "tests.bench.budget": ["--mails", "60", "--connections", "4"],
    "tests.bench.idle": ["--seconds", "1"],
    "tests.bench.scale": ["--mails", "500", "--customers", "2"],
    # Without root nothing can be held to a share.
    "tests.bench.hosts": ["--rounds", "1", "--mails", "60", "--hosts", "1", "--share", "0"],
}


@pytest.mark.timeout(900)
def test_every_command_runs_and_reports(tmp_path: Path) -> None:
    said: dict[str, str] = {}
    for block in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line)
            assert words[:2] == ["python", "-m"]
            done = subprocess.run(
                [sys.executable, *words[1:], *_SHORT[words[2]]],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            said[words[2]] = done.stdout
    assert said.keys() == _SHORT.keys()
    results = tmp_path / "bench-results"
    rounds = json.loads((results / "bench.json").read_text())["results"]["kept"]["pillarbox"]
    assert len(rounds) == 1
    assert rounds[0]["delivered_per_second"] > 0
    assert "| pillarbox | " in (results / "bench.md").read_text()
    assert "<svg " in (results / "bench-kept.svg").read_text()
    assert "| pb-smtp | its own | " in said["tests.bench.budget"]
    assert "% of a core" in said["tests.bench.idle"]
    assert "| 500 | " in said["tests.bench.scale"]
    assert re.search(r"^\| 1 \| .* \| 1\.00 \| .* \| 0 \| 0 \|$", said["tests.bench.hosts"], re.MULTILINE)
