"""The `mailjet` provider, version 3.1. https://dev.mailjet.com/email/guides/send-api-v31/"""

import base64
from collections.abc import Sequence
from typing import Any, ClassVar

from providers.api import PartsProvider
from providers.http import Answer, Call, json_call, read_http
from providers.mailjet.outcomes import judge
from providers.mailjet.payload import message
from providers.options import Options
from relay.core.parts import Parts
from relay.core.provider import Capabilities, Outgoing, Receipt

__all__ = ["Mailjet"]


class Mailjet(PartsProvider):
    """Options: `api_key` (public), `secret_key` (private), `sandbox` (false: mails are checked and not sent), and
    those of every API.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        raw=False,
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
