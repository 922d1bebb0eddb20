"""The `azure` provider: Azure Communication Services. https://learn.microsoft.com/en-us/rest/api/communication/email/email/send"""

import base64
import binascii
import uuid
from collections.abc import Iterable, Sequence
from typing import ClassVar

from providers.api import PartsProvider
from providers.azure import events
from providers.azure.outcomes import judge
from providers.azure.payload import message
from providers.azure.signing import signed
from providers.http import Answer, Call, read_http
from providers.options import Options
from providers.reporting import Reporting, read_login
from providers.told import Told
from relay.core.errors import Misconfigured
from relay.core.parts import Parts
from relay.core.provider import (
    Capabilities,
    Outgoing,
    ProviderProblem,
    Receipt,
    Report,
    WebhookAnswer,
    WebhookRequest,
)

__all__ = ["Azure"]

_VERSION = "api-version=2025-09-01"
#: makes our operation ids differ from everybody else's
_NAMESPACE = uuid.UUID("5c1f7c0e-9a55-5f0e-8f52-0d9c1b9a7f11")


class Azure(Reporting, PartsProvider):
    """Options: `endpoint` (https://<resource>.communication.azure.com), `access_key`, `webhook_user`
    and `webhook_password` (what its events come with), and those of every API.

    The name beside the sender's address is the one set at Azure, not the mail's. The operation's id is ours, so a
    repeat is the same operation, and events name it.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        events=True,
        raw=False,
        shows_all_recipients=False,
        max_recipients=1,
        max_bytes=10_000_000,
        idempotent=True,
        envelope_sender=False,
        keeps_message_id=False,
    )

    def _configure(self, read: Options) -> None:
        endpoint = read.text("endpoint") or read.text("base_url")
        if not endpoint:
            raise Misconfigured("endpoint is needed")
        key = read.needed("access_key")
        self._webhook = read_login(read)
        try:
            self._key = base64.b64decode(key, validate=True)
        except binascii.Error:
            raise Misconfigured("access_key must be base64, as Azure shows it") from None
        self._open(read_http(read, endpoint), secrets=(key,))

    def _message(self, mail: Outgoing, parts: Parts) -> bytes:
        return message(mail, parts)

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        operation = str(uuid.uuid5(_NAMESPACE, mail.idempotency_key))
        body = self._said(mail)
        return self._signed("POST", f"/emails:send?{_VERSION}", body, {"operation-id": operation})

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [(judge(answer),)]

    async def _probe_call(self) -> Call:
        # An operation that cannot exist: a key that works is told so.
        return self._signed("GET", f"/emails/operations/{uuid.UUID(int=0)}?{_VERSION}", b"", {})

    def _found(self, answer: Answer) -> str:
        if answer.status == 404:
            return f"{self._http.base_url} answers and knows the key"
        raise ProviderProblem(f"{self._http.base_url} answers {answer.status}: {answer.text}")

    def _signed(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Call:
        own = signed(method, self._http.base_url + path, body, self._key)
        return Call(path, body, {"content-type": "application/json", **headers, **own}, method)

    def _handshake(self, request: WebhookRequest) -> WebhookAnswer | None:
        return events.handshake(request)

    def _verify(self, request: WebhookRequest) -> None:
        self._webhook.check(request)

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        return events.reports(told, request)
