"""The `mailersend` provider. https://developers.mailersend.com/api/v1/email.html"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from providers.api import PartsProvider
from providers.http import Answer, Call, json_call, read_http
from providers.mailersend import events
from providers.mailersend.outcomes import judge
from providers.mailersend.payload import message, unnamed
from providers.options import Options
from providers.reporting import Reporting, read_keys
from providers.told import Told
from relay.core.parts import Parts, Unsayable
from relay.core.provider import Capabilities, Outgoing, Receipt, Report, WebhookAnswer, WebhookRequest

__all__ = ["MailerSend"]


class MailerSend(Reporting, PartsProvider):
    """Options: `api_key`, `custom_headers` ("refuse", "send" or "drop"), `webhook_key` (the signing secret of
    events), and those of every API.

    Only MailerSend's largest plan takes headers of one's own. With the others a mail that has any is refused, so
    that routing can take another way, unless `custom_headers` says to leave them out.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True,
        raw=False,
        shows_all_recipients=False,
        max_recipients=1,
        max_attachment_bytes=25_000_000,
        envelope_sender=False,
        keeps_message_id=False,
        many_reply_to=False,
    )
    probe: ClassVar[str] = "/v1/email"

    def _configure(self, read: Options) -> None:
        key = read.needed("api_key")
        self._webhook = read_keys(read)
        self._custom_headers = read.choice("custom_headers", "refuse", ("refuse", "send", "drop"))
        self._open(
            read_http(read, "https://api.mailersend.com"),
            headers={"authorization": f"Bearer {key}"},
            secrets=(key,),
        )

    def _allowed(self, parts: Parts) -> None:
        super()._allowed(parts)
        others = unnamed(parts)
        if others and self._custom_headers == "refuse":
            raise Unsayable(f"the mail has the header field {others[0][0]}; see custom_headers")

    def _message(self, mail: Outgoing, parts: Parts) -> dict[str, Any]:
        return message(mail, parts, headers=self._custom_headers == "send")

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        said = self._said(mail)
        return json_call("/v1/email", said)

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [(judge(answer),)]

    def _greeting(self, request: WebhookRequest) -> WebhookAnswer | None:
        return WebhookAnswer() if events.is_test(request) else None

    def _verify(self, request: WebhookRequest) -> None:
        events.verify(self._webhook, request)

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        return events.reports(told, request)
