"""Straight to recipients' servers: whom DNS leads to, in which order, how safely, and what their answers mean."""

import asyncio
import contextlib
import http.server
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
import trustme

from providers import registry
from providers.mx import Mx
from providers.mx.lookup import is_public
from providers.mx.sts import parse
from relay.core.errors import Misconfigured
from relay.core.provider import Outcome, OutcomeKind, Outgoing, ProviderProblem
from relay.delivery.ways import Standing, Way
from relay.routing import Meter, Tolerance
from relay.sections import ProviderLimits
from relay.testing import outgoing
from tests.names import Names
from tests.sink import EVERYTHING, Fault, Sink

ONE, TWO = "127.0.0.1", "127.0.0.2"


def mx(names: Names, port: int, **more: Any) -> Mx:
    options = {
        "hostname": "mail.example.com",
        "port": port,
        "resolver": names.address,
        "allow_private": True,
    }
    return Mx("direct", {**options, **more})


async def _all(provider: Mx, *mails: Outgoing) -> list[Outcome]:
    try:
        receipts = await asyncio.gather(*(provider.send([mail]) for mail in mails))
        return [outcome for ((*outcomes,),) in receipts for outcome in outcomes]
    finally:
        await provider.aclose()


def send(provider: Mx, *mails: Outgoing) -> list[Outcome]:
    return asyncio.run(_all(provider, *mails))


def zone(*servers: str, domain: str = "example.org") -> dict[str, dict[str, list[str]]]:
    """A domain whose servers, most preferred first, are at these addresses."""
    found: dict[str, dict[str, list[str]]] = {domain: {"MX": []}}
    for number, address in enumerate(servers, 1):
        found[domain]["MX"].append(f"{number}0 mx{number}.example.org.")
        found[f"mx{number}.example.org"] = {"A": [address]}
    return found


@contextlib.contextmanager
def two_sinks(**options: Any) -> Iterator[tuple[Sink, Sink]]:
    """At two addresses, on the same port."""
    with Sink(host=ONE, **options) as first, Sink(host=TWO, port=first.port, **options) as second:
        yield first, second


# Whom DNS leads to.


def test_the_most_preferred_server_gets_it() -> None:
    with two_sinks() as (first, second), Names(zone(ONE, TWO)) as names:
        (outcome,) = send(mx(names, first.port), outgoing("jane@example.org"))
        assert outcome.kind is OutcomeKind.ACCEPTED
        assert (first.count, second.count) == (1, 0)
        assert "EHLO mail.example.com" in [line for burst in first.bursts for line in burst]


@pytest.mark.parametrize(
    "fault", [Fault.CLOSE_AT_GREETING, Fault.REFUSE_AT_GREETING, Fault.BUSY_AT_GREETING, None], ids=str
)
def test_the_next_one_gets_it_where_the_first_is_down(fault: Fault | None) -> None:
    with two_sinks() as (first, second), Names(zone(ONE, TWO)) as names:
        if fault is None:
            names.zone["mx1.example.org"] = {"A": ["127.0.0.3"]}
        first.misbehave(fault)
        (outcome,) = send(mx(names, first.port), outgoing("jane@example.org"))
        assert outcome.kind is OutcomeKind.ACCEPTED
        assert (first.count, second.count) == (0, 1)


def test_servers_of_one_preference_share() -> None:
    with two_sinks() as (first, second), Names(zone(ONE, TWO)) as names:
        names.zone["example.org"] = {"MX": ["10 mx1.example.org.", "10 mx2.example.org."]}

        async def many() -> None:
            for number in range(40):
                await _all(mx(names, first.port), outgoing(f"{number}@example.org"))
                if first.count and second.count:
                    return

        asyncio.run(many())
        assert first.count
        assert second.count


def test_without_mx_the_address_is_the_server() -> None:
    with Sink() as sink, Names({"example.org": {"A": [ONE]}}) as names:
        (outcome,) = send(mx(names, sink.port), outgoing("jane@example.org"))
        assert outcome.kind is OutcomeKind.ACCEPTED


@pytest.mark.parametrize(
    ("known", "kind", "reply"),
    [
        ({}, "rejected", "550 5.1.2 the domain example.org does not exist"),
        ({"MX": ["0 ."]}, "rejected", "556 5.1.10 the domain example.org takes no mail (null MX)"),
        (
            {"TXT": ['"x"']},
            "rejected",
            "550 5.1.2 the domain example.org has neither mail servers nor an address",
        ),
        ({"FAIL": []}, "retry", "451 4.4.3 DNS does not answer about example.org (every name server failed)"),
        ({"SILENT": []}, "retry", "451 4.4.3 DNS does not answer about example.org (no answer in time)"),
        (
            {"MX": ["10 gone.example.org."]},
            "retry",
            "451 4.4.4 the mail server gone.example.org has no address",
        ),
        (
            {"MX": ["10 mail.example.com."]},
            "rejected",
            "554 5.4.6 the mail for example.org leads back to this server",
        ),
    ],
    ids=["nowhere", "null-mx", "no-address", "servfail", "silence", "nameless-server", "ourselves"],
)
def test_what_dns_says_is_the_outcome(known: Mapping[str, list[str]], kind: str, reply: str) -> None:
    patience = {"dns_timeout": 0.5} if "SILENT" in known else {}
    with Names({"example.org": known} if known else {}) as names:
        (outcome,) = send(mx(names, 1, **patience), outgoing("jane@example.org"))
        assert (outcome.kind.value, str(outcome.reply)) == (kind, reply)


def test_we_are_never_asked_by_ourselves() -> None:
    with Sink() as sink, Names(zone(ONE)) as names:
        names.zone["example.org"]["MX"] += ["20 mail.example.com.", "30 mx9.example.org."]
        (outcome,) = send(mx(names, sink.port), outgoing("jane@example.org"))
        assert outcome.kind is OutcomeKind.ACCEPTED
        assert ("mx9.example.org", "A") not in names.asked


def test_an_international_domain_is_asked_for_and_said_as_dns_has_it() -> None:
    offers = [offer for offer in EVERYTHING if offer != "SMTPUTF8"]
    with Sink(extensions=offers) as sink, Names(zone(ONE, domain="xn--exmple-cua.org")) as names:
        (outcome,) = send(mx(names, sink.port), outgoing("jane@exämple.org"))
        assert outcome.kind is OutcomeKind.ACCEPTED
        assert sink.mails[0].recipients == ("jane@xn--exmple-cua.org",)


@pytest.mark.parametrize("address", ["jane@[127.0.0.1]", "jane@[IPv6:::1]"])
def test_an_address_for_a_domain(address: str) -> None:
    with Sink() as sink, Names({}) as names:
        (outcome,) = send(mx(names, sink.port), outgoing(address))
        # The sink is at the first of them only; the other one shows that it is not asked for by name.
        assert outcome.kind is (OutcomeKind.ACCEPTED if "127" in address else OutcomeKind.RETRY)
        assert not names.asked


# Where we must not be led to.


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "0.0.0.0", "100.64.0.1", "224.0.0.1"),
        *("::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("recipient", ["jane@example.org", "jane@[127.0.0.1]"])
def test_a_private_address_is_not_connected_to(recipient: str) -> None:
    with Sink() as sink, Names(zone(ONE)) as names:
        (outcome,) = send(mx(names, sink.port, allow_private=False), outgoing(recipient))
        assert outcome.kind is OutcomeKind.REJECTED
        assert outcome.reply.enhanced == "5.4.4"
        assert "no public address" in outcome.reply.text
        assert sink.connections == 0


# Recipients, lines and places.


def test_recipients_of_many_domains_each_have_their_outcome() -> None:
    with two_sinks() as (first, second), Names(zone(ONE)) as names:
        names.zone |= {"example.net": {"A": [TWO]}, "closed.example": {"MX": ["0 ."]}}
        addresses = (
            "a@example.org",
            "refuse@example.net",
            "b@closed.example",
            "busy@example.org",
            "c@example.net",
        )
        found = send(mx(names, first.port), outgoing(*addresses))
        assert [one.kind.value for one in found] == ["accepted", "rejected", "rejected", "retry", "accepted"]
        assert [mail.recipients for mail in (*first.mails, *second.mails)] == [
            ("a@example.org",),
            ("c@example.net",),
        ]


def test_domains_with_the_same_servers_share_their_lines() -> None:
    with Sink() as sink, Names(zone(ONE)) as names:
        names.zone["example.net"] = names.zone["example.org"]

        async def one_after_the_other() -> None:
            provider = mx(names, sink.port)
            await provider.send([outgoing("a@example.org")])
            await provider.send([outgoing("b@example.net")])
            await provider.aclose()

        asyncio.run(one_after_the_other())
        assert (sink.count, sink.connections) == (2, 1)


def test_lines_to_one_destination_are_bounded() -> None:
    with Sink(delay=0.05) as sink, Names(zone(ONE)) as names:
        mails = [outgoing(f"{number}@example.org") for number in range(12)]
        found = send(mx(names, sink.port, max_connections_per_destination=3), *mails)
        assert {one.kind for one in found} == {OutcomeKind.ACCEPTED}
        assert sink.most_at_once == 3


def test_dns_is_asked_once_for_mails_that_come_together() -> None:
    with Sink() as sink, Names(zone(ONE)) as names:
        found = send(mx(names, sink.port), *(outgoing(f"{number}@example.org") for number in range(50)))
        assert {one.kind for one in found} == {OutcomeKind.ACCEPTED}
        assert (names.asked["example.org", "MX"], names.asked["_mta-sts.example.org", "TXT"]) == (1, 1)


def test_lines_in_all_are_bounded_and_idle_ones_make_room() -> None:
    with two_sinks() as (first, second), Names({}) as names:
        names.zone |= {f"d{n}.example": {"A": [ONE if n % 2 else TWO]} for n in range(8)}
        mails = [outgoing(f"jane@d{number}.example") for number in range(8)]
        found = send(mx(names, first.port, max_connections=2, idle=60), *mails)
        assert {one.kind for one in found} == {OutcomeKind.ACCEPTED}
        assert first.count + second.count == 8
        assert max(first.most_at_once, second.most_at_once) <= 2


def test_greylisting_is_for_later_and_then_lets_go() -> None:
    with Sink() as sink, Names(zone(ONE)) as names:

        async def twice() -> list[str]:
            provider = mx(names, sink.port)
            mail = outgoing("grey@example.org")
            found = [(await provider.send([mail]))[0][0].kind.value for _ in range(2)]
            await provider.aclose()
            return found

        assert asyncio.run(twice()) == ["retry", "accepted"]


def test_we_connect_from_the_address_we_are_told() -> None:
    with Names(zone(ONE)) as names, _Listener() as listener:
        send(
            mx(names, listener.port, source_address="127.0.0.9", tls="none", mta_sts=False),
            outgoing("a@example.org"),
        )
        assert listener.peers[0] == "127.0.0.9"


class _Listener:
    """Notes who connects, and hangs up."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        self._server = http.server.socketserver.TCPServer((ONE, 0), self._note)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def _note(self, request: Any, client: tuple[str, int], _server: Any) -> None:
        self.peers.append(client[0])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


# What the answers of recipients' servers mean.


@pytest.mark.parametrize(
    ("address", "kind"),
    [("relay@example.org", "rejected"), ("spam@example.org", "rejected"), ("full@example.org", "retry")],
)
def test_a_refusal_is_the_recipients_and_never_for_the_operator(address: str, kind: str) -> None:
    with Sink() as sink, Names(zone(ONE)) as names:
        (outcome,) = send(mx(names, sink.port), outgoing(address))
        assert outcome.kind.value == kind


def test_too_fast_for_one_domain_says_nothing_about_others() -> None:
    with Sink() as sink, Names(zone(ONE)) as names:
        (outcome,) = send(mx(names, sink.port), outgoing("throttle@example.org"))
        assert (outcome.kind, outcome.scope) == (OutcomeKind.THROTTLED, "domain")


def test_one_dead_destination_does_not_open_the_circuit() -> None:
    with Sink() as sink, Names(zone("127.0.0.3")) as names:
        provider = mx(names, sink.port)
        standing = Standing("direct", Tolerance(failures=1), lambda: None)
        way = Way(provider, standing, Meter(ProviderLimits(), 10, lambda: 0.0), lambda: None)
        (outcome,) = send(provider, outgoing("jane@example.org"))
        assert outcome.kind is OutcomeKind.RETRY
        way.answered(outcome, probing=False)
        assert not standing.shared.is_open


# TLS, and what domains publish about it.


@pytest.mark.parametrize("offered", ["none", "starttls"])
def test_tls_where_there_is_some_without_asking_who_it_is(offered: str) -> None:
    with Sink(tls=offered) as sink, Names(zone(ONE)) as names:
        (outcome,) = send(mx(names, sink.port), outgoing("jane@example.org"))
        assert outcome.kind is OutcomeKind.ACCEPTED
        assert sink.mails[0].tls is (offered == "starttls")


@pytest.mark.parametrize(("tls", "kind"), [("opportunistic", "accepted"), ("require", "retry")])
def test_tls_that_fails(tls: str, kind: str) -> None:
    with Sink(extensions=(*EVERYTHING, "STARTTLS")) as sink, Names(zone(ONE)) as names:
        (outcome,) = send(mx(names, sink.port, tls=tls), outgoing("jane@example.org"))
        assert outcome.kind.value == kind
        assert sink.count == (1 if kind == "accepted" else 0)


class _PolicyHost:
    """Serves one MTA-STS policy over HTTPS."""

    def __init__(self, authority: trustme.CA, text: str, *, name: str = "mta-sts.example.org") -> None:
        host = self
        self.text, self.status, self.kind, self.calls = text, 200, "text/plain; charset=utf-8", 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.calls += 1
                found = (self.headers["host"], self.path) == (name, "/.well-known/mta-sts.txt")
                self.send_response(host.status if found else 404)
                self.send_header("content-type", host.kind)
                self.send_header("location", "https://elsewhere.example/")
                self.send_header("content-length", str(len(host.text)))
                self.end_headers()
                self.wfile.write(host.text.encode())

            def log_message(self, *_: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        self._server = http.server.ThreadingHTTPServer((ONE, 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._server.handle_error = lambda *_: None  # clients that do not trust it hang up
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


def policy(mode: str, pattern: str = "*.example.org", age: int = 86_400) -> str:
    return f"version: STSv1\r\nmode: {mode}\r\nmx: {pattern}\r\nmax_age: {age}\r\n"


PUBLISHED = {
    "_mta-sts.example.org": {"TXT": ['"v=STSv1; id=20260101;"']},
    "mta-sts.example.org": {"A": [ONE]},
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("mode", "pattern", "certificate", "kind"),
    [
        ("enforce", "*.example.org", "mx1.example.org", "accepted"),
        ("enforce", "mx1.example.org", "mx1.example.org", "accepted"),
        ("enforce", "*.example.org", "mx7.example.org", "retry"),
        ("enforce", "*.example.org", None, "retry"),
        ("enforce", "mx7.example.org", "mx1.example.org", "retry"),
        ("testing", "mx7.example.org", "mx7.example.org", "accepted"),
        ("testing", "*.example.org", None, "accepted"),
        ("none", "mx7.example.org", None, "accepted"),
    ],
)
def test_a_policy_is_followed(
    authority: trustme.CA, ca_file: str, mode: str, pattern: str, certificate: str | None, kind: str
) -> None:
    tls = {"tls": "starttls", "names": (certificate,), "authority": authority} if certificate else {}
    with (
        Sink(**tls) as sink,
        Names({**zone(ONE), **PUBLISHED}) as names,
        _PolicyHost(authority, policy(mode, pattern)) as host,
    ):
        provider = mx(names, sink.port, policy_port=host.port, ca_file=ca_file)
        (outcome,) = send(provider, outgoing("jane@example.org"))
        assert outcome.kind.value == kind, outcome.reply
        assert host.calls == 1
        assert sink.count == (1 if kind == "accepted" else 0)
        if kind == "retry":
            assert outcome.reply.enhanced in {"4.7.4", "4.7.5"}


def test_a_server_the_policy_does_not_name_is_passed_over(authority: trustme.CA, ca_file: str) -> None:
    tls = {"tls": "starttls", "names": ("mx2.example.org",), "authority": authority}
    with (
        two_sinks(**tls) as (first, second),
        Names({**zone(ONE, TWO), **PUBLISHED}) as names,
        _PolicyHost(authority, policy("enforce", "mx2.example.org")) as host,
    ):
        provider = mx(names, first.port, policy_port=host.port, ca_file=ca_file)
        (outcome,) = send(provider, outgoing("jane@example.org"))
        assert outcome.kind is OutcomeKind.ACCEPTED
        assert (first.connections, second.count) == (0, 1)


@pytest.mark.parametrize("wrong", ["status", "kind", "text", "certificate", "private"])
def test_a_policy_that_cannot_be_had_is_none(authority: trustme.CA, ca_file: str, wrong: str) -> None:
    with (
        Sink() as sink,
        Names({**zone(ONE), **PUBLISHED}) as names,
        _PolicyHost(authority if wrong != "certificate" else trustme.CA(), policy("enforce")) as host,
    ):
        if wrong == "status":
            host.status = 301
        elif wrong == "kind":
            host.kind = "text/html"
        elif wrong == "text":
            host.text = "version: STSv1\nmode: enforce\nmax_age: 10\n"
        elif wrong == "private":
            names.zone["mta-sts.example.org"] = {"MX": ["0 ."]}
        provider = mx(names, sink.port, policy_port=host.port, ca_file=ca_file)
        (outcome,) = send(provider, outgoing("jane@example.org"))
        assert outcome.kind is OutcomeKind.ACCEPTED
        assert host.calls == (0 if wrong in {"certificate", "private"} else 1)


def test_a_policy_is_kept_while_it_lasts_and_outlives_its_host(
    authority: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.mx.sts._LOOK", 0.0)
    with (
        Sink() as sink,
        Names({**zone(ONE), **PUBLISHED}) as names,
        _PolicyHost(authority, policy("enforce")) as host,
    ):
        provider = mx(names, sink.port, policy_port=host.port, ca_file=ca_file)

        async def story() -> list[str]:
            async def ask() -> str:
                return (await provider.send([outgoing("jane@example.org")]))[0][0].kind.value

            found = [await ask(), await ask()]
            assert host.calls == 1
            # Somebody in between takes the record away: the policy holds all the same (RFC 8461 5.1).
            del names.zone["_mta-sts.example.org"]
            found.append(await ask())
            # A new policy, which says so by its id.
            names.zone["_mta-sts.example.org"] = {"TXT": ['"v=STSv1; id=20260202;"']}
            host.text = policy("none")
            found.append(await ask())
            assert host.calls == 2
            await provider.aclose()
            return found

        assert asyncio.run(story()) == ["retry", "retry", "retry", "accepted"]


def test_mail_that_comes_while_the_policy_is_looked_up_waits_for_it(
    authority: trustme.CA, ca_file: str
) -> None:
    with (
        Sink() as sink,
        Names({**zone(ONE), **PUBLISHED}) as names,
        _PolicyHost(authority, policy("enforce")) as host,
    ):
        provider = mx(names, sink.port, policy_port=host.port, ca_file=ca_file)
        found = send(provider, *(outgoing(f"{number}@example.org") for number in range(20)))
        assert {one.kind for one in found} == {OutcomeKind.RETRY}
        assert (host.calls, sink.count) == (1, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: STSv2\nmode: none\nmax_age: 1",
        "version: STSv1\nmode: perhaps\nmx: a.example\nmax_age: 1",
        "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: soon",
    ],
)
def test_what_is_no_policy(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("mx.example.org", "mx.example.org", True),
        ("*.example.org", "mx.example.org", True),
        ("*.example.org", "a.mx.example.org", False),
        ("*.example.org", "example.org", False),
        ("example.org", "mx.example.org", False),
    ],
)
def test_patterns(pattern: str, host: str, allowed: bool) -> None:
    found = parse(policy("enforce", pattern))
    assert found is not None
    assert found.allows(host) is allowed


# For the operator.


def test_check_says_whether_the_name_leads_here_and_back() -> None:
    with Names({"mail.example.com": {"A": [ONE]}}) as names:

        async def checked() -> str:
            provider = mx(names, 25)
            try:
                return await provider.check()
            finally:
                await provider.aclose()

        assert "does not lead back" in asyncio.run(checked())
        names.zone["1.0.0.127.in-addr.arpa"] = {"PTR": ["mail.example.com."]}
        assert "does not lead back" not in asyncio.run(checked())
        names.zone.clear()
        with pytest.raises(ProviderProblem, match=r"mail\.example\.com"):
            asyncio.run(checked())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "hostname is needed"),
        ({"hostname": "two words"}, "hostname must be"),
        ({"hostname": "mail.example.com", "resolver": "dns.example.com"}, "resolver must be an IP address"),
        ({"hostname": "mail.example.com", "source_address": "eth0"}, "source_address must be an IP address"),
        ({"hostname": "mail.example.com", "source_address": "::1", "ip": "v4"}, "not of the version"),
        ({"hostname": "mail.example.com", "tls": "none"}, "mta_sts has no meaning"),
        ({"hostname": "mail.example.com", "ca_file": "/nowhere.pem"}, "ca_file cannot be used"),
        ({"hostname": "mail.example.com", "ip": "v5"}, "ip must be one of"),
    ],
)
def test_options_that_cannot_be_used_are_named(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        Mx("direct", options)


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("providers.mx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dns.resolver", None)
    with pytest.raises(Misconfigured, match=r"'mx' cannot be loaded.*pip install 'pillarbox\[mx\]'"):
        registry.build({"direct": {"type": "mx", "hostname": "mail.example.com"}})
    assert registry.capabilities("mx") is None
