"""The `brevo` provider. https://developers.brevo.com/reference/sendtransacemail"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from providers.api import PartsProvider
from providers.brevo import events
from providers.brevo.outcomes import judge
from providers.brevo.payload import allowed, message
from providers.http import Answer, Call, json_call, read_http
from providers.options import Options
from providers.reporting import Reporting, read_login
from providers.told import Told
from relay.core.parts import Parts
from relay.core.provider import Capabilities, Outgoing, Receipt, Report, WebhookRequest

__all__ = ["Brevo"]


class Brevo(Reporting, PartsProvider):
    """Options: `api_key`, `sandbox` (false: mails are checked and dropped by Brevo), `webhook_user` and
    `webhook_password` (what its events come with), and those of every API.

    Brevo knows a repeat within 30 minutes by our key. Recipients can see our token, in the header `X-Mailin-custom`:
    Brevo returns nothing else in its events.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True,
        raw=False,
        shows_all_recipients=False,
        max_recipients=1,
        max_bytes=20_000_000,
        envelope_sender=False,
        keeps_message_id=False,
        idempotent=True,
        inline=False,
        text_only=False,
        many_reply_to=False,
    )
    probe: ClassVar[str] = "/v3/smtp/email"

    def _configure(self, read: Options) -> None:
        key = read.needed("api_key")
        self._sandbox = read.flag("sandbox", default=False)
        self._webhook = read_login(read)
        self._open(read_http(read, "https://api.brevo.com"), headers={"api-key": key}, secrets=(key,))

    def _allowed(self, parts: Parts) -> None:
        super()._allowed(parts)
        allowed(parts)

    def _message(self, mail: Outgoing, parts: Parts) -> dict[str, Any]:
        return message(mail, parts, sandbox=self._sandbox)

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        return json_call("/v3/smtp/email", self._said(mail))

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [(judge(answer),)]

    def _verify(self, request: WebhookRequest) -> None:
        self._webhook.check(request)

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        return events.reports(told, request)
