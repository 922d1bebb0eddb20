"""Every snippet of the guide to templates and lists runs on a real installation, and does what it says."""

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

from relay.sections import BatchSettings
from relay.store.batches import BatchState
from relay.templates.grammar import FILTERS
from tests.installation import Installation, wait_for

GUIDE = (Path(__file__).parents[2] / "docs" / "bulk.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:8080"


def commands() -> tuple[str, list[str]]:
    shorthand, *snippets = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    starts = re.compile(r"^(?=api |pillarbox |printf )", re.MULTILINE)
    return shorthand, [one for snippet in snippets for one in starts.split(snippet) if one]


def test_the_guide_runs_as_printed(tmp_path: Path) -> None:
    shorthand, listed = commands()
    with Installation(tmp_path) as installation:
        installation.up()
        here = f"http://127.0.0.1:{installation.api_port}"
        names = {"PATH": "/usr/bin:/bin", "PILLARBOX_API_KEY": installation.key}
        outputs: dict[str, str] = {}
        for command in listed:
            if command.startswith("pillarbox "):
                words = shlex.split(command.replace("$BATCH_ID", names.get("BATCH_ID", "")))[1:]
                done = installation.run(*words)
            else:
                text = shorthand + command.replace(HERE, here)
                done = subprocess.run(
                    ["sh", "-ec", text], env=names, cwd=tmp_path, capture_output=True, text=True, timeout=60
                )
            assert done.returncode == 0, command + done.stdout + done.stderr
            outputs[command] = done.stdout
            follow(installation, command, done.stdout, names)
        check(installation, outputs, names, tmp_path)


def follow(installation: Installation, command: str, output: str, names: dict[str, str]) -> None:
    """Learn the ids that the guide's next commands name, and wait for what workers do in between."""
    if '"name": "renewal"' in command:
        names["TEMPLATE_ID"] = json.loads(output)["id"]
    for words, name, state in (("tag=renewals", "BATCH_ID", "done"), ("name=later", "LATER_ID", "ready")):
        if words in command:
            names[name] = json.loads(output)["id"]
            path = f"/v1/batches/{names[name]}"
            wait_for(lambda path=path, state=state: installation.request(path)[1]["state"] == state, words)
    # What has no mail waiting any more is done, and can neither be paused nor cancelled: so its mail cannot go out.
    if "name=later" in command:
        provider(installation, "drain")
    if "/start" in command:
        assert json.loads(output)["state"] == "sending"
    if "/cancel" in command:
        provider(installation, "resume")


def provider(installation: Installation, word: str) -> None:
    """Shut or open the only way out; once this returns the workers know, where it is shut."""
    done = installation.run("providers", word, "capture")
    assert done.returncode == 0, done.stderr


def check(installation: Installation, outputs: dict[str, str], names: dict[str, str], place: Path) -> None:
    def output(words: str) -> str:
        return next(text for command, text in outputs.items() if words in command)

    preview = json.loads(output(f"{HERE}/v1/templates/$TEMPLATE_ID/preview"))
    assert preview["subject"] == "Ada, your card ends soon"
    refused = json.loads(output("rows?state=refused"))["data"]
    assert [(row["row"], row["recipient"]) for row in refused] == [(2, "nobody")]
    assert "Carl, jr." in json.loads(output("preview?row=3"))["html"]
    exported = (place / "result.csv").read_text(encoding="utf-8")
    assert exported.count(",SENT,") == 2
    assert json.loads(output("/cancel"))["state"] == "cancelled"
    assert "done: 3 rows, 1 refused, 2 sent" in output("batches send")
    assert "nobody" in output("batches rows")
    _, batch = installation.request(f"/v1/batches/{names['BATCH_ID']}")
    assert (batch["rows"], batch["messages"]) == (3, {"sent": 2})


def test_what_the_guide_lists_is_what_there_is() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    given = tomllib.loads(block)["batches"]
    assert BatchSettings(**given) == BatchSettings()
    states = set(re.findall(r"^\| `([a-z]+)` \| ", GUIDE.partition("| state |")[2], re.MULTILINE))
    assert states == {state.value for state in BatchState} - {"uploading"}
    (filters,) = re.findall(r"^\| filters \| `([^`]+)` \|", GUIDE, re.MULTILINE)
    known = {name for name in FILTERS if name.isalpha()} - {"d", "e", "count", "string"}
    assert set(filters.split()) == known
