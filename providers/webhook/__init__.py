"""The `http` provider: posts each mail as signed JSON to a URL of the operator's. See `README.md` beside this."""

from collections.abc import Sequence
from typing import ClassVar

from providers.api import ApiProvider
from providers.http import Answer, Call, checked_url, read_http
from providers.options import Options
from providers.webhook.outcomes import judge
from providers.webhook.payload import body, signature
from relay.core.provider import Capabilities, Outgoing, ProviderProblem, Receipt

__all__ = ["Webhook"]


class Webhook(ApiProvider):
    """Options: `url`, `secret` (base64 after `whsec_`, or any text), and those of every API but its address."""

    capabilities: ClassVar[Capabilities] = Capabilities(max_bytes=50_000_000, idempotent=True, smtputf8=True)

    def _configure(self, read: Options) -> None:
        self._url = checked_url(read.needed("url"), "url")
        self._secret = read.needed("secret")
        self._open(read_http(read, self._url), secrets=(self._secret,))

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        content = body(mail)
        headers = signature(self._secret, mail.idempotency_key, content)
        return Call(self._url, content, {"content-type": "application/json", **headers})

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [judge(answer, mail) for mail in mails]

    async def _probe_call(self) -> Call:
        return Call(self._url, b"", signature(self._secret, "check", b""), "HEAD")

    def _found(self, answer: Answer) -> str:
        if answer.status in {401, 403, 404} or answer.status >= 500:
            raise ProviderProblem(f"the URL answers {answer.status}")
        return "the URL answers"
