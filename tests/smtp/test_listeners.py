"""Listeners: certificates renewed under way, balancers, printers, and what happens when there is too much."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.capacity import Space
from relay.core.errors import Full
from relay.observe.sparing import Sparing
from relay.sections import ListenerSettings, SmtpSettings
from tests.installation import Installation, wait_for
from tests.smtp.door import Door

MAIL = b"From: app@example.org\r\n\r\nhi\r\n.\r\n"


def _renew(certificate: dict[str, Path], authority: trustme.CA, name: str) -> None:
    issued = authority.issue_cert("localhost", common_name=name)
    for path, blobs in (
        (certificate["key"], [issued.private_key_pem]),
        (certificate["certificate"], issued.cert_chain_pems),
    ):
        fresh = path.with_suffix(".new")
        fresh.write_bytes(b"".join(blob.bytes() for blob in blobs))
        fresh.replace(path)


def _presented(port: int, tls: ssl.SSLContext) -> str:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as raw,
        tls.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        subject: Any = wrapped.getpeercert()["subject"]  # type: ignore[index]
        return dict(pair for part in subject for pair in part).get("commonName", "")


def test_a_renewed_certificate_is_presented_and_a_broken_one_is_not(
    open_door: Callable[..., Door],
    certificate: dict[str, Path],
    authority: trustme.CA,
    client_tls: ssl.SSLContext,
) -> None:
    door = open_door(listeners=[{"port": 0, "tls": "implicit", **certificate}])
    assert _presented(door.port, client_tls) == ""
    _renew(certificate, authority, "second")
    # The door looks once a second.
    wait_for(lambda: _presented(door.port, client_tls) == "second", "the new certificate")
    certificate["certificate"].write_text("half a fi")
    door._loop.call_soon_threadsafe(door.server.reload)
    assert _presented(door.port, client_tls) == "second"
    certificate["certificate"].unlink()
    door._loop.call_soon_threadsafe(door.server.reload)
    assert _presented(door.port, client_tls) == "second"
    _renew(certificate, authority, "third")
    wait_for(lambda: _presented(door.port, client_tls) == "third", "the repaired certificate")


def test_sighup_renews_and_ends_nothing(
    tmp_path: Path, certificate: dict[str, Path], authority: trustme.CA, client_tls: ssl.SSLContext
) -> None:
    with Installation(tmp_path) as here:
        paths = "".join(f'{name} = "{path}"\n' for name, path in certificate.items())
        text = here.config.read_text().replace(
            "[[smtp.listeners]]\n", f"[[smtp.listeners]]\ntls = 'implicit'\n{paths}"
        )
        here.config.write_text(text)
        assert here.run("migrate").returncode == 0
        process = here.start("smtp")
        wait_for(lambda: "listening" in process.output, "the door's opening")
        _renew(certificate, authority, "second")
        os.kill(process.popen.pid, signal.SIGHUP)
        wait_for(lambda: _presented(here.smtp_port, client_tls) == "second", "the new certificate")
        assert process.popen.poll() is None
        process.popen.terminate()
        assert process.wait() == 0


def test_the_balancers_client_stands_in_the_trace(open_door: Callable[..., Door]) -> None:
    door = open_door(
        listeners=[{"port": 0, "proxy_from": ["127.0.0.0/8"], "plain_auth_from": ["2001:db8::/32"]}]
    )
    with door.connect() as client:
        # In single octets, as a slow balancer might.
        for octet in b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 25\r\n":
            client.send(bytes([octet]))
        client.expect(220)
        client.ask("EHLO client.example.org", 250)
        client.ask(f"AUTH PLAIN {door.plain()}", 235)
        client.envelope()
        client.mail(MAIL)
    assert b"([IPv6:2001:db8::7])" in door.stored()[0]["raw"]


def test_starttls_behind_a_balancer(
    open_door: Callable[..., Door], certificate: dict[str, Path], client_tls: ssl.SSLContext
) -> None:
    door = open_door(listeners=[{"port": 0, "proxy_from": ["127.0.0.0/8"], **certificate}])
    with door.connect() as client:
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 25\r\nEHLO a\r\n")
        client.expect(220)
        client.expect(250)
        client.ask("STARTTLS", 220)
        client.start_tls(client_tls)
        client.ask("EHLO a", 250)
        client.ask(f"AUTH PLAIN {door.plain()}", 235)
        client.envelope()
        client.mail(MAIL)
    assert b"from a ([192.0.2.7])" in door.stored()[0]["raw"]


def test_mail_of_a_printer_says_how_it_came(
    open_door: Callable[..., Door], certificate: dict[str, Path], client_tls: ssl.SSLContext
) -> None:
    printer = {"port": 0, "allow_from": ["127.0.0.1/32"], "account": "legacy", **certificate}
    door = open_door(listeners=[printer])
    with door.connect() as client:
        client.expect(220)
        client.ask("HELO printer", 250)
        client.envelope()
        client.mail(MAIL)
        client.ask("EHLO printer", 250)
        client.ask("STARTTLS", 220)
        client.start_tls(client_tls)
        client.ask("EHLO printer", 250)
        client.envelope()
        client.mail(MAIL)
    plain, secret = door.stored()
    assert b"with ESMTP;" not in plain["raw"]
    assert b"with ESMTP\r\n\tfor <rcpt@example.net>" in plain["raw"]
    assert b"with ESMTPS\r\n" in secret["raw"]
    assert plain["key_id"] is None


def test_a_disabled_account_sends_no_more_from_its_network(
    open_door: Callable[..., Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    from relay.core.clock import now
    from relay.store import tables as t

    monkeypatch.setattr("relay.smtp.session._SURE", 0)
    door = open_door(listeners=[{"port": 0, "allow_from": ["127.0.0.1/32"], "account": "legacy"}])
    with door.connect() as client:
        client.expect(220)
        client.ask("HELO printer", 250)
        client.ask("MAIL FROM:<app@example.org>", 250)
        client.ask("RSET", 250)
        door.call(door.database.write(lambda c: c.execute(t.account.update().values(disabled_at=now()))))
        client.ask("MAIL FROM:<app@example.org>", 530)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"account": "a"}, "account needs allow_from"),
        ({"account": "a", "allow_from": ["0.0.0.0/0"]}, "open relay"),
        ({"tls": "implicit", "certificate": "c", "key": "k", "proxy_from": ["127.0.0.1/32"]}, "PROXY header"),
        ({"certificate": "c"}, "belong together"),
        ({"tls": "implicit"}, "needs certificate"),
    ],
)
def test_listeners_that_would_be_a_mistake(table: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ListenerSettings(**table)


def test_connections_of_one_address_and_of_one_listener_are_limited(open_door: Callable[..., Door]) -> None:
    door = open_door(
        max_connections_per_address=3, listeners=[{"port": 0, "max_connections": 1}, {"port": 0}]
    )
    with door.connect(0) as first, door.connect(1) as second:
        first.expect(220)
        second.expect(220)
        with door.connect(0) as crowded:
            assert crowded.expect(421)[0].startswith("421 4.3.2 ")
            assert crowded.closed()
        with door.connect(1) as third:
            third.expect(220)
            with door.connect(1) as fourth:
                assert fourth.expect(421)[0].startswith("421 4.7.0 ")
                assert fourth.closed()
        first.ask("QUIT", 221)
        assert first.closed()
        with door.connect(0) as again:
            again.expect(220)


def test_an_overloaded_door_turns_new_clients_away_early(door: Door) -> None:
    with door.ready() as inside:
        door.call(_tick(door, late=door.settings.smtp.max_lag + 1))
        with door.connect() as outside:
            assert outside.expect(421)[0].startswith("421 4.3.2 ")
            assert outside.closed()
        inside.envelope()
        inside.mail(MAIL)
        door.call(_tick(door, late=0))
        with door.connect() as later:
            later.expect(220)


async def _tick(door: Door, *, late: float) -> None:
    server = door.server
    assert server._ticking is not None
    server._ticking.cancel()
    server._tick(server.service.loop.time() - late)
    # The next look would find that all is well.
    server._ticking.cancel()


def test_space_on_the_disk_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(tmp_path).free
    Space(tmp_path, free // 2).check()
    Space(tmp_path, 0).check()
    Space(tmp_path / "gone", free * 2).check()
    with pytest.raises(Full):
        Space(tmp_path, free * 2).check()


def test_mail_is_taken_again_when_there_is_room(door: Door) -> None:
    space = door.server.service.space
    with door.ready() as client:
        space._minimum, space._looked = 10**30, 0.0
        assert client.ask("MAIL FROM:<app@example.org>", 452)[0].startswith("452 4.3.1 ")
        space._minimum, space._looked = 1, 0.0
        client.envelope()
        # Full in the middle of the mail.
        client.ask("DATA", 354)
        space._minimum, space._looked = 10**30, 0.0
        client.send(MAIL)
        client.expect(452)
        space._minimum, space._looked = 1, 0.0
        client.envelope()
        client.mail(MAIL)
    assert len(door.stored()) == 1


def test_an_upload_that_only_drips_is_cut(open_door: Callable[..., Door]) -> None:
    door = open_door(data_timeout=0.5, min_data_rate=1_000_000)
    stop = threading.Event()
    for command in (b"DATA\r\n", b"BDAT 1000000\r\n"):
        with door.ready() as client:
            client.envelope()
            client.send(command)

            def drip() -> None:
                try:
                    while not stop.wait(0.05):
                        client.send(b"x")
                except OSError:
                    pass

            dripping = threading.Thread(target=drip)
            dripping.start()
            try:
                if command.startswith(b"DATA"):
                    client.expect(354)
                assert client.expect(421)[0].startswith("421 4.4.2 ")
            finally:
                stop.set()
                dripping.join()
                stop.clear()


def test_refusals_are_logged_with_measure() -> None:
    moment = [0.0]
    hidden: list[tuple[int, int]] = []
    sparing = Sparing(lambda *counts: hidden.append(counts), lambda: moment[0])
    assert [sparing.allows("a") for _ in range(12)] == [True] * 10 + [False] * 2
    assert sparing.allows("b")
    assert hidden == []
    moment[0] = 10.0
    assert sparing.allows("a")
    assert hidden == [(2, 1)]
    assert sum(sparing.allows(str(number)) for number in range(1000)) < 250


def test_a_client_cannot_fill_the_log(
    open_door: Callable[..., Door], capfd: pytest.CaptureFixture[str]
) -> None:
    from relay.observe import logs
    from relay.sections import LogSettings

    logs.configure(LogSettings(format="json"), role="smtp")
    door = open_door(max_errors=1000)
    with door.connect() as client:
        client.expect(220)
        client.send(b"NONSENSE\r\n" * 500)
        for _ in range(500):
            client.expect(500)
    assert 5 <= capfd.readouterr().err.count('"refused"') <= 20


def test_limits_have_sane_defaults() -> None:
    settings = SmtpSettings()
    assert settings.max_recipients >= 100  # RFC 5321 4.5.3.1.8
    assert settings.command_timeout >= 300  # RFC 5321 4.5.3.2.7
    assert settings.max_hops >= 50
    assert logging.getLogger("mail.log").level != logging.DEBUG


def test_a_stop_does_not_wait_for_a_silent_balancer(open_door: Callable[..., Door]) -> None:
    door = open_door(listeners=[{"port": 0, "proxy_from": ["127.0.0.0/8"]}])
    with door.connect():
        wait_for(lambda: door.server.service.guests, "the connection")
        asyncio.run_coroutine_threadsafe(door.server.stop(), door._loop).result(10)
