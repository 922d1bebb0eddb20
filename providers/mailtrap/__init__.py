"""The `mailtrap` provider. https://api-docs.mailtrap.io/docs/mailtrap-api-docs/67f1d70aeb62c-send-email"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from providers.api import PartsProvider
from providers.http import Answer, Call, json_call, read_http
from providers.mailtrap import events
from providers.mailtrap.outcomes import judge, judge_batch
from providers.mailtrap.payload import message
from providers.options import Options
from providers.reporting import Reporting, read_keys
from providers.told import Told
from relay.core.parts import Parts
from relay.core.provider import Capabilities, Outgoing, Receipt, Report, WebhookRequest

__all__ = ["Mailtrap"]

_STREAMS = {"transactional": "https://send.api.mailtrap.io", "bulk": "https://bulk.api.mailtrap.io"}
_SANDBOX = "https://sandbox.api.mailtrap.io"


class Mailtrap(Reporting, PartsProvider):
    """Options: `token`, `stream` ("transactional" or "bulk"), `sandbox_inbox` (mails go into that inbox and nowhere
    else), `webhook_key` (the signing secret of events), and those of every API.

    A batch may be 500 mails; fewer limit how many are in doubt when the line is lost within one.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True,
        raw=False,
        shows_all_recipients=False,
        batch_size=50,
        max_recipients=1,
        envelope_sender=False,
        keeps_message_id=False,
        many_reply_to=False,
    )

    def _configure(self, read: Options) -> None:
        token = read.needed("token")
        self._webhook = read_keys(read)
        stream = read.choice("stream", "transactional", tuple(_STREAMS))
        inbox = read.integer("sandbox_inbox", 0, least=0, most=10**15)
        self._suffix = f"/{inbox}" if inbox else ""
        self._open(
            read_http(read, _SANDBOX if inbox else _STREAMS[stream]),
            headers={"authorization": f"Bearer {token}"},
            secrets=(token,),
        )

    def _message(self, mail: Outgoing, parts: Parts) -> dict[str, Any]:
        return message(mail, parts)

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        said = [self._said(mail) for mail in mails]
        if len(said) == 1:
            return json_call(f"/api/send{self._suffix}", said[0])
        return json_call(f"/api/batch{self._suffix}", {"requests": said})

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return judge_batch(answer, mails) if len(mails) > 1 else [(judge(answer),)]

    async def _probe_call(self) -> Call:
        return json_call(f"/api/send{self._suffix}", {})

    def _verify(self, request: WebhookRequest) -> None:
        events.verify(self._webhook, request)

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        return events.reports(told, request)
