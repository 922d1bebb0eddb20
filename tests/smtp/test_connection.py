"""Connections: TLS, half-open ones, slow ones, too many, and the end of the door."""

import asyncio
import smtplib
import socket
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay.config import Settings
from relay.core.errors import Misconfigured
from relay.sections import ListenerSettings
from relay.smtp.server import Server
from tests.installation import wait_for
from tests.smtp.door import ANYBODY, Door, Gate, running

MAIL = b"From: app@example.org\r\nTo: rcpt@example.net\r\n\r\nhi\r\n.\r\n"


def test_starttls(
    open_door: Callable[..., Door], certificate: dict[str, Path], client_tls: ssl.SSLContext
) -> None:
    listener = {"port": 0, "plain_auth_from": ["192.0.2.0/24"], **certificate}
    door = open_door(listeners=[listener])
    with smtplib.SMTP("127.0.0.1", door.port, local_hostname="client.example.org") as client:
        client._host = "localhost"
        client.starttls(context=client_tls)
        client.ehlo()
        assert not client.has_extn("starttls")
        assert client.docmd("STARTTLS")[0] == 503
        client.login("anybody", door.key)
        client.sendmail("app@example.org", ["rcpt@example.net"], MAIL[:-3])
    (stored,) = door.stored()
    assert b"with ESMTPSA" in stored["raw"]


def test_implicit_tls(
    open_door: Callable[..., Door], certificate: dict[str, Path], client_tls: ssl.SSLContext
) -> None:
    door = open_door(listeners=[{"port": 0, "tls": "implicit", **certificate}])
    with smtplib.SMTP_SSL(
        "localhost", door.port, context=client_tls, source_address=("127.0.0.1", 0)
    ) as client:
        client.login("anybody", door.key)
        client.sendmail("app@example.org", ["rcpt@example.net"], MAIL[:-3])
    assert b"with ESMTPSA" in door.stored()[0]["raw"]


def test_what_is_sent_in_clear_is_forgotten_under_tls(
    open_door: Callable[..., Door], certificate: dict[str, Path], client_tls: ssl.SSLContext
) -> None:
    door = open_door(listeners=[{"port": 0, **certificate}])
    client = door.ready()
    client.send(b"STARTTLS\r\nRSET\r\nNOOP injected\r\n")
    client.expect(220)
    client.start_tls(client_tls)
    # Neither the injected commands nor the greeting or login of before are known any more.
    client.ask("MAIL FROM:<app@example.org>", 503)
    client.ask("EHLO client.example.org", 250)
    client.ask("MAIL FROM:<app@example.org>", 530)
    client.close()


def test_a_failed_handshake_ends_the_connection(
    open_door: Callable[..., Door], certificate: dict[str, Path]
) -> None:
    door = open_door(listeners=[{"port": 0, **certificate}])
    with door.connect() as client:
        client.expect(220)
        client.ask("EHLO client.example.org", 250)
        client.ask("STARTTLS", 220)
        client.send(b"EHLO this is no TLS\r\n" * 20)
        while client.socket.recv(4096):
            pass
    with door.ready() as another:
        another.ask("NOOP", 250)


def test_old_tls_is_refused(
    open_door: Callable[..., Door], certificate: dict[str, Path], client_tls: ssl.SSLContext
) -> None:
    door = open_door(listeners=[{"port": 0, "tls": "implicit", **certificate}])
    # Permitted here, so that it is the door that says no.
    client_tls.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client_tls.minimum_version = ssl.TLSVersion.TLSv1_1
        client_tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", door.port)) as raw,
        pytest.raises(ssl.SSLError, match=r"ALERT|EOF"),
    ):
        client_tls.wrap_socket(raw, server_hostname="localhost")


def _gated(open_door: Callable[..., Door], **smtp: Any) -> tuple[Door, Gate]:
    gates: list[Gate] = []

    def wrap(intake: Any) -> Gate:
        gates.append(Gate(intake))
        return gates[0]

    return open_door(wrap, **smtp), gates[0]


def _open(door: Door, gate: Gate) -> None:
    async def go() -> None:
        assert gate.go is not None
        gate.go.set()

    door.call(go())


def test_a_client_that_closes_its_half_after_the_dot_gets_its_reply(open_door: Callable[..., Door]) -> None:
    door, gate = _gated(open_door)
    with door.ready() as client:
        client.envelope()
        client.ask("DATA", 354)
        client.send(MAIL)
        client.socket.shutdown(socket.SHUT_WR)
        assert gate.reached.wait(30)
        _open(door, gate)
        client.expect(250)
        assert client.closed()
    assert len(door.stored()) == 1


def test_a_client_that_vanishes_after_the_dot_has_its_mail_stored_once(
    open_door: Callable[..., Door],
) -> None:
    door, gate = _gated(open_door)
    client = door.ready()
    client.envelope()
    client.ask("DATA", 354)
    client.send(MAIL)
    assert gate.reached.wait(30)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    _open(door, gate)
    door.call(_work_done(door))
    assert len(door.stored()) == 1


async def _work_done(door: Door) -> None:
    while door.server.service.work:
        await asyncio.wait(door.server.service.work)


def test_a_client_that_vanishes_before_the_dot_leaves_nothing(door: Door) -> None:
    client = door.ready()
    client.envelope()
    client.ask("DATA", 354)
    client.send(MAIL[:-5])
    client.close()
    door.call(door.server.stop())
    assert door.stored() == []


def test_commands_sent_ahead_wait_for_the_commit(open_door: Callable[..., Door]) -> None:
    door, gate = _gated(open_door, max_idle_commands=100_000)
    with door.ready() as client:
        client.envelope()
        client.ask("DATA", 354)
        client.send(MAIL + b"NOOP\r\n" * 20000 + b"QUIT\r\n")
        assert gate.reached.wait(30)
        _open(door, gate)
        client.expect(250)
        for _ in range(20000):
            assert client.line() == b"250 2.0.0 OK"
        client.expect(221)


def test_a_client_that_does_not_read_is_not_answered_without_end(open_door: Callable[..., Door]) -> None:
    door = open_door(max_idle_commands=10**9)
    with door.connect() as client:
        client.expect(220)
        client.socket.setblocking(False)
        sent = 0
        command = b"EHLO client.example.org\r\n" * 1000
        # Its socket stops taking more once the door has stopped reading.
        for _ in range(5000):
            try:
                # The last one may have gone in part.
                sent += client.socket.send(command[sent % 25 :])
            except BlockingIOError:
                if not _writable(client.socket):
                    break
        else:
            pytest.fail("the door reads on although nobody reads its replies")
        client.socket.settimeout(30)
        last = b"250 AUTH PLAIN LOGIN\r\n"
        unanswered, rest = sent // 25, b""
        while unanswered:
            rest += client.socket.recv(1 << 20)
            unanswered -= rest.count(last)
            rest = rest[rest.rfind(last) + len(last) :] if last in rest else rest


def _writable(sock: socket.socket) -> bool:
    import select

    return bool(select.select([], [sock], [], 1)[1])


def test_a_silent_client_is_cut(open_door: Callable[..., Door]) -> None:
    door = open_door(command_timeout=0.3)
    with door.connect() as client:
        client.expect(220)
        client.send(b"EHLO slow")
        client.expect(421)
        assert client.closed()


def test_a_stalled_upload_is_cut_and_a_slow_one_is_not(open_door: Callable[..., Door]) -> None:
    door = open_door(data_timeout=0.5, min_data_rate=1, command_timeout=30)
    with door.ready() as client:
        connection: Any
        (connection,) = door.server.service.connections
        # A clock of the test's own: a busy machine may pause for longer than the limit.
        moment = [connection._time()]
        connection._time = lambda: moment[0]

        async def look() -> None:
            connection._timer.cancel()
            connection._check_time()

        client.envelope()
        client.ask("DATA", 354)
        for octet in b"From: a@example.org":
            moment[0] += 0.4
            client.send(bytes([octet]))
            wait_for(lambda: connection._heard == moment[0], "the octet's coming")
            door.call(look())
        client.send(b"\r\n\r\nhi\r\n.\r\n")
        client.expect(250)
        client.envelope()
        client.ask("DATA", 354)
        moment[0] += 0.1
        client.send(b"From: ")
        wait_for(lambda: connection._heard == moment[0], "the beginning's coming")
        moment[0] += 0.6
        client.expect(421)
        assert client.closed()
    assert len(door.stored()) == 1


def test_a_mail_without_end_is_hung_up_on(open_door: Callable[..., Door]) -> None:
    door = open_door(max_size=100_000)
    with door.ready() as client:
        client.envelope()
        client.ask("DATA", 354)
        client.send(b"x" * 400_000)
        client.expect(552)
        assert client.closed()


def test_too_many_connections(open_door: Callable[..., Door]) -> None:
    door = open_door(max_connections=2)
    with door.ready() as first, door.ready() as second:
        with door.connect() as third:
            third.expect(421)
            assert third.closed()
        second.ask("NOOP", 250)
        first.ask("QUIT", 221)
        assert first.closed()
        with door.ready() as fourth:
            fourth.ask("NOOP", 250)


def test_stopping_ends_idle_clients_and_lets_transactions_finish(
    settings: Callable[..., Settings], sqlite_url: str
) -> None:
    with running(settings(database={"url": sqlite_url})) as door, door.ready() as idle, door.ready() as busy:
        address = door.server.addresses[0]
        busy.envelope()
        stopping = asyncio.run_coroutine_threadsafe(door.server.stop(), door._loop)
        idle.expect(421)
        assert idle.closed()
        busy.mail(MAIL)
        busy.expect(421)
        assert busy.closed()
        stopping.result(30)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        assert len(door.stored()) == 1


class _Keys:
    async def identify(self, _secret: str) -> Any:
        return ANYBODY


def _start(made: Settings) -> None:
    async def main() -> None:
        server = Server(made, None, _Keys(), None)  # type: ignore[arg-type]
        try:
            await server.start()
        finally:
            await server.stop()

    asyncio.run(main())


def test_a_port_in_use_is_explained(settings: Callable[..., Settings]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=rf"smtp\.listeners\[0\]: 127\.0\.0\.1:{port} is in use"):
            _start(settings(smtp={"listeners": [{"port": port}]}))


def test_a_foreign_address_is_explained(settings: Callable[..., Settings]) -> None:
    with pytest.raises(Misconfigured, match=r"192\.0\.2\.1 is not an address of this machine"):
        _start(settings(smtp={"listeners": [{"host": "192.0.2.1", "port": 0}]}))


def test_a_bad_certificate_is_explained(
    settings: Callable[..., Settings], tmp_path: Path, certificate: dict[str, Path]
) -> None:
    missing = {"certificate": tmp_path / "none.pem", "key": certificate["key"]}
    with pytest.raises(Misconfigured, match=r"none\.pem cannot be read: No such file"):
        _start(settings(smtp={"listeners": [{"port": 0, **missing}]}))
    text = tmp_path / "text.pem"
    text.write_text("hello")
    with pytest.raises(Misconfigured, match="are not a certificate and its key"):
        _start(settings(smtp={"listeners": [{"port": 0, "certificate": text, "key": text}]}))


def test_several_listeners_have_rules_of_their_own(
    open_door: Callable[..., Door], certificate: dict[str, Path]
) -> None:
    strict = ListenerSettings(port=0, plain_auth_from=(), **certificate)
    door = open_door(listeners=[{"port": 0}, strict.model_dump()])
    offers = []
    for number in range(2):
        with door.connect(number) as client:
            client.expect(220)
            offers.append(" ".join(client.ask("EHLO x", 250)))
    assert "AUTH" in offers[0]
    assert "STARTTLS" not in offers[0]
    assert "AUTH" not in offers[1]
    assert "STARTTLS" in offers[1]


def test_replies_do_not_wait_for_acknowledgements(door: Door) -> None:
    with door.ready():
        (connection,) = door.server.service.connections
        sock = connection.transport.get_extra_info("socket")  # type: ignore[attr-defined]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
