"""`pillarbox up` as a newcomer and an operator meet it."""

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import Installation, wait_for


def test_first_run_prepares_everything_and_a_second_finds_it_again(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        first = installation.up()
        assert installation.key.startswith("default_v1_")
        sent = installation.run("send", "--to", "a@example.net", "--key", installation.key)
        identifier = re.search(r"queued as (\d+)", sent.stdout)[1]
        by_rest = installation.run(
            "send", "--to", "b@example.net", "--key", installation.key, "--door", "rest"
        )
        assert json.loads(by_rest.stdout)["recipient"] == "b@example.net"
        first.popen.terminate()
        assert first.wait() == 0

        second = installation.up()
        assert installation.key not in second.output
        (made,) = json.loads(installation.run("audit", "--door", "cli", "--json").stdout)
        assert (made["action"], made["detail"]) == ("pillarbox up", None)
        status, message = installation.request(f"/v1/transactional/email/{identifier}")
        assert (status, message["recipient"]) == (200, "a@example.net")
        wait_for(
            lambda: all(one["status"] == "SENT" for one in installation.messages()), "capture of both mails"
        )
        listed = installation.run("messages", "list").stdout
        assert identifier in listed
        assert "a@example.net" in listed
        shown = installation.run("messages", "show", identifier).stdout
        assert "captured as" in shown
        source = installation.run("messages", "show", identifier, "--source").stdout
        assert source.startswith("Received: ")
        detail = json.loads(installation.run("messages", "show", identifier, "--json").stdout)
        assert [line["kind"] for line in detail["timeline"]] == ["sent"]


def test_a_first_start_that_fails_costs_nobody_the_first_key(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        whole = installation.config.read_text(encoding="utf-8")
        installation.config.write_text(f'{whole}\n[providers.p]\ntype = "postmark"\n', encoding="utf-8")
        failed = installation.start("up")
        assert failed.wait() == 2
        assert "first API key" not in failed.output
        installation.config.write_text(whole, encoding="utf-8")
        installation.up()
        assert installation.key.startswith("default_v1_")
        assert installation.request("/v1/messages")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_to_the_whole_group_drains_and_exits_0(tmp_path: Path, number: signal.Signals) -> None:
    with Installation(tmp_path) as installation:
        process = installation.up()
        process.signal_group(number)
        assert process.wait() == 0
        assert "Traceback" not in process.output


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation, socket.socket() as taken:
        taken.bind(("127.0.0.1", installation.smtp_port))
        taken.listen()
        process = installation.start("up")
        assert process.wait() == 2
        assert f"127.0.0.1:{installation.smtp_port}" in process.output
        assert "in use" in process.output
        assert "Traceback" not in process.output


def test_a_second_one_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        first = installation.up()
        second = installation.start("up")
        assert second.wait() == 2
        assert "in use by another" in second.output
        assert first.popen.poll() is None


def test_a_data_directory_that_cannot_be_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file stands here")
    with Installation(tmp_path) as installation:
        process = installation.start("up")
        assert process.wait() == 2
        assert f"data_dir: {tmp_path / 'data'} cannot be made" in process.output
        assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[smtp]\nmax_size = -1\n", r"pillarbox\.toml:\d+: smtp\.max_size: .*greater than 0"),
        ("[smpt]\n", r"pillarbox\.toml:\d+: smpt: is not a setting"),
        ("oops\n", r"pillarbox\.toml: .*line \d+"),
        ('[providers.office]\nhost = "x"\n', r"providers\.office.*needs a type"),
        ('[providers.office]\ntype = "smtp"\nhost = "x"\nprot = 25\n', r"providers\.office: .*prot"),
        (
            '[providers.a]\ntype = "memory"\n[providers.b]\ntype = "memory"\n',
            r"routes\.default\.use: is needed .*a, b",
        ),
        (
            '[providers.a]\ntype = "smtp"\nhost = "x"\npassword = "env:NO_SUCH_VARIABLE"\n',
            "NO_SUCH_VARIABLE is not set",
        ),
        ('[routes.default]\nuse = "nobody"\n', r"routes\.default\.use: .*'nobody' is no provider"),
    ],
)
def test_a_broken_configuration_says_where_and_why(tmp_path: Path, text: str, complaint: str) -> None:
    with Installation(tmp_path, text) as installation:
        checked = installation.run("config", "check")
        assert checked.returncode == 2
        assert re.search(complaint, checked.stderr), checked.stderr
        assert "Traceback" not in checked.stderr


def test_the_configuration_shows_without_its_secrets(tmp_path: Path) -> None:
    text = '[providers.office]\ntype = "smtp"\nhost = "x"\nusername = "u"\npassword = "hunter2"\n'
    with Installation(tmp_path, text) as installation:
        shown = installation.run("config", "show")
        assert shown.returncode == 0
        assert json.loads(shown.stdout)["providers"]["office"]["host"] == "x"
        assert "hunter2" not in shown.stdout


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        installation.up()
        made = installation.run(
            "keys", "create", "--account", "shop", "--sender", "shop.example", "--label", "web"
        )
        key = made.stdout.strip()
        assert key.startswith("shop_v1_")
        owner, installation.key = installation.key, key
        fields = {"recipient": "a@example.net", "subject": "s", "body": "b"}
        path = "/v1/transactional/email/send"
        assert installation.request(path, {**fields, "from": "me@shop.example"})[0] == 201
        status, answer = installation.request(path, {**fields, "from": "me@other.example"})
        assert (status, answer["code"]) == (400, "invalid_from_address")
        keys = json.loads(installation.run("keys", "list", "--json").stdout)
        assert [one["account"] for one in keys] == ["shop", "default"]
        assert key not in json.dumps(keys)
        assert installation.run("keys", "revoke", keys[0]["id"]).returncode == 0
        wait_for(lambda: installation.request("/v1/transactional/email")[0] == 401, "the key's end")
        assert installation.run("keys", "revoke", keys[0]["id"]).returncode == 1
        assert installation.run("keys", "create", "--account", "lonely").returncode == 1
        installation.key = owner
        assert installation.request("/v1/transactional/email")[0] == 200


def test_commands_before_the_schema_say_what_to_do(tmp_path: Path) -> None:
    with Installation(tmp_path) as installation:
        listed = installation.run("messages", "list")
        assert listed.returncode == 1
        assert "pillarbox migrate" in listed.stderr
        assert installation.run("smtp").returncode == 2


def test_the_command_line_loads_little_until_it_knows_what_for() -> None:
    heavy = ("sqlalchemy", "sqlmodel", "fastapi", "redis", "dramatiq", "httpx2", "pydantic", "cryptography")
    program = f"import sys, relay.cli.app; print([one for one in {heavy} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
