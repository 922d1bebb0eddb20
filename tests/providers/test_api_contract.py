"""The contract over every vendor's API, against the fakes."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from providers.azure import Azure
from providers.brevo import Brevo
from providers.file import File
from providers.gmail import Gmail
from providers.graph import Graph
from providers.mailersend import MailerSend
from providers.mailgun import Mailgun
from providers.mailjet import Mailjet
from providers.mailtrap import Mailtrap
from providers.postmark import Postmark
from providers.resend import Resend
from providers.sendgrid import SendGrid
from providers.ses import Ses
from providers.sparkpost import SparkPost
from providers.webhook import Webhook
from relay.testing import Arrival, ProviderContract
from tests.providers.fakery import FakedContract

WITHOUT_NAME = b"From: ann@example.com\r\nTo: list@example.org\r\nSubject: hello\r\n\r\nOne line.\r\n"
WITH_HTML = (
    b"From: Ann <ann@example.com>\r\nTo: list@example.org\r\nSubject: hello\r\n"
    b"Content-Type: text/html\r\n\r\n<p>One line.</p>\r\n"
)


class TestMailgun(FakedContract):
    kind = Mailgun
    vendor = "mailgun"
    options: ClassVar[dict[str, Any]] = {"domain": "example.com"}


class TestPostmark(FakedContract):
    kind = Postmark
    vendor = "postmark"
    key_option = "token"


class TestResend(FakedContract):
    kind = Resend
    vendor = "resend"


class TestSendGrid(FakedContract):
    kind = SendGrid
    vendor = "sendgrid"


class TestSes(FakedContract):
    kind = Ses
    vendor = "ses"
    key_option = "secret_key"
    options: ClassVar[dict[str, Any]] = {"region": "eu-west-1", "access_key": "AKIAFAKE"}


class TestBrevo(FakedContract):
    kind = Brevo
    vendor = "brevo"
    raw = WITH_HTML


class TestMailerSend(FakedContract):
    kind = MailerSend
    vendor = "mailersend"


class TestMailjet(FakedContract):
    kind = Mailjet
    vendor = "mailjet"
    key_option = "secret_key"
    options: ClassVar[dict[str, Any]] = {"api_key": "public"}


class TestMailtrap(FakedContract):
    kind = Mailtrap
    vendor = "mailtrap"
    key_option = "token"


class TestSparkPost(FakedContract):
    kind = SparkPost
    vendor = "sparkpost"


class TestAzure(FakedContract):
    kind = Azure
    vendor = "azure"
    raw = WITHOUT_NAME

    def given(self, **more: Any) -> dict[str, Any]:
        key = base64.b64encode(b"fake-key").decode()
        return {"base_url": self.server.url("azure"), "access_key": key, **self._believing(), **more}

    def secret(self) -> str:
        return base64.b64encode(b"fake-key").decode()


class _WithTokens(FakedContract):
    key_option = "client_secret"
    #: the token is an answer that has to come in time
    patience = 3

    def given(self, **more: Any) -> dict[str, Any]:
        return super().given(**{"token_url": self.token_url(), "client_id": "client", **more})

    def token_url(self) -> str:
        return f"{self.server.url(self.vendor)}/token"


class TestGraph(_WithTokens):
    kind = Graph
    vendor = "graph"
    options: ClassVar[dict[str, Any]] = {"mailbox": "ann@example.com", "tenant": "example.com"}

    def token_url(self) -> str:
        return f"{self.server.url('graph')}/example.com/oauth2/v2.0/token"


class TestGmail(_WithTokens):
    kind = Gmail
    vendor = "gmail"
    options: ClassVar[dict[str, Any]] = {"refresh_token": "refresh"}


class TestWebhook(FakedContract):
    kind = Webhook
    vendor = "http"
    key_option = "secret"

    def given(self, **more: Any) -> dict[str, Any]:
        given = super().given(**more)
        return {"url": given.pop("base_url"), **given}

    def arrivals(self) -> Sequence[Arrival]:
        return [Arrival(one.said["sender"], one.recipients, one.raw or b"") for one in self.fake.kept]


class TestFile(ProviderContract):
    refused = busy = None

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "Maildir"

    def make(self) -> File:
        return self.options_with()()

    def options_with(self, **more: Any):
        return lambda: File("local", {"directory": str(self.path), "envelope": True, "sync": False, **more})

    def arrivals(self) -> Sequence[Arrival]:
        found = []
        for path in sorted((self.path / "new").glob("*"), key=lambda p: p.stat().st_mtime_ns):
            raw = path.read_bytes()
            envelope, _, rest = raw.partition(b"From: ")
            lines = envelope.decode().split("\r\n")
            recipients = tuple(
                line.removeprefix("Delivered-To: ") for line in lines if line.startswith("Delivered")
            )
            found.append(
                Arrival(lines[0].removeprefix("Return-Path: <").rstrip(">"), recipients, b"From: " + rest)
            )
        return found
