"""/v1/senders: what an account may send as."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from api.answers import Answer
from api.manage import whose
from api.manage.asking import SENDER_PATTERN, Asked, Page, body, described, identifier, page, query
from api.services import Services
from relay.core.clock import wire_time
from relay.core.errors import NotAllowed
from relay.store import accounts, senders

AccountId = Annotated[
    str | None, Field(pattern=whose.ID, description="Another account's; needs an admin key.")
]


class NewSender(Asked):
    pattern: Annotated[
        str,
        Field(min_length=1, max_length=254, description="An address, a domain, or `*` (admin keys only)."),
        described(SENDER_PATTERN),
    ]
    account_id: AccountId = None


class Whose(Page):
    account_id: AccountId = None


class Senders:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def create(self, request: Request) -> Answer:
        """Without an admin key an account cannot have what another has, nor `*`."""
        identity = await self._gate.admit(request, "manage")
        asked = await body(request, NewSender)
        account_id = whose.account(identity, asked.account_id)
        if identity.may("admin"):
            await self._database.read(accounts.get_account, account_id)
            row = await self._database.write(senders.add_sender, account_id, asked.pattern)
        else:
            if senders.clean(asked.pattern) == senders.ANYTHING:
                raise NotAllowed("Sending as anybody needs a key with the scope admin.")
            row = await self._database.write(senders.claim_sender, account_id, asked.pattern)
        return Answer(shown(row), 201)

    async def list(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        asked = query(request, Whose)
        account_id = whose.account(identity, asked.account_id)
        rows = await self._database.read(
            senders.list_senders, account_id, limit=asked.limit + 1, before=asked.before
        )
        return Answer(page(rows, asked.limit, shown))

    async def get(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        account_id = whose.account(identity, query(request, Whose).account_id)
        return Answer(shown(await self._database.read(senders.get_sender, account_id, identifier(request))))

    async def remove(self, request: Request) -> Response:
        identity = await self._gate.admit(request, "manage")
        account_id = whose.account(identity, query(request, Whose).account_id)
        await self._database.write(senders.remove_sender, account_id, identifier(request))
        return Response(status_code=204)


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "account_id": str(row["account_id"]),
        "pattern": row["pattern"],
        "created_at": wire_time(row["created_at"]),
    }
