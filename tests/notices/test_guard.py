"""Nobody has us connect to where he must not. A second address of this machine plays the forbidden one."""

import asyncio
import socket
import ssl
from collections.abc import Coroutine, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.core.errors import Refused
from relay.core.reachable import Address
from relay.notices.guard import Resolver, Rules, checked, look_up
from relay.notices.post import Post, Reply
from relay.sections import NoticeSettings
from tests.notices.receiver import Call, Receiver, Told
from tests.notices.scene import LOOSE

FORBIDDEN = "127.0.0.2"


class Names:
    """A name service that says something else every time: an answer for each lookup, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [ip_address(one) for one in answer]


def send(url: str, *, names: Names | None = None, times: int = 1, **settings: Any) -> Reply:
    async def main() -> Reply:
        post = Post(NoticeSettings(**{**LOOSE, **settings}), names.resolve if names else None)
        try:
            for _ in range(times):
                reply = await post.send(url, {"webhook-id": "msg_1"}, b"{}")
        finally:
            await post.aclose()
        return reply

    return asyncio.run(main())


def test_an_address_that_is_not_allowed_is_not_connected_to() -> None:
    with Receiver(FORBIDDEN) as forbidden:
        reply = send(forbidden.url)
        assert reply.error == "127.0.0.2 is not allowed: it is this machine"
        by_name = send(f"http://hooks.example:{forbidden.port}/", names=Names([FORBIDDEN]))
        assert by_name.error == (
            "hooks.example has the address 127.0.0.2, which is not allowed: it is this machine"
        )
        assert forbidden.connections == 0


def test_a_name_with_one_forbidden_address_is_refused_whole() -> None:
    with Receiver() as there, Receiver(FORBIDDEN) as forbidden:
        names = Names(["127.0.0.1", FORBIDDEN])
        assert "not allowed" in str(send(f"http://hooks.example:{there.port}/", names=names).error)
        assert there.connections == forbidden.connections == 0


def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    with Receiver() as there:
        # Allowed at the first lookup, forbidden at any later one: there is one for the connection, and it is used.
        names = Names(["127.0.0.1"], [FORBIDDEN])
        there.answer = lambda _: Told(200, (("Connection", "close"),))
        url = f"http://hooks.example:{there.port}/"
        assert send(url, names=names).status == 200
        assert names.asked == ["hooks.example"]
        assert there.calls[0].headers["host"] == f"hooks.example:{there.port}"
        assert "not allowed" in str(send(url, names=names).error)
        assert there.connections == 1


def test_the_second_address_is_tried_where_the_first_does_not_answer() -> None:
    with Receiver() as there:
        names = Names(["127.0.0.3", "127.0.0.1"])
        url = f"http://hooks.example:{there.port}/"
        assert send(url, names=names, allow_networks=["127.0.0.0/8"]).status == 204


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with Receiver() as there, Receiver(FORBIDDEN) as forbidden:
        there.answer = lambda _: Told(status, (("Location", forbidden.url),))
        reply = send(there.url)
        assert (reply.status, reply.delivered) == (status, False)
        assert forbidden.connections == 0
        assert len(there.calls) == 1


def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as there, Receiver(FORBIDDEN) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert send(there.url).status == 204
        assert proxy.connections == 0


def test_settings_that_were_tightened_hold_for_endpoints_that_are_there() -> None:
    with Receiver() as there:
        assert "must be https" in str(send(there.url, allow_http=False).error)
        assert "port" in str(send(there.url, ports=[80, 443]).error)
        assert there.connections == 0


def test_tls_goes_by_the_name(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    served: list[str | None] = []

    def hello(_socket: object, name: str | None, _context: object) -> None:
        served.append(name)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("hooks.example").configure_cert(context)
    context.sni_callback = hello
    with Receiver(tls=context) as there:
        names = Names(["127.0.0.1"])
        trusted = {"names": names, "allow_http": False, "ca_file": tmp_path / "ca.pem"}
        reply = send(f"https://hooks.example:{there.port}/", times=2, **trusted)
        assert (reply.status, served, names.asked) == (204, ["hooks.example"], ["hooks.example"])
        other = send(f"https://other.example:{there.port}/", **trusted)
        assert "the certificate is not accepted" in str(other.error)
        stranger = send(f"https://hooks.example:{there.port}/", names=names)
        assert "the certificate is not accepted" in str(stranger.error)
        assert len(there.calls) == 2


def answered(told: bytes, **settings: Any) -> Reply:
    """What comes of a call that is answered with exactly these octets, by one who then waits for our end."""

    async def main() -> Reply:
        done = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"{}")
            writer.write(told)
            await reader.read()
            writer.close()
            done.set()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        post = Post(NoticeSettings(**{**LOOSE, **settings}))
        try:
            port = server.sockets[0].getsockname()[1]
            return await post.send(f"http://127.0.0.1:{port}/", {}, b"{}")
        finally:
            await post.aclose()
            await done.wait()
            server.close()
            await server.wait_closed()

    return asyncio.run(main())


def test_what_is_no_http_is_told_so() -> None:
    assert answered(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").error == "what came back is no HTTP answer"


def test_an_answer_that_never_ends_counts_by_its_beginning() -> None:
    reply = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nslow", timeout=2)
    assert (reply.status, reply.delivered, reply.answer) == (200, True, "slow")


def test_nobody_listening_is_told_so() -> None:
    with socket.socket() as silent:
        # Bound, so that nobody else listens there meanwhile.
        silent.bind(("127.0.0.1", 0))
        assert send(f"http://127.0.0.1:{silent.getsockname()[1]}/").error == "the connection was refused"


STRICT = Rules.of(NoticeSettings())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://hooks.example.org/", "must be https"),
        ("ftp://hooks.example.org/", "must begin with https"),
        ("hooks.example.org", "must begin with https"),
        ("https://", "must begin with https"),
        ("https://user:pass@hooks.example.org/", "user name"),
        ("https://user@hooks.example.org/", "user name"),
        ("https://hooks.example.org/#part", "fragment"),
        ("https://hooks.example.org:8443/", "port 8443"),
        ("https://hooks.example.org:0/", "port 0"),
        ("https://hooks.example.org:99999/", "not a URL"),
        ("https://hooks.example.org/a b", "not a URL"),
        ("https://hooks.example.org/\u0000", "not a URL"),
        ("https://hooks.example.org/" + "x" * 2000, "not a URL"),
        ("https://127.0.0.1/", "127.0.0.1 is not allowed: it is this machine"),
        ("https://2130706433/", "this machine"),
        ("https://0x7f.1/", "this machine"),
        ("https://[::1]/", "this machine"),
        ("https://[::ffff:10.0.0.1]/", "a private network"),
        ("https://169.254.169.254/latest/meta-data", "link-local"),
        ("https://[fd00:ec2::254]/", "a private network"),
        ("https://\uff11\uff12\uff17.0.0.1/", "not a URL"),
    ],
)
def test_urls_that_are_refused_at_once(url: str, words: str) -> None:
    with pytest.raises(Refused, match=r"not|must") as refused:
        checked(url, STRICT)
    assert words in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org",
        "https://hooks.example.org:443/a?b=c",
        "https://b\u00fccher.example/",
        "https://8.8.8.8/x",
    ],
)
def test_urls_that_are_taken(url: str) -> None:
    assert checked(url, STRICT).scheme == "https"


def test_names_of_this_machine_are_refused_at_once() -> None:
    async def main() -> None:
        resolver = Resolver()
        try:
            await look_up(checked("https://localhost/", STRICT), STRICT, resolver.resolve)
        finally:
            resolver.close()

    with pytest.raises(Refused, match="localhost has the address"):
        asyncio.run(main())


def test_a_name_that_nobody_knows_yet_is_taken() -> None:
    async def nobody(_host: str, _port: int) -> Sequence[Address]:
        raise OSError("unknown")

    looking: Coroutine[Any, Any, None] = look_up(
        checked("https://hooks.example.org/", STRICT), STRICT, nobody
    )
    asyncio.run(looking)


def test_calls_carry_what_the_standard_asks_for() -> None:
    with Receiver() as there:
        send(there.url)
        call: Call = there.calls[0]
        assert call.headers["content-type"] == "application/json"
        assert call.headers["user-agent"].startswith("pillarbox/")
        assert call.headers["content-length"] == "2"
        assert call.headers["webhook-id"] == "msg_1"
