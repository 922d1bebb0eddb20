"""The `resend` provider. https://resend.com/docs/api-reference/emails/send-email"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from providers.api import PartsProvider
from providers.http import Answer, Call, json_call, read_http
from providers.options import Options
from providers.reporting import Reporting, read_keys
from providers.resend import events
from providers.resend.outcomes import judge
from providers.resend.payload import message
from providers.told import Told
from relay.core.parts import Parts
from relay.core.provider import Capabilities, Outgoing, Receipt, Report, WebhookRequest

__all__ = ["Resend"]


class Resend(Reporting, PartsProvider):
    """Options: `api_key`, `webhook_key` (the signing secret of events), `webhook_max_age`, and those of every API.

    One mail per call although Resend takes batches: its idempotency key then names the mail, and a repeat after
    a lost line is never a double. A batch would have to be repeated with the very same mails for that.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True,
        raw=False,
        shows_all_recipients=False,
        max_recipients=1,
        max_bytes=40_000_000,
        idempotent=True,
        envelope_sender=False,
        keeps_message_id=False,
    )
    probe: ClassVar[str] = "/emails"

    def _configure(self, read: Options) -> None:
        key = read.needed("api_key")
        self._webhook = read_keys(read, dated=True, known=events.known)
        self._open(
            read_http(read, "https://api.resend.com"),
            headers={"authorization": f"Bearer {key}"},
            secrets=(key,),
        )

    def _message(self, mail: Outgoing, parts: Parts) -> dict[str, Any]:
        return message(mail, parts)

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        said = self._said(mail)
        return json_call("/emails", said, {"idempotency-key": mail.idempotency_key})

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [(judge(answer),)]

    def _verify(self, request: WebhookRequest) -> None:
        events.verify(self._webhook, request)

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        return events.reports(told, request)
