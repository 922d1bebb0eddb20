"""The contract over a smarthost, in each way of talking to one."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pytest

from providers.smtp import Smtp
from relay.testing import Arrival, ProviderContract
from tests.providers.fakery import NOBODY
from tests.sink import EVERYTHING, Fault, Sink


class TestPipelined(ProviderContract):
    refused = "refuse@example.org"
    busy = "busy@example.org"
    extensions: ClassVar[tuple[str, ...]] = EVERYTHING

    @pytest.fixture(autouse=True)
    def _sink(self) -> Iterator[None]:
        with Sink(extensions=self.extensions) as self.sink:
            yield

    def options(self) -> dict[str, Any]:
        return {"host": self.sink.host, "port": self.sink.port, "tls": "none"}

    def make(self) -> Smtp:
        return Smtp("office", self.options())

    def options_with(self, **more: Any) -> Callable[[], Smtp]:
        return lambda: Smtp("office", {**self.options(), **more})

    def unreachable(self) -> Smtp:
        return Smtp("office", {"host": "127.0.0.1", "port": NOBODY, "tls": "none"})

    def losing_the_line(self) -> Smtp:
        self.sink.misbehave(Fault.CLOSE_AFTER_DATA)
        return self.make()

    def arrivals(self) -> Sequence[Arrival]:
        return [Arrival(one.sender, one.recipients, one.raw) for one in self.sink.mails]


class TestCommandByCommand(TestPipelined):
    extensions = tuple(offer for offer in EVERYTHING if offer != "PIPELINING")


class TestByteByByte(TestPipelined):
    """Replies in the smallest pieces there are."""

    @pytest.fixture(autouse=True)
    def _sink(self) -> Iterator[None]:
        with Sink() as self.sink:
            self.sink.misbehave(Fault.BYTE_BY_BYTE)
            yield


class TestSignedIn(TestPipelined):
    """STARTTLS and AUTH."""

    @pytest.fixture(autouse=True)
    def _sink(self) -> Iterator[None]:
        with Sink(tls="starttls", users={"office": "s3cret phrase"}) as self.sink:
            yield

    def options(self) -> dict[str, Any]:
        return {
            "host": "localhost",
            "port": str(self.sink.port),
            "tls": "require",
            "ca_file": self.sink.ca_file,
            "username": "office",
            "password": "s3cret phrase",
        }

    def secret(self) -> str:
        return "s3cret phrase"

    def wrong_credentials(self) -> Smtp:
        self.sink.users = {"office": "another"}
        return self.make()


class TestImplicitTls(TestSignedIn):
    @pytest.fixture(autouse=True)
    def _sink(self) -> Iterator[None]:
        with Sink(tls="implicit", users={"office": "s3cret phrase"}) as self.sink:
            yield

    def options(self) -> dict[str, Any]:
        return {**super().options(), "tls": "implicit"}
