"""The description is true: schemathesis makes requests of it and checks the answers against it.

As a command it runs for longer, with every limit of every field: `python -m tests.api.test_description 150` has more
than 20,000 cases. A pattern after the number, such as `^/v1/messages`, plays those of some paths alone.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.installation import Installation, _listens, wait_for

ROOT = Path(__file__).parents[2]
OURS = r"^/v1/"
#: the phase of coverage takes longer than all others together
SHORT, LONG = "examples,fuzzing,stateful", "examples,coverage,fuzzing,stateful"
#: what may answer a good request; a message that another call has redacted is gone
_ACCEPTED = """[checks]
positive_data_acceptance.expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 410, 429, "5xx"]
"""
#: a key that may do everything, or little of the description would be reached
_SCOPES = ("--scope", "send", "--scope", "read", "--scope", "manage", "--scope", "admin")


def check(
    directory: Path, examples: int, only: str = OURS, *, phases: str = LONG, seed: int | None = None
) -> tuple[int, str]:
    """The exit code of schemathesis, and what it said."""
    seeded = [] if seed is None else ["--seed", str(seed)]
    (directory / "schemathesis.toml").write_text(_ACCEPTED, encoding="utf-8")
    with Installation(directory) as installation:
        assert installation.run("migrate").returncode == 0
        key = installation.run("keys", "create", *_SCOPES).stdout.strip()
        door = installation.start("api")
        wait_for(lambda: _listens(installation.api_port), "the door's opening")
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")), "run",
                f"http://127.0.0.1:{installation.api_port}/openapi.json",
                "-H", f"Authorization: Bearer {key}", "--checks", "all", "--include-path-regex", only,
                "--phases", phases, "--max-examples", str(examples),
                "--workers", "1", "--no-color", "--generation-database", "none", "--request-timeout", "60", *seeded,
            ],
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.api.described_hooks", "PYTHONPATH": str(ROOT)},
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=3600,
        )  # fmt: skip
        faults = [line for line in door.output.splitlines() if '"fault"' in line]
        return done.returncode, "\n".join([done.stdout, done.stderr, *faults])


def test_schemathesis_finds_no_fault(tmp_path: Path) -> None:
    # The same requests every time; the command above makes new ones.
    code, said = check(tmp_path, 3, phases=SHORT, seed=1)
    assert code == 0, said
    generated = re.search(r"(\d+) generated, (\d+) passed", said)
    assert generated, said
    assert int(generated[2]) > 100


def main() -> None:
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory(prefix="pb-described-") as directory:
        code, said = check(Path(directory), examples, *sys.argv[2:3])
    print(said)
    sys.exit(code)


if __name__ == "__main__":
    main()
