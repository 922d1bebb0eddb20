"""The `mailjet` provider, version 3.1. https://dev.mailjet.com/email/guides/send-api-v31/"""

import base64
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from providers.api import PartsProvider
from providers.http import Answer, Call, json_call, read_http
from providers.mailjet import events
from providers.mailjet.outcomes import judge
from providers.mailjet.payload import message
from providers.options import Options
from providers.reporting import Reporting, read_login
from providers.told import Told
from relay.core.parts import Parts
from relay.core.provider import Capabilities, Outgoing, Receipt, Report, WebhookRequest

__all__ = ["Mailjet"]


class Mailjet(Reporting, PartsProvider):
    """Options: `api_key` (public), `secret_key` (private), `sandbox` (false: mails are checked and not sent),
    `webhook_user` and `webhook_password` (what its events come with), and those of every API.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True,
        raw=False,
        shows_all_recipients=False,
        batch_size=50,
        max_recipients=1,
        max_attachment_bytes=15_000_000,
        envelope_sender=False,
        keeps_message_id=False,
        many_reply_to=False,
    )
    probe: ClassVar[str] = "/v3.1/send"

    def _configure(self, read: Options) -> None:
        key, secret = read.needed("api_key"), read.needed("secret_key")
        self._sandbox = read.flag("sandbox", default=False)
        self._webhook = read_login(read)
        credential = base64.b64encode(f"{key}:{secret}".encode()).decode()
        self._open(
            read_http(read, "https://api.mailjet.com"),
            headers={"authorization": f"Basic {credential}"},
            secrets=(secret, credential),
        )

    def _message(self, mail: Outgoing, parts: Parts) -> dict[str, Any]:
        return message(mail, parts)

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        said = {"Messages": [self._said(mail) for mail in mails]}
        return json_call("/v3.1/send", {**said, "SandboxMode": True} if self._sandbox else said)

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return judge(answer, mails)

    def _verify(self, request: WebhookRequest) -> None:
        self._webhook.check(request)

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        return events.reports(told, request)
