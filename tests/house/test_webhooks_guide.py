"""Every command and snippet of docs/webhooks.md runs, on a real installation whose mail a real receiver hears of."""

import json
import re
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from typer.testing import CliRunner, Result

from relay import config
from relay.cli.app import app
from relay.core.notice import KINDS, PING
from tests.installation import Installation, wait_for
from tests.notices.receiver import Call, Receiver

GUIDE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")

_LOOSE = """
[webhooks]
allow_networks = ["127.0.0.1/32"]
allow_http = true
ports = []
"""


def pillarbox(installation: Installation | None, *words: str) -> Result:
    """A command of ours, without the second that it takes to start one."""
    configured = [] if installation is None else ["--config", str(installation.config)]
    return CliRunner().invoke(app, [*words, *configured])


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_guide_runs_as_printed(tmp_path: Path) -> None:
    with Receiver() as there, Installation(tmp_path, _LOOSE) as installation:
        installation.up()

        def local(text: str) -> str:
            text = text.replace("https://hooks.example.org/mail", there.url)
            return text.replace("127.0.0.1:8080", f"127.0.0.1:{installation.api_port}")

        (snippet,) = blocks("sh")
        done = subprocess.run(
            ["sh", "-ec", local(snippet)],
            env={"PATH": "/usr/bin:/bin", "PILLARBOX_API_KEY": _manager(installation)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        made = json.loads(done.stdout)
        assert made["kinds"] == ["email.bounced", "email.complained", "email.delivered"]
        everything = pillarbox(installation, "webhooks", "create", there.url, "--json")
        endpoint = json.loads(everything.stdout)
        _send(installation)
        wait_for(lambda: {"email.accepted", "email.sent"} <= set(there.kinds()), "the notices' coming")
        told = next(call for call in there.taken if call.kind == "email.sent")
        _verify(told, endpoint["secret"])
        (example,) = blocks("json")
        assert list(told.json["data"]) == list(json.loads(example)["data"])
        recent = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")
        said = {}
        for line in "".join(blocks("console")).splitlines():
            words = shlex.split(local(line).replace("ID", endpoint["id"]).replace("2026-01-31", recent))
            assert words[0] == "pillarbox"
            ran = pillarbox(installation, *words[1:])
            assert ran.exit_code == 0, (line, ran.stdout, ran.stderr)
            said[line] = ran.stdout
        assert "delivered: answered 204" in said["pillarbox webhooks ping ID"]
        assert "204" in said["pillarbox webhooks attempts ID"]
        assert "0 notices" in said["pillarbox webhooks replay ID --failed"]
        again = int(said["pillarbox webhooks replay ID --from 2026-01-31"].split()[0])
        assert again >= 2
        wait_for(lambda: [call.id for call in there.taken].count(told.id) == 2, "the replay's coming")
        _by_hand(told, endpoint["secret"], tmp_path)
        _other_commands(installation, endpoint["id"])


def _manager(installation: Installation) -> str:
    return pillarbox(installation, "keys", "create", "--scope", "manage").stdout.strip()


def _send(installation: Installation) -> None:
    sent = pillarbox(
        installation,
        "send",
        "--key",
        installation.key,
        "--from",
        "shop@example.org",
        "--to",
        "ada@example.net",
    )
    assert sent.exit_code == 0, sent.stderr


def _verify(told: Call, secret: str) -> None:
    """By both of the guide's own pieces of code."""
    library, by_hand = blocks("python")
    known: dict[str, object] = {}
    for code in (library, by_hand):
        exec(code, known)  # noqa: S102 - the guide's own
    receive, is_ours = known["receive"], known["is_ours"]
    assert callable(receive)
    assert callable(is_ours)
    assert receive(secret, told.body, told.headers) == told.json
    assert receive(secret, told.body + b" ", told.headers) is None
    assert is_ours(secret, told.body, told.headers) is True
    assert is_ours(secret, told.body + b" ", told.headers) is False


def _by_hand(told: Call, secret: str, directory: Path) -> None:
    (directory / "body.json").write_bytes(told.body)

    def verify(signature: str) -> tuple[int, str]:
        values = ["--id", told.id, "--timestamp", told.headers["webhook-timestamp"], "--signature", signature]
        body = str(directory / "body.json")
        done = pillarbox(None, "webhooks", "verify", body, *values, "--secret", secret)
        return done.exit_code, done.stdout + done.stderr

    assert verify(told.headers["webhook-signature"]) == (0, "the signature is right\n")
    code, said = verify("v1,AAAA")
    assert code == 1
    assert "the signature is wrong" in said


def _other_commands(installation: Installation, endpoint: str) -> None:
    def ok(*words: str) -> str:
        done = pillarbox(installation, "webhooks", *words)
        assert done.exit_code == 0, (words, done.stderr)
        return done.stdout

    ok("change", endpoint, "--tag", "receipt", "--description", "for receipts")
    ok("disable", endpoint)
    shown = json.loads(ok("show", endpoint))
    assert (shown["tags"], shown["description"], shown["state"]) == (["receipt"], "for receipts", "disabled")
    assert not {"secret", "previous_secret"} & shown.keys()
    refused = pillarbox(installation, "webhooks", "replay", endpoint, "--failed")
    assert (refused.exit_code, "enable it first" in refused.stderr) == (1, True)
    ok("enable", endpoint)
    assert ok("rotate", endpoint).startswith("whsec_")
    ok("delete", endpoint)
    gone = pillarbox(installation, "webhooks", "show", endpoint)
    assert (gone.exit_code, "no such webhook endpoint" in gone.stderr) == (1, True)
    strict = pillarbox(installation, "webhooks", "create", "https://10.0.0.1/")
    assert "a private network" in strict.stderr


def test_every_type_is_told_of() -> None:
    table = re.findall(r"^\| (`.*?) \|", GUIDE, re.MULTILINE)
    assert {name for cell in table for name in re.findall(r"`([a-z.]+)`", cell)} == {*KINDS, PING}


def test_the_configuration_example_is_accepted() -> None:
    (text,) = blocks("toml")
    settings = config.parse(text + "\n[webhooks.retry]\njitter = 0.2\n").webhooks
    assert len(settings.allow_networks) == 1
    # One value of the schedule does not bring another schedule along.
    assert settings.retry.delays[0] == 5
    uncommented = config.parse(text.replace("# ", "")).webhooks
    assert uncommented.allow_http


def test_links_lead_somewhere() -> None:
    commands = re.findall(r"`python -m\s+([\w.]+)`", GUIDE)
    assert commands
    for module in commands:
        assert (Path(__file__).parents[2] / (module.replace(".", "/") + ".py")).exists()
