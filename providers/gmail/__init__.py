"""The `gmail` provider: Gmail and Workspace. https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages/send"""

from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import quote

from providers.addressed import addressed
from providers.api import ApiProvider
from providers.gmail.outcomes import judge
from providers.http import Answer, Call, NoAnswer, read_http
from providers.oauth import google
from providers.options import Options
from relay.core.provider import Capabilities, Outgoing, ProviderProblem, Receipt

__all__ = ["Gmail"]


class Gmail(ApiProvider):
    """Options: `mailbox` ("me"), `client_id`, `client_secret`, `refresh_token`, and those of every API.

    The token needs the scope `gmail.send`. Gmail writes to whom the mail's own fields name; see
    `providers.addressed`. All recipients go in one mail, and bounces come back to the mailbox as mail.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        raw=False,
        shows_all_recipients=False,
        max_recipients=500,
        max_bytes=36_700_160,
        per_recipient=False,
        envelope_sender=False,
    )

    def _configure(self, read: Options) -> None:
        mailbox = quote(read.text("mailbox", "me") or "me", safe="@")
        self._path = f"/upload/gmail/v1/users/{mailbox}/messages/send?uploadType=media"
        self._tokens = google(read)
        self._open(read_http(read, "https://gmail.googleapis.com"), secrets=self._tokens.secrets)

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        token = await self._tokens.token(self._http)
        headers = {"content-type": "message/rfc822", "authorization": f"Bearer {token}"}
        return Call(self._path, addressed(mail), headers)

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        if answer.status == 401:
            self._tokens.forget()
        return [(judge(answer),) * len(mail.recipients) for mail in mails]

    async def check(self) -> str:
        try:
            await self._tokens.token(self._http)
        except NoAnswer as failure:
            raise ProviderProblem(failure.outcome.reply.text) from None
        return f"{self._http.base_url}: Google gave an access token"
