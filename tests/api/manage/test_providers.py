"""/v1/providers and /v1/routes as an operator's program uses them."""

from pathlib import Path
from typing import Any

import pytest

from relay import config
from relay.core.clock import now
from relay.store import circuits
from tests.api.conftest import Door
from tests.providers.fakery import NOBODY
from tests.sink import Sink

BASE = "/v1/providers"
SECRET = "hunter2 and more"


@pytest.fixture
def file(door: Door, tmp_path: Path) -> Path:
    """The door's configuration file: `main` and `spare` by SMTP, where nobody is, and Azure for `parts`."""
    path = tmp_path / "pillarbox.toml"
    table = f'type = "smtp"\nhost = "127.0.0.1"\nport = {NOBODY}\ntls = "none"\n'
    path.write_text(
        f'data_dir = "{door.settings.data_dir}"\n[database]\nurl = "{door.settings.database_url}"\n'
        f'[providers.main]\n{table}username = "relay"\npassword = "{SECRET}"\nplaintext_auth = true\n'
        'rate = "50/s"\nquota = "1000/day"\n'
        f"[providers.spare]\n{table}"
        '[providers.parts]\ntype = "azure"\nbase_url = "http://127.0.0.1:1"\naccess_key = "aGlkZGVuIHNlY3JldA=="\n'
        '[routes.default]\nuse = "failover(parts, main, spare)"\n'
    )
    door.reopen(config.load(path))
    return path


def test_a_list_says_how_each_is_doing(door: Door, admin: str, ask: Any, file: Path) -> None:
    moment = now()
    door.work(circuits.ensure, ["main"])
    door.work(
        circuits.open_circuit, "main", owner="w", now=moment, pauses=(60.0,), reason="451 4.4.1 no connection"
    )
    door.work(
        circuits.beat, "host:1", now=moment, in_hand={"main": 3}, providers=["main", "spare"], config="x"
    )
    status, listed = ask(admin, "GET", BASE)
    assert status == 200
    assert listed["has_more"] is False
    assert [one["name"] for one in listed["data"]] == ["main", "spare", "parts"]
    status, main = ask(admin, "GET", f"{BASE}/main")
    assert main == listed["data"][0]
    assert main.pop("capabilities")["shows_all_recipients"] is True
    assert listed["data"][2]["capabilities"]["shows_all_recipients"] is False
    assert main.pop("circuit") == {
        "state": "open",
        "open_until": main_open_until(door),
        "reason": "451 4.4.1 no connection",
    }
    assert main == {
        "name": "main",
        "type": "smtp",
        "experimental": False,
        "mode": "active",
        "mode_at": None,
        "in_hand": 3,
        "waiting": 0,
        "workers": 1,
        "limits": {"rate": "50/s", "quota": "1000/day"},
        "usage": [{"window": "day", "used": 0, "limit": 1000}],
        "still_in_hand": None,
    }
    assert SECRET not in str(listed)


def main_open_until(door: Door) -> str:
    from relay.core.clock import wire_time

    shown = wire_time(door.work(circuits.states)["main"].open_until)
    assert shown
    return shown


def test_pause_resume_and_drain(door: Door, admin: str, ask: Any, file: Path) -> None:
    status, paused = ask(admin, "POST", f"{BASE}/main/pause")
    assert (status, paused["mode"]) == (200, "paused")
    assert paused["mode_at"]
    assert door.work(circuits.states)["main"].mode is circuits.Mode.PAUSED
    assert ask(admin, "POST", f"{BASE}/main/resume")[1]["mode"] == "active"
    door.work(circuits.beat, "host:1", now=now(), in_hand={"main": 2}, providers=["main"], config="x")
    assert "host:1" in ask(admin, "POST", f"{BASE}/main/drain")[1]["still_in_hand"]
    door.work(circuits.leave, "host:1")
    drained = ask(admin, "GET", f"{BASE}/main")[1]
    assert (drained["mode"], drained["still_in_hand"]) == ("draining", None)


def test_check_and_test_ask_the_provider_itself(door: Door, admin: str, ask: Any, file: Path) -> None:
    status, checked = ask(admin, "POST", f"{BASE}/spare/check")
    assert (status, checked["ok"]) == (200, False)
    assert "no connection" in checked["message"]
    with Sink() as sink:
        text = file.read_text()
        file.write_text(text.replace(f"port = {NOBODY}\n", f"port = {sink.port}\n"))
        assert ask(admin, "POST", f"{BASE}/spare/check")[1]["ok"] is True
        fields = {"recipient": "jane@example.net", "sender": "ops@acme.example"}
        status, tried = ask(admin, "POST", f"{BASE}/spare/test", fields)
        assert (status, tried["outcome"]) == (200, "accepted")
        assert tried["reply"].startswith("250")
        assert sink.mails[0].recipients == ("jane@example.net",)
        fields["recipient"] = "refuse@example.net"
        assert ask(admin, "POST", f"{BASE}/spare/test", fields)[1]["outcome"] == "rejected"


def test_reload_is_asked_of_all_and_a_fault_is_told_at_once(
    door: Door, admin: str, ask: Any, file: Path
) -> None:
    status, asked = ask(admin, "POST", f"{BASE}/reload")
    assert (status, asked) == (202, {"providers": ["main", "parts", "spare"], "workers": 0})
    first = door.work(circuits.snapshot, since=now()).reload_asked
    assert first is not None
    text = file.read_text()
    for fault, words in (
        (text.replace("50/s", "fast"), "rate"),
        (text.replace("spare)", "gone)"), "gone"),
        (text.replace('tls = "none"', 'tls = "perhaps"'), "tls must be one of"),
    ):
        file.write_text(fault)
        status, refused = ask(admin, "POST", f"{BASE}/reload")
        assert (status, refused["code"]) == (409, "conflict")
        assert words in refused["message"]
        assert SECRET not in refused["message"]
    assert door.work(circuits.snapshot, since=now()).reload_asked == first
    # What the file says is what is listed.
    file.write_text(text.replace("spare", "other"))
    assert [one["name"] for one in ask(admin, "GET", BASE)[1]["data"]] == ["main", "other", "parts"]


def test_explain_asks_each_provider_about_the_very_mail(door: Door, admin: str, ask: Any, file: Path) -> None:
    mail = "From: ops@acme.example\r\nTo: jane@example.net\r\nSubject: x\r\nX-One: 1\r\nX-One: 2\r\n\r\nhello\r\n"
    answer = door.request(
        "POST", "/v1/messages", content=mail.encode(), headers={"content-type": "message/rfc822"}
    )
    identifier = answer.json()["id"]
    status, told = ask(admin, "GET", f"/v1/routes/explain?message={identifier}")
    assert status == 200
    (one,) = told["data"]
    ways = {way["name"]: way for way in one["ways"]}
    assert ways["parts"]["now"] == "cannot"
    assert "X-One" in ways["parts"]["why"]
    assert one["provider"] == "main"
    ask(admin, "POST", f"{BASE}/main/pause")
    ask(admin, "POST", f"{BASE}/spare/pause")
    (one,) = ask(admin, "GET", f"/v1/routes/explain?message={identifier}")[1]["data"]
    assert (one["provider"], one["otherwise"]) == (None, "the mail waits for main")


def test_explain_of_facts(door: Door, admin: str, ask: Any, file: Path) -> None:
    (one,) = ask(admin, "GET", "/v1/routes/explain?recipient=jane@example.net&size=50000000")[1]["data"]
    assert (one["rule"], one["provider"]) == ("default", "main")
    assert "octets" in one["ways"][0]["why"]
    assert ask(admin, "GET", "/v1/routes/explain?message=5")[0] == 404
    assert ask(admin, "GET", "/v1/routes/explain?colour=red")[1]["message"] == '"colour" is not allowed'


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", BASE),
        ("GET", f"{BASE}/capture"),
        *(("POST", f"{BASE}/capture/{word}") for word in ("pause", "resume", "drain", "check")),
        ("POST", f"{BASE}/reload"),
        ("GET", "/v1/routes/explain"),
    ],
)
def test_only_for_operators(refuse: Any, method: str, path: str) -> None:
    assert refuse("manager", method, path)[0] == 403
    if "capture" in path:
        status, answer = refuse("admin", method, path.replace("capture", "nobody"))
        assert (status, answer["code"]) == (404, "not_found")
        assert "capture" in answer["message"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sender": "ops@acme.example"}, '"recipient" is required'),
        ({"recipient": "nobody", "sender": "ops@acme.example"}, '"recipient" is invalid'),
        ({"recipient": "jane@example.net", "sender": "ops@acme.example", "cc": "x"}, '"cc" is not allowed'),
    ],
)
def test_a_test_mail_that_cannot_be(refuse: Any, fields: dict[str, str], words: str) -> None:
    status, answer = refuse("admin", "POST", f"{BASE}/capture/test", fields)
    assert status == 400
    assert words in answer["message"]
