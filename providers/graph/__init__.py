"""The `graph` provider: Microsoft 365 by Microsoft Graph. https://learn.microsoft.com/en-us/graph/api/user-sendmail"""

import base64
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import quote

from providers.addressed import addressed
from providers.api import ApiProvider
from providers.graph.outcomes import judge
from providers.http import Answer, Call, NoAnswer, read_http
from providers.oauth import microsoft
from providers.options import Options
from relay.core.provider import Capabilities, Outgoing, ProviderProblem, Receipt

__all__ = ["Graph"]


class Graph(ApiProvider):
    """Options: `mailbox` (whose mail it is), `tenant`, `client_id`, `client_secret`, and those of every API.

    The application needs the permission `Mail.Send`; without an access policy in Exchange it may then send as
    anybody. Graph writes to whom the mail's own fields name and returns no id; see `providers.addressed`. All
    recipients go in one mail, and what became of it comes back to the mailbox as mail.
    """

    #: 4 MB is what a request may have, and base64 makes three octets four
    capabilities: ClassVar[Capabilities] = Capabilities(
        raw=False,
        shows_all_recipients=False,
        max_recipients=500,
        max_bytes=2_950_000,
        per_recipient=False,
        envelope_sender=False,
    )

    def _configure(self, read: Options) -> None:
        self._path = f"/v1.0/users/{quote(read.needed('mailbox'), safe='@')}/sendMail"
        self._tokens = microsoft(read, "https://graph.microsoft.com/.default")
        # Four at once is what one mailbox gets.
        self._open(
            read_http(read, "https://graph.microsoft.com", connections=4), secrets=self._tokens.secrets
        )

    async def _request(self, mails: Sequence[Outgoing]) -> Call:
        (mail,) = mails
        token = await self._tokens.token(self._http)
        content = base64.b64encode(addressed(mail))
        return Call(self._path, content, {"content-type": "text/plain", "authorization": f"Bearer {token}"})

    def _judge(self, answer: Answer, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        if answer.status == 401:
            self._tokens.forget()
        return [(judge(answer),) * len(mail.recipients) for mail in mails]

    async def check(self) -> str:
        try:
            await self._tokens.token(self._http)
        except NoAnswer as failure:
            raise ProviderProblem(failure.outcome.reply.text) from None
        return f"{self._http.base_url}: Microsoft gave an access token"
