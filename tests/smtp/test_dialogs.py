r"""Conversations as files. A new case is a new file in `dialogs/`.

# words about the case; the first line is its point
! max_size 1000        a setting of the table `smtp` (JSON); `tls` gives the listener a certificate;
                       `networks` the CIDRs that may log in without TLS, `listener` more of its table, and
                       `disk` the octets that have to be free
= login                where the conversation starts: greeting, ehlo, login, mail (MAIL and RCPT done), data
C: EHLO me             the client sends a line; lines in a row go out in one write
R: MAIL\r\n\x00        the client sends exactly these octets
S: 250 2.0.0 *         one line of reply; `*` stands for anything
S* 250                 a whole reply, of however many lines, with this code
closed                 the server has closed the connection
stored 1               so many mails are in the record at the end
"""

import base64
import fnmatch
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay.capacity import Space
from tests.smtp.door import Client, Door

DIALOGS = sorted((Path(__file__).parent / "dialogs").glob("*.txt"))
_PROLOGUE = ("greeting", "ehlo", "login", "mail", "data")


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_dialog(
    path: Path, open_door: Callable[..., Door], certificate: dict[str, Path], tmp_path: Path
) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    door = open_door(**_settings(lines, certificate))
    for line in lines:
        if line.startswith("! disk "):
            door.server.service.space = Space(tmp_path, int(line[7:]))
    with door.connect() as client:
        _play(lines, client, door)


def _settings(lines: list[str], certificate: dict[str, Path]) -> dict[str, Any]:
    smtp: dict[str, Any] = {}
    listener: dict[str, Any] = {"port": 0}
    for line in lines:
        if not line.startswith("! ") or line.startswith("! disk "):
            continue
        name, _, value = line[2:].partition(" ")
        if name == "tls":
            listener |= certificate
        elif name == "networks":
            listener["plain_auth_from"] = value.split()
        elif name == "listener":
            listener |= json.loads(value)
        else:
            smtp[name] = json.loads(value)
    return {**smtp, "listeners": [listener]}


def _play(lines: list[str], client: Client, door: Door) -> None:
    pending = b""
    for number, line in enumerate(lines, 1):
        kind, _, text = line.partition(" ")
        if kind in {"C:", "R:"}:
            octets = _octets(text, door)
            pending += octets if kind == "R:" else octets + b"\r\n"
            continue
        if pending:
            client.send(pending)
            pending = b""
        match kind:
            case "=":
                _begin(text.strip(), client, door)
            case "S:":
                said = client.line().decode()
                assert fnmatch.fnmatchcase(said, text.replace("[", "[[]")), (
                    f"{number}: {said!r} is not {text!r}"
                )
            case "S*":
                said = client.reply()[-1]
                assert said.startswith(f"{text} "), f"{number}: {said!r} is not {text!r}"
            case "closed":
                assert client.closed(), f"{number}: the connection is open"
            case "stored":
                assert len(door.stored()) == int(text), f"{number}: {len(door.stored())} mails are stored"
            case _:
                assert not kind or kind in {"#", "!"}, f"{number}: {line!r} is no line of a dialogue"
    assert not pending, "a dialogue ends with what the server does"


def _begin(where: str, client: Client, door: Door) -> None:
    steps: list[Callable[[], object]] = [
        lambda: client.expect(220),
        lambda: client.ask("EHLO client.example.org", 250),
        lambda: client.ask(f"AUTH PLAIN {door.plain()}", 235),
        client.envelope,
        lambda: client.ask("DATA", 354),
    ]
    for step in steps[: _PROLOGUE.index(where) + 1]:
        step()


def _octets(text: str, door: Door) -> bytes:
    known = {
        "plain": door.plain(),
        "user": _b64("anybody"),
        "key": _b64(door.key),
        "wrong": _b64("\0anybody\0wrong"),
        "other": _b64(f"somebody\0anybody\0{door.key}"),
        "long": "x" * 3000,
        "endless": "x" * 20000,
    }
    for name, value in known.items():
        text = text.replace("{" + name + "}", value)
    escaped = re.compile(rb"\\(?:([rnt\\])|x([0-9a-f]{2}))")

    def octet(found: re.Match[bytes]) -> bytes:
        if found[2]:
            return bytes([int(found[2], 16)])
        return {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}[found[1]]

    return escaped.sub(octet, text.encode())


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
