"""The `postmark` provider. https://postmarkapp.com/developer/api/email-api"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from providers.api import PartsProvider
from providers.http import Answer, Call, json_call, read_http
from providers.options import Options
from providers.postmark import events
from providers.postmark.outcomes import judge, judge_batch
from providers.postmark.payload import message
from providers.reporting import Reporting, read_login
from providers.told import Told
from relay.core.parts import Parts
from relay.core.provider import Capabilities, Outgoing, Receipt, Report, WebhookRequest

__all__ = ["Postmark"]


class Postmark(Reporting, PartsProvider):
    """Options: `token` (of the server), `stream` ("outbound"), `webhook_user` and `webhook_password` (what its events
    come with), and those of every API.

    A batch may be 500 mails; fewer limit how many are in doubt when the line is lost within one.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True,
        raw=False,
        shows_all_recipients=False,
        batch_size=50,
        max_recipients=1,
        max_bytes=10_000_000,
        envelope_sender=False,
    )
    probe: ClassVar[str] = "/email"

    def _configure(self, read: Options) -> None:
        token = read.needed("token")
        self._webhook = read_login(read)
        self._stream = read.text("stream", "outbound") or "outbound"
        self._open(
            read_http(read, "https://api.postmarkapp.com"),
            headers={"x-postmark-server-token": token},
            secrets=(token,),
        )

    def _message(self, mail: Outgoing, parts: Parts) -> dict[str, Any]:
        return message(mail, parts, self._stream)

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        messages = [self._said(mail) for mail in mails]
        return json_call("/email", messages[0]) if len(mails) == 1 else json_call("/email/batch", messages)

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return judge_batch(answer, mails) if len(mails) > 1 else [(judge(answer),)]

    def _verify(self, request: WebhookRequest) -> None:
        self._webhook.check(request)

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        return events.reports(told, request)
