"""The `ses` provider: Amazon SES v2, raw mail. https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html"""

from collections.abc import Sequence
from typing import ClassVar

from providers import reporting
from providers.api import ApiProvider
from providers.http import Answer, Call, read_http
from providers.options import Options
from providers.ses import events
from providers.ses.credentials import credentials
from providers.ses.notices import Notices
from providers.ses.outcomes import judge, quota
from providers.ses.payload import fits, message
from providers.ses.signing import signed
from relay.core.errors import Misconfigured
from relay.core.provider import (
    Capabilities,
    Outgoing,
    ProviderProblem,
    Receipt,
    Report,
    WebhookAnswer,
    WebhookRequest,
)

__all__ = ["Ses"]

_SEND = "/v2/email/outbound-emails"


class Ses(ApiProvider):
    """Options: `region`, `access_key` with `secret_key` and perhaps `session_token`, `configuration_set`, `topics`
    (ARNs of the SNS topics that events come by), and those of every API.

    `certificate_hosts` is for emulators of SNS and nothing else: hosts, each perhaps with a port, that are believed
    like Amazon's own.

    Without keys they are looked for where AWS's own tools look: environment, profiles, the machine's role. That
    takes `pip install pillarbox[aws]`. The identity needs `ses:SendEmail` and `ses:SendRawEmail`.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True,
        max_recipients=1,
        max_bytes=40_000_000,
        envelope_sender=False,
        keeps_message_id=False,
        # After a 401 SNS would try again with a user name and a password.
        refusal_status=403,
    )

    def _configure(self, read: Options) -> None:
        self._region = read.needed("region")
        if not self._region.replace("-", "").isalnum():
            raise Misconfigured("region must be the name of an AWS region, such as eu-west-1")
        access_key = read.text("access_key")
        secret_key = read.text("secret_key", secret=True)
        session_token = read.text("session_token", secret=True)
        self._configuration_set = read.text("configuration_set")
        self._credentials = credentials(access_key, secret_key, session_token)
        self._notices = Notices(read)
        known = (secret_key or "", session_token or "")
        self._open(read_http(read, f"https://email.{self._region}.amazonaws.com"), secrets=known)

    def _fits(self, mail: Outgoing) -> None:
        super()._fits(mail)
        fits(mail)

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        return await self._signed("POST", _SEND, message(mail, self._configuration_set))

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [(judge(answer),)]

    async def _probe_call(self) -> Call:
        return await self._signed("GET", "/v2/email/account", b"")

    def _found(self, answer: Answer) -> str:
        if answer.status != 200:
            raise ProviderProblem(f"{self._http.base_url} answers: {judge(answer).reply.text}")
        return quota(answer, self._region)

    async def _signed(self, method: str, path: str, body: bytes) -> Call:
        keys = await self._credentials()
        headers = signed(method, self._http.base_url + path, body, keys, self._region)
        return Call(path, body, headers, method)

    async def receive(self, request: WebhookRequest) -> WebhookAnswer | None:
        return await self._notices.receive(request, self._http)

    def read(self, request: WebhookRequest) -> Sequence[Report]:
        return reporting.read(request, events.reports)
