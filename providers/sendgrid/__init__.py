"""The `sendgrid` provider. https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send"""

from collections.abc import Sequence
from typing import Any, ClassVar

from providers.api import PartsProvider
from providers.http import Answer, Call, json_call, read_http
from providers.options import Options
from providers.sendgrid.outcomes import judge
from providers.sendgrid.payload import message
from relay.core.parts import Parts
from relay.core.provider import Capabilities, Outgoing, Receipt

__all__ = ["SendGrid"]


class SendGrid(PartsProvider):
    """Options: `api_key`, `sandbox` (false: mails are checked and dropped by SendGrid), and those of every API.

    For subusers in the EU say `base_url = "https://api.eu.sendgrid.com"`.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        raw=False,
        max_recipients=1,
        max_bytes=30_000_000,
        envelope_sender=False,
        keeps_message_id=False,
        alternatives=True,
    )

    def _configure(self, read: Options) -> None:
        key = read.needed("api_key")
        self._sandbox = read.flag("sandbox", default=False)
        self._open(
            read_http(read, "https://api.sendgrid.com"),
            headers={"authorization": f"Bearer {key}"},
            secrets=(key,),
        )

    def _message(self, mail: Outgoing, parts: Parts) -> dict[str, Any]:
        return message(mail, parts, sandbox=self._sandbox)

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        return json_call("/v3/mail/send", self._said(mail))

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [(judge(answer),)]

    async def _probe_call(self) -> Call:
        # Not an empty mail: SendGrid has been seen to bar senders of many bad requests for a while.
        return Call("/v3/scopes", method="GET")
