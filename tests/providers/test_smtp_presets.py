"""Smarthosts by name, and signing in by access token."""

import asyncio
from typing import Any

import pytest

from providers.smtp import Smtp
from providers.smtp.options import Tls, read_options
from providers.smtp.presets import PRESETS
from relay.core.errors import Misconfigured
from relay.core.provider import OutcomeKind
from relay.testing import outgoing
from tests.providers.fakery import FakeServer
from tests.sink import Sink


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_submission_with_tls(name: str) -> None:
    given = {
        "preset": name,
        "username": "ann",
        "password": "x",
        **({"region": "eu-west-1"} if name == "ses" else {}),
    }
    read = read_options(given)
    assert "{" not in read.host
    assert read.tls is (Tls.IMPLICIT if read.port == 465 else Tls.REQUIRE)
    assert read.verify


def test_a_preset_knows_the_usual_name_and_gives_way_to_what_is_said() -> None:
    read = read_options({"preset": "sendgrid", "password": "key"})
    assert (read.host, read.port, read.username) == ("smtp.sendgrid.net", 587, "apikey")
    read = read_options(
        {"preset": "gmail", "host": "127.0.0.1", "port": 465, "username": "a", "password": "b"}
    )
    assert (read.host, read.tls) == ("127.0.0.1", Tls.IMPLICIT)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"preset": "hotmale"}, "preset must be one of"),
        ({"preset": "ses", "username": "a", "password": "b"}, "region is needed"),
        ({"preset": "gmail", "oauth": "google", "username": "a"}, "client_id is needed"),
        (
            {"preset": "gmail", "oauth": "google", "username": "a", "password": "b", "client_id": "c"}
            | {"client_secret": "d", "refresh_token": "e"},
            "no password",
        ),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        read_options(given)


class Office:
    """A smarthost that takes access tokens, and Microsoft's token endpoint."""

    def __init__(self, sink: Sink, fakes: FakeServer) -> None:
        self.sink, self.fakes = sink, fakes
        self.fake = fakes.fakes["graph"]

    def provider(self) -> Smtp:
        options = {
            "preset": "office365",
            "host": "localhost",
            "port": self.sink.port,
            "ca_file": self.sink.ca_file,
            "username": "ann",
            "oauth": "microsoft",
            "tenant": "example.com",
            "client_id": "client",
            "client_secret": "fake-key",
            "token_url": f"{self.fakes.url('graph')}/example.com/oauth2/v2.0/token",
        }
        return Smtp("office", options)


@pytest.fixture
def office(fake_server: FakeServer):
    with Sink(tls="starttls", users={"ann": "no token yet"}) as sink:
        sink.mechanisms = "XOAUTH2 LOGIN PLAIN"
        yield Office(sink, fake_server)


def _send(provider: Smtp, times: int = 1) -> list[OutcomeKind]:
    async def run() -> list[OutcomeKind]:
        try:
            return [(await provider.send([outgoing("jane@example.org")]))[0][0].kind for _ in range(times)]
        finally:
            await provider.aclose()

    return asyncio.run(run())


def test_an_access_token_signs_in(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: "the-token")
    office.sink.users["ann"] = "the-token"
    assert _send(office.provider(), 2) == [OutcomeKind.ACCEPTED] * 2
    assert len(office.fake.requests) == 1
    assert len(office.sink.mails) == 2


def test_a_token_that_is_not_taken_is_for_the_operator_and_not_kept(office: Office) -> None:
    assert _send(office.provider(), 2) == [OutcomeKind.CONFIG] * 2
    assert len(office.fake.requests) == 2


def test_without_a_token_nothing_is_sent(office: Office) -> None:
    office.fake.key = "another"
    provider = office.provider()

    async def run() -> str:
        ((outcome,),) = await provider.send([outgoing("jane@example.org")])
        await provider.aclose()
        assert outcome.kind is OutcomeKind.CONFIG
        return str(outcome.reply)

    said = asyncio.run(run())
    assert "invalid_client" in said
    assert "fake-key" not in said
    assert not office.sink.mails


def test_a_server_without_xoauth2_is_for_the_operator(office: Office) -> None:
    office.sink.mechanisms = "PLAIN"
    assert _send(office.provider()) == [OutcomeKind.CONFIG]
