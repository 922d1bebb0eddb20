"""The one HTTP client: what each way of failing means for the mail, against a server of bytes."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme

from providers.http import Call, Http, NoAnswer, checked_url, read_http
from providers.options import Options
from relay.core.errors import Misconfigured
from relay.core.provider import OutcomeKind

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

MAIL = Call("/send", b"x" * 1_000, {"content-type": "text/plain"})
#: more than two sockets hold, so that it has left only when somebody reads it
LARGE = Call("/send", b"x" * 30_000_000)


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
    )
    return head, await reader.readexactly(length)


def _ask(
    peer: Peer,
    *calls: Call,
    context: ssl.SSLContext | None = None,
    secrets: tuple[str, ...] = (),
    **options: Any,
):
    """What comes of the calls, one after the other on one client."""

    async def run() -> list[Any]:
        writers: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            try:
                await peer(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            scheme, host = ("https", "localhost") if context else ("http", "127.0.0.1")
            http = Http(read_http(Options(options), f"{scheme}://{host}:{port}"), secrets=secrets)
            came: list[Any] = []
            try:
                for call in calls:
                    try:
                        came.append(await http.call(call))
                    except NoAnswer as failure:
                        came.append(failure.outcome)
            finally:
                await http.aclose()
                for writer in writers:
                    writer.transport.abort()
            return came

    return asyncio.run(run())


def test_an_answer_comes_back_whole() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, body = await _request(reader)
        assert b"user-agent: pillarbox/" in head.lower()
        writer.write(b"HTTP/1.1 418 Odd\r\nX-Thing: 1\r\nContent-Length: 4\r\n\r\n%d" % len(body))

    (answer,) = _ask(peer, MAIL)
    assert (answer.status, answer.headers["x-thing"], answer.body) == (418, "1", b"1000")


def test_connections_are_kept() -> None:
    connections = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await _request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    assert [one.status for one in _ask(peer, MAIL, MAIL, MAIL)] == [200] * 3
    assert connections == 1


async def _hang_up_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _hang_up_within_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(100_000)
    writer.transport.abort()


@pytest.mark.parametrize("peer", [_hang_up_at_once, _hang_up_within_the_body])
def test_a_line_lost_before_the_mail_had_left_is_for_later(peer: Peer) -> None:
    (outcome,) = _ask(peer, LARGE)
    assert outcome.kind is OutcomeKind.RETRY


async def _take_and_hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.transport.abort()


async def _take_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)


async def _take_and_be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    await reader.read()


async def _answer_half_a_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()


async def _answer_half_a_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": ')
    await writer.drain()


async def _answer_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b"220 mail.example ESMTP\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    "peer",
    [
        _take_and_hang_up,
        _take_and_close,
        _take_and_be_silent,
        _answer_half_a_head,
        _answer_half_a_body,
        _answer_nonsense,
    ],
)
def test_a_line_lost_after_the_mail_had_left_is_ambiguous(peer: Peer) -> None:
    (outcome,) = _ask(peer, MAIL, timeout=0.5)
    assert outcome.kind is OutcomeKind.AMBIGUOUS


def test_an_endless_answer_is_cut() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            await writer.drain()

    (answer,) = _ask(peer, MAIL)
    assert answer.status == 500
    assert len(answer.body) <= 1_000_000


def test_redirects_are_not_followed() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(b"HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")

    (answer,) = _ask(peer, MAIL)
    assert answer.status == 307


def test_secrets_that_come_back_are_blotted_out() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        body = b'{"message": "the key s3cret is wrong"}'
        writer.write(b"HTTP/1.1 401 No\r\nX-Key: s3cret\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    (answer,) = _ask(peer, MAIL, secrets=("s3cret",))
    assert "s3cret" not in repr(answer)
    assert answer.data == {"message": "the key ******** is wrong"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def _server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def test_a_certificate_nobody_vouches_for_is_for_the_operator(authority: trustme.CA) -> None:
    (outcome,) = _ask(_take_and_close, MAIL, context=_server_context(authority))
    assert outcome.kind is OutcomeKind.CONFIG
    assert "certificate" in outcome.reply.text


def test_a_private_authority_can_be_trusted(authority: trustme.CA, tmp_path: Any) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(b"HTTP/1.1 204 OK\r\n\r\n")
        await writer.drain()

    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    (answer,) = _ask(peer, MAIL, context=_server_context(authority), ca_file=str(trusted))
    assert answer.status == 204


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.org", "example.org", "https://", "http://example.org", "http://10.0.0.1/"),
        *("https://user:hunter2@example.org", "https://example.org:port", "http://localhost.example.org"),
    ],
)
def test_a_secret_goes_to_https_or_to_this_machine(url: str) -> None:
    with pytest.raises(Misconfigured) as error:
        checked_url(url, "base_url")
    assert str(error.value).startswith("base_url")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["https://api.example.org", "http://127.0.0.1:8025/x", "http://[::1]:1", "http://localhost"]
)
def test_other_urls_are_taken(url: str) -> None:
    assert checked_url(url, "base_url") == url


def test_a_credential_that_no_header_can_hold_is_for_the_operator() -> None:
    bad = Call("/send", b"", {"authorization": "Bearer a\r\nX-Injected: 1"})
    (outcome,) = _ask(_take_and_close, bad)
    assert outcome.kind is OutcomeKind.CONFIG
