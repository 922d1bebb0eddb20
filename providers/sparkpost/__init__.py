"""The `sparkpost` provider: MIME by API. https://developers.sparkpost.com/api/transmissions/"""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from providers.api import ApiProvider
from providers.http import Answer, Call, json_call, read_http
from providers.options import Options
from providers.reporting import Reporting, read_login
from providers.sparkpost import events
from providers.sparkpost.outcomes import judge
from providers.sparkpost.payload import fits, transmission
from providers.told import Told
from relay.core.provider import Capabilities, Outgoing, Receipt, Report, WebhookRequest

__all__ = ["SparkPost"]

_REGIONS = {"us": "https://api.sparkpost.com", "eu": "https://api.eu.sparkpost.com"}


class SparkPost(Reporting, ApiProvider):
    """Options: `api_key`, `region` ("us" or "eu"), `subaccount`, `return_path` (an address at a bounce domain that
    is verified there), `webhook_user` and `webhook_password` (what its events come with), and those of every API.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True, max_recipients=1, max_bytes=20_000_000, envelope_sender=False, keeps_message_id=False
    )
    probe: ClassVar[str] = "/api/v1/transmissions"

    def _configure(self, read: Options) -> None:
        key = read.needed("api_key")
        self._webhook = read_login(read)
        base_url = _REGIONS[read.choice("region", "us", tuple(_REGIONS))]
        self._return_path = read.text("return_path")
        subaccount = read.text("subaccount")
        # No scheme word before the key.
        headers = {"authorization": key, **({"x-msys-subaccount": subaccount} if subaccount else {})}
        self._open(read_http(read, base_url), headers=headers, secrets=(key,))

    def _fits(self, mail: Outgoing) -> None:
        super()._fits(mail)
        fits(mail)

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        return json_call("/api/v1/transmissions", transmission(mail, self._return_path))

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [(judge(answer),)]

    def _verify(self, request: WebhookRequest) -> None:
        self._webhook.check(request)

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        return events.reports(told, request)
