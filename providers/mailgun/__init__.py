"""The `mailgun` provider: MIME by API. https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages"""

import base64
from collections.abc import Iterable, Sequence
from typing import ClassVar

from providers.api import ApiProvider
from providers.http import Answer, Call, read_http
from providers.mailgun import events
from providers.mailgun.outcomes import judge
from providers.mailgun.payload import form
from providers.options import Options
from providers.reporting import Reporting, read_keys
from providers.told import Told
from relay.core.errors import Misconfigured
from relay.core.provider import Capabilities, Outgoing, ProviderProblem, Receipt, Report, WebhookRequest

__all__ = ["Mailgun"]

_REGIONS = {"us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}


class Mailgun(Reporting, ApiProvider):
    """Options: `domain`, `api_key` (of the account, or one for sending only), `region` ("us" or "eu"), `test`
    (false: mails are taken and not sent), `webhook_key` (the HTTP webhook signing key), `webhook_max_age`, and those
    of every API.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True, max_recipients=1, max_bytes=25_000_000, envelope_sender=False
    )

    def _configure(self, read: Options) -> None:
        key = read.needed("api_key")
        domain = read.needed("domain").lower()
        if not domain.replace(".", "").replace("-", "").isalnum():
            raise Misconfigured("domain must be a domain name")
        base_url = _REGIONS[read.choice("region", "us", tuple(_REGIONS))]
        self._test = read.flag("test", default=False)
        self._webhook = read_keys(read, dated=True)
        self._seen = events.Seen()
        self._path = f"/v3/{domain}/messages.mime"
        credential = base64.b64encode(f"api:{key}".encode()).decode()
        self._open(
            read_http(read, base_url),
            headers={"authorization": f"Basic {credential}"},
            secrets=(key, credential),
        )

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        content, kind = form(mail, test=self._test)
        return Call(self._path, content, {"content-type": kind})

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [(judge(answer),)]

    async def _probe_call(self) -> Call:
        # A key for sending only may do nothing else; a mail without recipients is asked for them.
        return Call(self._path, b"", {"content-type": "application/x-www-form-urlencoded"})

    def _found(self, answer: Answer) -> str:
        if answer.status == 401:
            raise ProviderProblem("the key is wrong, or belongs to the other region")
        if answer.status == 404:
            raise ProviderProblem("the domain is not known in this region")
        return super()._found(answer)

    def _verify(self, request: WebhookRequest) -> None:
        events.verify(self._webhook, self._seen, request)

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        return events.reports(told, request)
