"""The door on its real server and a real socket."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from api.main import listen, serve_on
from api.nomsa.bodies import MAX_WHOLE
from tests.api.conftest import EMAILS, Door


class Served:
    """A door that serves while `talk` runs."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.port = 0
        self.ready = 0

    def run(self, talk: Callable[["Served"], Coroutine[Any, Any, Any]]) -> Any:
        return self.door.run(self._run(talk))

    async def _run(self, talk: Callable[["Served"], Coroutine[Any, Any, Any]]) -> Any:
        from dataclasses import replace

        listening = asyncio.Event()

        def ready() -> None:
            self.ready += 1
            listening.set()

        listener = listen(self.door.settings.api)
        self.port = listener.getsockname()[1]
        serving = asyncio.create_task(serve_on(listener, replace(self.door.context, ready=ready)))
        await asyncio.wait_for(listening.wait(), 60)
        try:
            return await talk(self)
        finally:
            self.door.stop.set()
            await asyncio.wait_for(serving, 60)

    async def exchange(self, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
        """Write the pieces and read one answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await read_answer(reader)
        finally:
            writer.close()

    def head(self, method: str, path: str, *fields: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: door", f"Authorization: Bearer {self.door.key}", *fields]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), fields, await reader.readexactly(int(fields["content-length"]))


@pytest.fixture
def served(door: Door) -> Served:
    return Served(door)


def test_a_mail_goes_in_and_its_status_comes_out(served: Served) -> None:
    fields = json.dumps({"recipient": "a@example.com", "subject": "s", "body": "b"}).encode()

    async def talk(served: Served) -> None:
        status, headers, body = await served.exchange(
            served.head("POST", f"{EMAILS}/send", "Content-Type: application/json", f"Content-Length: {len(fields)}"),
            fields,
        )  # fmt: skip
        assert status == 201
        assert "date" in headers
        assert "server" not in headers
        assert headers["cache-control"] == "no-cache"
        identifier = json.loads(body)["id"]
        status, _, read = await served.exchange(served.head("GET", f"{EMAILS}/{identifier}"))
        assert (status, read) == (200, body)

    served.run(talk)
    assert served.ready == 1


def test_requests_follow_each_other_on_one_connection(served: Served) -> None:
    async def talk(served: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            served.head("GET", EMAILS) + served.head("GET", "/v1/nothing") + served.head("GET", EMAILS)
        )
        assert [(await read_answer(reader))[0] for _ in range(3)] == [200, 404, 200]
        writer.close()

    served.run(talk)


def test_a_declared_body_too_large_is_refused_before_it_is_sent(served: Served) -> None:
    async def talk(served: Served) -> None:
        status, headers, body = await served.exchange(
            served.head("POST", f"{EMAILS}/send", "Content-Length: 209715200", "Expect: 100-continue")
        )
        assert status == 413
        assert json.loads(body)["code"] == "attachment_limit"
        assert headers["connection"] == "close"

    served.run(talk)


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(served: Served) -> None:
    limit = served.door.settings.api.max_request

    async def talk(served: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            served.head(
                "POST",
                f"{EMAILS}/send",
                "Content-Type: multipart/form-data; boundary=x",
                "Transfer-Encoding: chunked",
            )
        )
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        part = b'--x\r\nContent-Disposition: form-data; name="attachments"; filename="a.txt"\r\n\r\n'
        writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        for _ in range(limit // 65536 + 1):
            writer.write(chunk)
            await writer.drain()
        # The last chunk was never sent, so the answer came before the end.
        status, _, body = await read_answer(reader)
        assert status == 413
        assert json.loads(body)["code"] == "attachment_limit"
        writer.close()

    served.run(talk)


def test_an_endless_json_body_is_answered_and_cut_off(served: Served) -> None:
    async def talk(served: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            served.head(
                "POST", f"{EMAILS}/send", "Content-Type: application/json", "Transfer-Encoding: chunked"
            )
        )
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        for _ in range(MAX_WHOLE // 65536 + 1):
            writer.write(chunk)
            await writer.drain()
        status, headers, body = await read_answer(reader)
        assert (status, json.loads(body)["code"]) == (400, "malformed")
        assert headers["connection"] == "close"
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(chunk)
                await writer.drain()
        writer.close()

    served.run(talk)


def test_a_client_that_reads_only_when_all_is_sent_sees_its_refusal(sqlite_door: Door) -> None:
    async def talk(served: Served) -> None:
        size = 60 << 20
        request = served.head("POST", f"{EMAILS}/send", f"Content-Length: {size}")
        pieces = [b"x" * 65536] * (size // 65536)
        # A pause in the middle, as a busy machine or a slow line makes it.
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request)
        for number, piece in enumerate(pieces):
            writer.write(piece)
            await writer.drain()
            if number == len(pieces) // 2:
                await asyncio.sleep(2.5)
        status, headers, body = await read_answer(reader)
        assert (status, json.loads(body)["code"]) == (413, "attachment_limit")
        assert headers["connection"] == "close"
        assert await reader.read() == b""
        writer.close()

    Served(sqlite_door).run(talk)


def test_a_client_that_pushes_on_is_cut_off(served: Served) -> None:
    async def talk(served: Served) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(served.head("POST", f"{EMAILS}/send", "Content-Length: 1073741824"))
        pushed = 0
        try:
            while pushed < 1073741824 - 65536:
                writer.write(b"x" * 65536)
                await writer.drain()
                pushed += 65536
        except ConnectionError:
            pass
        writer.close()
        del reader
        return pushed

    assert served.run(talk) < 200 * 1024 * 1024


def test_a_bad_key_is_answered_without_its_body(served: Served) -> None:
    async def talk(served: Served) -> None:
        request = served.head("POST", f"{EMAILS}/send", "Content-Length: 1000000")
        status, _, _ = await served.exchange(request.replace(b"Bearer ", b"Bearer x"))
        assert status == 401

    served.run(talk)


def test_stopping_finishes_what_is_in_hand(door: Door) -> None:
    fields = json.dumps({"recipient": "a@example.com", "subject": "s", "body": "b"}).encode()

    async def talk(served: Served) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = served.head(
            "POST", f"{EMAILS}/send", "Content-Type: application/json", f"Content-Length: {len(fields)}"
        )
        writer.write(head + fields[:5])
        await writer.drain()
        # A second request tells that the first one has reached the server.
        await served.exchange(served.head("GET", "/v1/health/live"))
        served.door.stop.set()
        writer.write(fields[5:])
        status, _, _ = await read_answer(reader)
        writer.close()
        return status

    assert Served(door).run(talk) == 201
    assert len(door.work(_all)) == 1


def _all(connection: Any) -> list[Any]:
    from sqlalchemy import select

    from relay.store import tables as t

    return list(connection.execute(select(t.message.c.id)))


@pytest.mark.parametrize(
    "request_",
    [
        b"garbage\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=lambda request: request[:40].decode(),
)
def test_broken_http_is_answered_like_everything_else(served: Served, request_: bytes) -> None:
    async def talk(served: Served) -> None:
        status, headers, body = await served.exchange(request_)
        assert status == 400
        assert json.loads(body) == {"code": "malformed", "message": "Malformed request"}
        assert headers["connection"] == "close"

    served.run(talk)


def test_the_description_is_shown_without_other_hosts(door: Door) -> None:
    page = door.get("/docs", key=None)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    script = door.get("/docs/page.js", key=None)
    assert "openapi.json" in script.text
    assert "//" not in page.text.replace("<!doctype", "")
    assert "https:" not in script.text
    described = door.get("/openapi.json", key=None).json()["paths"]
    assert set(described[f"{EMAILS}/send"]["post"]["requestBody"]["content"]) == {
        "application/json",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
    }


def test_memory_stays_flat_under_large_bodies() -> None:
    from tests.bench.push import run

    for statuses, _, before, most in run(10, 40 << 20, ("declared", "form")).values():
        assert set(statuses) == {413}
        assert most - before < 100 << 20


def test_memory_stays_flat_under_pages_of_large_mails() -> None:
    from tests.bench.pages import run

    got, before, most, _ = run(80, 512 << 10, 3)
    assert [emails for _, emails in got] == [80] * 3
    assert {octets >> 20 for octets, _ in got} == {40}
    # Held whole, the pages alone would be 120 MiB, twice.
    assert most - before < 150 << 20
