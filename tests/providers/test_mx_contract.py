"""The contract, straight to a recipient's server that a name server of ours leads to."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from providers.mx import Mx
from relay.testing import Arrival, ProviderContract
from tests.names import Names
from tests.providers.fakery import NOBODY
from tests.sink import Fault, Sink

ZONE = {
    "example.org": {"MX": ["10 mx.example.org."]},
    "b.b": {"MX": ["10 mx.example.org."]},
    "mx.example.org": {"A": ["127.0.0.1"]},
    "mail.example.com": {"A": ["127.0.0.1"]},
    "1.0.0.127.in-addr.arpa": {"PTR": ["mail.example.com."]},
}


class TestMx(ProviderContract):
    refused = "refuse@example.org"
    busy = "busy@example.org"
    tls = "none"

    @pytest.fixture(autouse=True)
    def _servers(self) -> Iterator[None]:
        with Sink(tls=self.tls) as self.sink, Names(ZONE) as self.names:
            yield

    def options(self) -> dict[str, Any]:
        return {
            "hostname": "mail.example.com",
            "port": self.sink.port,
            "resolver": self.names.address,
            "allow_private": True,
        }

    def make(self) -> Mx:
        return Mx("direct", self.options())

    def options_with(self, **more: Any) -> Callable[[], Mx]:
        return lambda: Mx("direct", {**self.options(), **more})

    def unreachable(self) -> Mx:
        return self.options_with(port=NOBODY)()

    def losing_the_line(self) -> Mx:
        self.sink.misbehave(Fault.CLOSE_AFTER_DATA)
        return self.make()

    def arrivals(self) -> Sequence[Arrival]:
        return [Arrival(one.sender, one.recipients, one.raw) for one in self.sink.mails]


class TestMxOverTls(TestMx):
    tls = "starttls"
