"""Attacks on the door, each with the answer it has to get. Those that fit into a conversation are in `dialogs/`."""

import asyncio
import re
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.core.address import InvalidAddress, parse_mailboxes
from relay.core.errors import BadMessage, Unavailable
from relay.core.provider import Outgoing, OutgoingRecipient
from relay.smtp import replies
from relay.smtp.commands import rcpt
from relay.smtp.replies import Rejected
from tests.sink import Sink
from tests.smtp.door import Client, Door

HEAD = b"From: app@example.org\r\nTo: rcpt@example.net\r\n"


def _send(client: Client, mail: bytes, code: int = 250) -> str:
    client.envelope()
    return client.mail(mail + b"\r\n.\r\n", code)


# Smuggling out: what we pass on holds nothing that a lax receiver could take for an end.


@pytest.mark.parametrize("stray", [b"\n.\n", b"\n.\r\n", b"\r\n.\r", b"\r.\r", b"\n\n.\n\n"], ids=repr)
def test_nothing_smuggled_goes_out(stray: bytes, door: Door) -> None:
    with door.ready() as client:
        _send(
            client, HEAD + b"\r\nx" + stray + b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.net>"
        )
    (stored,) = door.stored()
    raw = stored["raw"]
    assert raw.count(b"\r\n") == raw.count(b"\r") == raw.count(b"\n")

    async def forward(sink: Sink) -> None:
        from providers.smtp import Smtp

        provider = Smtp("far", {"host": sink.host, "port": sink.port, "tls": "none"})
        recipients = (OutgoingRecipient(1, "rcpt@example.net", 1),)
        await provider.send([Outgoing(stored["id"], "app@example.org", recipients, raw)])
        await provider.aclose()

    with Sink() as sink:
        asyncio.run(forward(sink))
        (arrived,) = sink.wait(1)
        assert arrived.recipients == ("rcpt@example.net",)
        # On the wire the dots of lines were doubled, so that even one who takes LF for a line end sees no end.
        assert re.search(rb"(?<!\r)\n|\r(?!\n)", arrived.raw) is None


# Addresses that would become commands of ours.


@pytest.mark.parametrize("char", [*map(chr, range(33)), "\x7f", "\x85", "\xa0", "\u2028", "\u200b", "\u202e"])
def test_no_control_character_gets_into_an_address(char: str) -> None:
    with pytest.raises(Rejected):
        rcpt(f"TO:<a{char}b@example.net>", extended=True, smtputf8=True)


def test_a_lone_surrogate_never_leaves_the_parser() -> None:
    with pytest.raises(Rejected):
        rcpt("TO:<a\ud800@example.net>", extended=True, smtputf8=True)


# Authors.


@pytest.mark.parametrize(
    "value",
    [
        "app@example.org, ceo@bank.example",
        "Team: app@example.org, ceo@bank.example;",
        "(app@example.org) ceo@bank.example",
        '"app@example.org" <ceo@bank.example>',
        "=?utf-8?q?app=40example.org?= <ceo@bank.example>",
        "app@example.org <ceo@bank.example>",
        "<ceo@bank.example> app@example.org",
        "<@example.org:ceo@bank.example>",
        "ceo@bank.example\\@example.org",
        "app@example.org\0ceo@bank.example",
        "app@example.org]<ceo@bank.example>",
        '"a\\" <ceo@bank.example>, <app@example.org>',
        "ceo@bank.example (app@example.org",
        "<<app@example.org>>",
        "app@example.org>",
        "ceo%bank.example@evil.example",
        "CEO@BANK.EXAMPLE",
        "app@example.org@bank.example",
        "app@example.org.",
        "app@exаmple.org",  # noqa: RUF001 - Cyrillic
    ],
)
def test_nobody_writes_as_somebody_else(value: str, long_door: Door) -> None:
    with long_door.ready() as client:
        client.ask("MAIL FROM:<app@example.org> SMTPUTF8", 250)
        client.ask("RCPT TO:<rcpt@example.net>", 250)
        client.ask("DATA", 354)
        client.send(f"From: {value}\r\n\r\nhi\r\n.\r\n".encode())
        reply = client.reply()[-1]
    assert reply[:9] in {"550 5.7.1", "554 5.6.0"}, reply


@pytest.mark.parametrize(
    "text",
    [
        "alice@example.org)bob@bank.example",
        "alice@example.org(<bob@bank.example>",
        "alice@example.org<bob@bank.example",
        "alice@example.org>bob@bank.example",
        "alice@example.org,(),bob@bank.example <x",
        "@alice@example.org",
    ],
)
def test_what_parsers_read_differently_is_refused(text: str) -> None:
    """The library's parser finds an address in each of these (CVE-2023-27043 and kin)."""
    with pytest.raises(InvalidAddress):
        parse_mailboxes(text)


# Bombs: answered soon, in little memory.


def _bombs() -> dict[str, bytes]:
    deep = b"".join(
        b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(10_000)
    )
    return {
        "10,000 deep": b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n" + deep,
        "100,000 parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 100_000,
        "5,000 mails in each other": b"\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * 5000,
        "10,000 RFC 2231 pieces": b"Content-Type: a/b;"
        + b"".join(b"\r\n n*%d=a;" % n for n in range(10_000))
        + b"\r\n\r\n",
        "90,000 deep comment": b"Cc: " + b"(" * 90_000 + b"\r\n\r\n",
        "50,000 addresses": b"Cc: "
        + b",\r\n ".join(b"a%d@b.example" % n for n in range(12_000))
        + b"\r\n\r\n",
        "20,000 folds": b"Subject: " + b"a\r\n " * 20_000 + b"\r\n\r\n",
        "20,000 encoded words": b"Subject: " + b"=?utf-8?q?a?= " * 6000 + b"\r\n\r\n",
        "broken encoded words": b"Subject: " + b"=?" * 20_000 + b"\r\n\r\n",
        "blanks": b"Subject: " + b" " * 90_000 + b"x\r\n\r\n",
    }


@pytest.mark.parametrize("name", list(_bombs()))
def test_a_bomb_is_just_a_mail(name: str, long_door: Door) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    with long_door.ready() as client:
        _send(client, HEAD + _bombs()[name])
    # Far below what would be noticed: a parser that goes quadratic here takes minutes.
    assert time.process_time() - began < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_a_bomb_in_the_author_is_answered(long_door: Door) -> None:
    with long_door.ready() as client:
        for value in (
            b"(" * 90_000,
            b'"' + b"\\" * 90_000,
            b"<" * 90_000,
            b"a," * 40_000,
            b"=?a?q?" * 10_000,
        ):
            client.envelope()
            client.mail(b"From: " + value + b"\r\n\r\n.\r\n", 554)


def test_a_hundred_thousand_fields_are_refused_whole(long_door: Door) -> None:
    with long_door.ready() as client:
        _send(client, HEAD + b"X: y\r\n" * 100_000, 552)
        _send(client, HEAD + b"\r\nstill here")


# Slow clients and many of them.


def test_half_a_command_is_no_life_sign(open_door: Callable[..., Door]) -> None:
    door = open_door(command_timeout=0.5)
    with door.connect() as client:
        client.expect(220)
        deadline = time.monotonic() + 30
        said = b""
        client.socket.settimeout(0.05)
        while time.monotonic() < deadline and not said:
            try:
                client.send(b"N")
                said = client.socket.recv(100)
            except TimeoutError:
                continue
        assert said.startswith(b"421 4.4.2 ")


def test_a_line_without_end_costs_no_memory(door: Door) -> None:
    with door.connect() as client:
        client.expect(220)
        for _ in range(200):
            client.send(b"x" * 65536)
        client.send(b"\r\nNOOP\r\n")
        client.expect(500)
        client.expect(250)
        (connection,) = door.server.service.connections
        assert len(connection._buffer) < 65536 * 2  # type: ignore[attr-defined]


def test_one_address_cannot_take_every_place(open_door: Callable[..., Door]) -> None:
    door = open_door(max_connections=10, max_connections_per_address=4)
    taken = [door.connect() for _ in range(4)]
    for client in taken:
        client.expect(220)
    with door.connect() as fifth:
        fifth.expect(421)
    assert len(door.server.service.connections) == 4
    for client in taken:
        client.close()


# Faults: told as ours, in words that tell nothing.


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (OSError("disk /var/lib/secret on fire"), "451 4.3.0 "),
        (Unavailable(), "451 4.3.0 "),
        (RecursionError(), "451 4.3.0 "),
        (MemoryError(), "451 4.3.0 "),
        (BadMessage("The message is malformed."), "554 5.6.0 "),
    ],
    ids=repr,
)
def test_a_fault_is_temporary_and_silent(
    failure: Exception, expected: str, open_door: Callable[..., Door]
) -> None:
    class Broken:
        async def accept(self, _submission: object) -> None:
            raise failure

    door = open_door(lambda _: Broken())
    with door.ready() as client:
        reply = _send(client, HEAD + b"\r\nhi", int(expected[:3]))
        assert reply.startswith(expected)
        assert "secret" not in reply
        client.ask("NOOP", 250)


def test_every_reply_has_one_enhanced_code() -> None:
    known = [value for name, value in vars(replies).items() if name.isupper() and isinstance(value, bytes)]
    assert len(known) > 50
    for reply in known:
        if reply.startswith(b"354"):
            continue
        found = re.fullmatch(rb"([2345])\d\d ([245])\.\d{1,3}\.\d{1,3} [ -~]+\r\n", reply)
        assert found, reply
        assert found[1] == found[2], reply
        assert len(reply) <= 512


# Loops and reports.


def test_mail_that_has_been_everywhere_is_refused(open_door: Callable[..., Door]) -> None:
    door = open_door(max_hops=100)
    with door.ready() as client:
        _send(client, b"Received: by x\r\n" * 101 + HEAD, 554)
        _send(client, b"Received: by x\r\n" * 100 + HEAD)


def test_a_hundred_recipients_and_then_no_more(door: Door) -> None:
    with door.ready() as client:
        client.ask("MAIL FROM:<app@example.org>", 250)
        for number in range(100):
            client.ask(f"RCPT TO:<r{number}@example.net>", 250)
        assert client.ask("RCPT TO:<one-more@example.net>", 452)[0].startswith("452 4.5.3 ")
        client.mail(HEAD + b"\r\nhi\r\n.\r\n")
    assert len(door.stored()[0]["recipients"]) == 100


# Time that jumps, and clients that vanish.


def test_timeouts_do_not_follow_the_wall_clock(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    with door.ready() as client:
        monkeypatch.setattr(time, "time", lambda: 4_000_000_000.0)
        client.ask("NOOP", 250)
        monkeypatch.undo()
        client.ask("NOOP", 250)


def test_vanishing_clients_leave_nothing_behind(open_door: Callable[..., Door]) -> None:
    door = open_door(max_connections_per_address=1000)
    spool = Path(door.server.service.limits.spool)
    for number in range(100):
        client = door.ready()
        if number % 3:
            client.envelope()
        if number % 3 == 2:
            client.send(b"BDAT 1000000\r\n" + b"x" * 300_000)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    door.call(_everybody_gone(door))
    service = door.server.service
    assert not service.by_address
    assert not service.by_account
    assert not list(spool.iterdir())
    assert door.stored() == []


async def _everybody_gone(door: Door) -> None:
    async with asyncio.timeout(30):
        while door.server.service.connections:  # noqa: ASYNC110 - connections end by themselves
            await asyncio.sleep(0.01)
