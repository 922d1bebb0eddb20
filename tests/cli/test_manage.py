"""Accounts, senders, keys and suppressions as an operator meets them: on a real installation's database."""

import csv
import io
import json
import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import Installation


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("manage")) as made:
        assert made.run("migrate").returncode == 0
        assert made.run("keys", "create").returncode == 0
        yield made


def ok(installation: Installation, *arguments: str) -> str:
    done = installation.run(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def wrong(installation: Installation, *arguments: str, code: int = 1) -> str:
    done = installation.run(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_accounts_life(installation: Installation) -> None:
    ok(installation, "accounts", "create", "shop", "--sender", "shop.example", "--email", "ops@shop.example")
    assert "exists already" in wrong(installation, "accounts", "create", "shop")
    assert "is no sender" in wrong(installation, "accounts", "create", "other", "--sender", "a b")
    ok(installation, "senders", "add", "News@Letters.example", "--account", "shop")
    listed = json.loads(ok(installation, "senders", "list", "--account", "shop", "--json"))
    assert [row["pattern"] for row in listed] == ["news@letters.example", "shop.example"]
    ok(installation, "senders", "remove", "shop.example", "--account", "shop")
    assert "is no sender" in wrong(installation, "senders", "remove", "shop.example", "--account", "shop")
    ok(installation, "accounts", "disable", "shop")
    ok(installation, "accounts", "rename", "shop", "store")
    found = {row["name"]: row for row in json.loads(ok(installation, "accounts", "list", "--json"))}
    assert set(found) == {"default", "store"}
    assert found["store"]["disabled_at"] is not None
    assert found["store"]["email"] == "ops@shop.example"
    ok(installation, "accounts", "enable", "store")
    assert "store" in ok(installation, "accounts", "list")
    assert "no account" in wrong(installation, "accounts", "disable", "nobody")


def test_a_keys_life(installation: Installation) -> None:
    secret = ok(
        installation, "keys", "create", "--label", "till", "--network", "10.1.2.3/8", "--network", "::1",
        "--scope", "send", "--rate-limit", "5", "--daily-quota", "100",
    ).strip()  # fmt: skip
    newest = json.loads(ok(installation, "keys", "list", "--json"))[0]
    assert newest["last_five"] == secret[-5:]
    assert newest["networks"] == ["10.0.0.0/8", "::1/128"]
    rotated = installation.run("keys", "rotate", str(newest["id"]), "--hours", "2")
    assert rotated.returncode == 0
    assert f"key {newest['id']} works until" in rotated.stderr
    after = json.loads(ok(installation, "keys", "list", "--json"))
    assert after[0]["last_five"] == rotated.stdout.strip()[-5:]
    assert (after[0]["label"], after[0]["scopes"], after[0]["networks"]) == (
        "till", ["send"], ["10.0.0.0/8", "::1/128"],
    )  # fmt: skip
    assert after[1]["expires_at"] is not None
    assert "till" in ok(installation, "keys", "list")
    ok(installation, "keys", "revoke", str(newest["id"]))
    assert "revoked" in wrong(installation, "keys", "rotate", str(newest["id"]))
    assert "no API key" in wrong(installation, "keys", "rotate", "1")
    assert "--network" in wrong(installation, "keys", "create", "--network", "here", code=2)
    assert "--scope" in wrong(installation, "keys", "create", "--scope", "all", code=2)
    other = json.loads(ok(installation, "keys", "create", "--json"))
    assert (other["account"], other["key"].startswith("default_v1_")) == ("default", True)
    ok(installation, "keys", "revoke", other["id"])


def test_suppressions_come_and_go_as_csv(installation: Installation, tmp_path: Path) -> None:
    ok(
        installation,
        "suppressions",
        "add",
        "Gone@Example.net",
        "--reason",
        "bounce",
        "--note",
        'said "no", twice',
    )
    ok(installation, "suppressions", "add", "later@example.net", "--expires", "2099-01-31")
    ok(installation, "suppressions", "add", "own@example.net", "--account", "default")
    exported = ok(installation, "suppressions", "export")
    rows = list(csv.DictReader(io.StringIO(exported)))
    assert [(row["address"], row["reason"], row["note"], row["expires_at"]) for row in rows] == [
        ("later@example.net", "manual", "", "2099-01-31T00:00:00.000Z"),
        ("gone@example.net", "bounce", 'said "no", twice', ""),
    ]
    file = tmp_path / "list.csv"
    file.write_text(exported)
    assert "2 addresses" in ok(installation, "suppressions", "import", str(file), "--account", "default")
    own = json.loads(ok(installation, "suppressions", "list", "--account", "default", "--json"))
    assert {row["address"] for row in own} == {"gone@example.net", "later@example.net", "own@example.net"}
    ok(installation, "suppressions", "remove", "GONE@example.net")
    assert "not on the list" in wrong(installation, "suppressions", "remove", "gone@example.net")
    assert "later@example.net" in ok(installation, "suppressions", "list")
    assert "--reason" in wrong(
        installation, "suppressions", "add", "a@example.net", "--reason", "mood", code=2
    )


def test_an_import_tells_of_wrong_lines_and_takes_the_others(
    installation: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "list.csv"
    file.write_text(
        "\ufeffaddress,reason,expires_at\r\ngood@example.org,complaint,\r\nbad,,\r\nx@example.org,mood,\r\n"
        "y@example.org,,soon\r\nalso@example.org,,2099-01-01\r\n",
        encoding="utf-8",
    )
    errors = wrong(installation, "suppressions", "import", str(file), "--reason", "unsubscribe")
    assert [line.split(":")[0] for line in errors.splitlines()[:3]] == ["line 3", "line 4", "line 5"]
    listed = json.loads(ok(installation, "suppressions", "list", "--json"))
    found = {row["address"]: row["reason"] for row in listed if row["address"].endswith("example.org")}
    assert found == {"good@example.org": "complaint", "also@example.org": "unsubscribe"}
    file.write_text("mail\na@example.org\n")
    assert "address among them" in wrong(installation, "suppressions", "import", str(file))


def test_streams_are_made_changed_and_removed(installation: Installation) -> None:
    ok(installation, "streams", "add", "news", "--title", "News", "--lane", "bulk", "--unsubscribe")
    assert "news already" in wrong(installation, "streams", "add", "news")
    ok(installation, "streams", "change", "news", "--track-opens", "--complaint-from", "stream")
    ok(installation, "streams", "change", "bulk", "--no-unsubscribe")
    ok(installation, "streams", "change", "news", "--provider", "capture")
    ok(installation, "streams", "change", "news", "--quiet", "22:00-07:00 Asia/Singapore")
    rows = {row["name"]: row for row in json.loads(ok(installation, "streams", "list", "--json"))}
    assert list(rows) == ["transactional", "bulk", "news"]
    news = rows["news"]
    assert (news["lane"], news["opens"], news["clicks"], news["unsubscribe"]) == ("bulk", True, None, True)
    assert (news["complaint"], news["provider"]) == ("stream", "capture")
    assert news["quiet"] == "22:00-07:00 Asia/Singapore"
    ok(installation, "streams", "change", "news", "--provider", "none")
    assert "no provider pigeon" in wrong(
        installation, "streams", "change", "news", "--provider", "pigeon", code=2
    )
    assert rows["bulk"]["unsubscribe"] is False
    ok(installation, "streams", "remove", "bulk")
    ok(installation, "streams", "remove", "news")
    assert "no stream named news" in wrong(installation, "streams", "remove", "news")
    assert "--lane" in wrong(installation, "streams", "add", "x", "--lane", "fast", code=2)
    assert "1 to 64" in wrong(installation, "streams", "add", "Not A Name")


def test_suppressions_of_one_stream_come_and_go_as_csv(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "left.csv"
    file.write_text(
        "address,stream,reason\na@x.example,news,unsubscribe\na@x.example,,bounce\nb@x.example,No!,\n"
    )
    assert "1 lines were left out" in wrong(installation, "suppressions", "import", str(file))
    exported = ok(installation, "suppressions", "export")
    assert {tuple(line.split(",")[:3]) for line in exported.splitlines() if "x.example" in line} == {
        ("a@x.example", "news", "unsubscribe"),
        ("a@x.example", "", "bounce"),
    }
    ok(installation, "suppressions", "add", "c@x.example", "--stream", "news")
    ok(installation, "suppressions", "remove", "c@x.example", "--stream", "news")
    assert "of news" in wrong(installation, "suppressions", "remove", "c@x.example", "--stream", "news")
    listed = json.loads(ok(installation, "suppressions", "list", "--stream", "news", "--json"))
    assert [row["address"] for row in listed] == ["a@x.example"]


def test_what_a_command_changes_is_in_the_audit_log(installation: Installation, tmp_path: Path) -> None:
    def noted(*arguments: str) -> list[dict]:
        return json.loads(ok(installation, "audit", "--door", "cli", "--json", *arguments))

    before = len(noted("--limit", "1000"))
    ok(
        installation,
        "suppressions",
        "add",
        "noted@example.net",
        "--reason",
        "complaint",
        "--note",
        "by phone",
    )
    ok(installation, "webhooks", "create", "https://hooks.example.net/in?token=hush", "--description", "ours")
    ok(installation, "retention", "set", "body=30", "--stream", "bulk")
    file = tmp_path / "list.csv"
    file.write_text("address\n" + "".join(f"u{number}@example.net\n" for number in range(1200)))
    ok(installation, "suppressions", "import", str(file))
    imported, kept, hook, added = noted("--limit", str(len(noted("--limit", "1000")) - before))
    assert (added["action"], added["subject"]) == ("pillarbox suppressions add", "noted@example.net")
    assert added["detail"] == {"reason": "complaint", "note": "by phone"}
    assert added["who"].endswith(pwd.getpwuid(os.getuid()).pw_name)
    assert added["address"] == socket.gethostname()[:64]
    assert (hook["action"], hook["subject"]) == ("pillarbox webhooks create", "********")
    assert hook["detail"] == {"description": "ours"}
    assert (kept["subject"], kept["detail"]) == ("body=30", {"stream": "bulk"})
    assert imported["subject"] == str(file)


def test_what_a_command_only_reads_or_was_refused_is_not_noted(installation: Installation) -> None:
    before = ok(installation, "audit", "--json", "--limit", "1000")
    ok(installation, "keys", "list")
    ok(installation, "retention", "run", "--dry-run")
    wrong(installation, "senders", "remove", "nobody.example")
    wrong(installation, "keys", "revoke", "1")
    wrong(installation, "webhooks", "delete", "1")
    assert ok(installation, "audit", "--json", "--limit", "1000") == before


def test_an_erasure_leaves_its_address_out_of_the_log_too(installation: Installation) -> None:
    ok(installation, "erase", "noted.too@example.net", "--no-scrub")
    (line,) = json.loads(ok(installation, "audit", "--action", "erase", "--json"))
    assert line["subject"].endswith("@erased.invalid")
    assert "noted.too" not in ok(installation, "audit", "--json", "--limit", "1000")
