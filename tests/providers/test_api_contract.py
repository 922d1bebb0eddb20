"""The contract over every vendor's API, against the fakes."""

from typing import Any, ClassVar

from providers.mailgun import Mailgun
from providers.postmark import Postmark
from providers.resend import Resend
from providers.sendgrid import SendGrid
from providers.ses import Ses
from tests.providers.fakery import FakedContract


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
