"""The `sendgrid` provider. https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from providers.api import PartsProvider
from providers.http import Answer, Call, json_call, read_http
from providers.options import Options
from providers.reporting import Reporting, read_keys
from providers.sendgrid import events
from providers.sendgrid.outcomes import judge
from providers.sendgrid.payload import message
from providers.told import Told
from relay.core.parts import Parts
from relay.core.provider import Capabilities, Outgoing, Receipt, Report, WebhookRequest

__all__ = ["SendGrid"]


class SendGrid(Reporting, PartsProvider):
    """Options: `api_key`, `sandbox` (false: mails are checked and dropped by SendGrid), `webhook_key` (the public key
    that events verify with), `webhook_max_age`, and those of every API.

    For subusers in the EU say `base_url = "https://api.eu.sendgrid.com"`.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True,
        raw=False,
        shows_all_recipients=False,
        max_recipients=1,
        max_bytes=30_000_000,
        envelope_sender=False,
        keeps_message_id=False,
        alternatives=True,
    )

    def _configure(self, read: Options) -> None:
        key = read.needed("api_key")
        self._sandbox = read.flag("sandbox", default=False)
        self._webhook = read_keys(read, dated=True, known=events.known)
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

    def _verify(self, request: WebhookRequest) -> None:
        events.verify(self._webhook, request)

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        return events.reports(told, request)
