"""/v1/accounts: for admin keys."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request

from api.answers import Answer
from api.manage.asking import (
    ADDRESS_PATTERN,
    SENDER_PATTERN,
    Asked,
    Line,
    Page,
    body,
    described,
    identifier,
    page,
    query,
)
from api.services import Services
from relay.core.address import InvalidAddress, normalise
from relay.core.clock import now, wire_time
from relay.core.errors import BadAddress, NotFound
from relay.store import accounts

Name = Annotated[Line, Field(min_length=1, max_length=64)]
Email = Annotated[
    str, Field(max_length=254, description="Reply-To of mail that names none."), described(ADDRESS_PATTERN)
]


class NewAccount(Asked):
    name: Name
    email: Email | None = None
    senders: Annotated[
        list[Annotated[str, described(SENDER_PATTERN)]],
        Field(max_length=1000, description="Addresses, domains, or `*` for anything."),
    ] = Field(default_factory=list)


class ChangedAccount(Asked):
    name: Name = ""
    email: Email | None = None
    disabled: Annotated[bool, Field(description="Whether its keys are to stop working.")] = False


class Accounts:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def create(self, request: Request) -> Answer:
        await self._gate.admit(request, "admin")
        asked = await body(request, NewAccount)
        email = _address(asked.email)
        identifier = await self._database.write(
            accounts.create_account, asked.name, email=email, senders=asked.senders
        )
        return Answer(shown(await self._database.read(accounts.get_account, identifier)), 201)

    async def list(self, request: Request) -> Answer:
        await self._gate.admit(request, "admin")
        asked = query(request, Page)
        rows = await self._database.read(accounts.list_accounts, limit=asked.limit + 1, before=asked.before)
        return Answer(page(rows, asked.limit, shown))

    async def get(self, request: Request) -> Answer:
        """An admin key may read every account; any other its own."""
        identity = await self._gate.admit(request, "read")
        wanted = identifier(request)
        if wanted != identity.account_id and not identity.may("admin"):
            raise NotFound(f"There is no account with ID {wanted}.")
        return Answer(shown(await self._database.read(accounts.get_account, wanted)))

    async def change(self, request: Request) -> Answer:
        await self._gate.admit(request, "admin")
        wanted = identifier(request)
        asked = await body(request, ChangedAccount)
        changes: dict[str, Any] = {}
        if "name" in asked.model_fields_set:
            changes["name"] = asked.name
        if "email" in asked.model_fields_set:
            changes["email"] = _address(asked.email)
        if "disabled" in asked.model_fields_set:
            changes["disabled_at"] = now() if asked.disabled else None
        return Answer(shown(await self._database.write(accounts.update_account, wanted, changes)))


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "email": row["email"],
        "created_at": wire_time(row["created_at"]),
        "disabled_at": wire_time(row["disabled_at"]),
    }


def _address(written: str | None) -> str | None:
    if written is None:
        return None
    try:
        return normalise(written)
    except InvalidAddress as error:
        raise BadAddress(f'"email" is invalid: {error}') from None
