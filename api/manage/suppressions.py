"""/v1/suppressions: addresses that are not written to."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from api.answers import Answer
from api.manage import whose
from api.manage.asking import ADDRESS_PATTERN, Asked, Line, Moment, Page, body, described, page, query
from api.manage.senders import AccountId
from api.manage.streams import NAME_PATTERN, stream_name
from api.services import Services
from relay.core.clock import now, wire_time
from relay.core.errors import NotAllowed, NotFound, Refused
from relay.core.identity import Identity
from relay.store import accounts, suppressions
from relay.store.suppressions import Reason

Everywhere = Annotated[bool, Field(description="For all accounts; changing these needs an admin key.")]


StreamName = Annotated[
    Annotated[str, AfterValidator(stream_name), described(NAME_PATTERN)] | None,
    Field(description="Mail of this stream alone; left out: all mail."),
]


class NewSuppression(Asked):
    address: Annotated[str, Field(max_length=254), described(ADDRESS_PATTERN)]
    # A strict enumeration would not be read from its word.
    reason: Annotated[Reason, Field(strict=False)] = Reason.MANUAL
    note: Annotated[Line | None, Field(max_length=1000)] = None
    expires_at: Moment | None = None
    stream: StreamName = None
    everywhere: Everywhere = False
    account_id: AccountId = None


class Which(Page):
    reason: Reason | None = None
    stream: StreamName = None
    everywhere: Everywhere = False
    account_id: AccountId = None


class Where(Page):
    stream: StreamName = None
    everywhere: Everywhere = False
    account_id: AccountId = None


class What(Page):
    stream: StreamName = None
    account_id: AccountId = None


class Suppressions:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def add(self, request: Request) -> Answer:
        """Adding what is there already changes its reason, note and end."""
        identity = await self._gate.admit(request, "manage")
        asked = await body(request, NewSuppression)
        if asked.expires_at is not None and asked.expires_at <= now():
            raise Refused('"expires_at" must lie in the future')
        account_id = _whose(identity, asked.account_id, everywhere=asked.everywhere)
        if account_id is not None:
            await self._database.read(accounts.get_account, account_id)
        row = await self._database.write(
            suppressions.add,
            account_id,
            asked.address,
            reason=asked.reason,
            source="api",
            stream=asked.stream,
            note=asked.note,
            expires_at=asked.expires_at,
        )
        return Answer(shown(row), 201)

    async def list(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "read")
        asked = query(request, Which)
        rows = await self._database.read(
            suppressions.page,
            None if asked.everywhere else whose.account(identity, asked.account_id),
            limit=asked.limit + 1,
            before=asked.before,
            reason=asked.reason,
            stream=asked.stream,
        )
        return Answer(page(rows, asked.limit, shown))

    async def ask(self, request: Request) -> Answer:
        """The entry that keeps this account from writing to an address: its own, or the one for all.

        With `stream` from writing mail of that stream; without, from writing any mail, else mail of some stream.
        """
        identity = await self._gate.admit(request, "read")
        asked = query(request, What)
        account_id, stream = whose.account(identity, asked.account_id), asked.stream
        address = suppressions.clean(request.path_params["address"])
        for row in await self._database.read(suppressions.holding, account_id, address):
            if stream is None or row["stream"] in {None, stream}:
                return Answer(shown(row))
        raise NotFound(f"{address} is not suppressed.")

    async def remove(self, request: Request) -> Response:
        identity = await self._gate.admit(request, "manage")
        where = query(request, Where)
        account_id = _whose(identity, where.account_id, everywhere=where.everywhere)
        address = request.path_params["address"]
        await self._database.write(suppressions.remove, account_id, address, where.stream)
        return Response(status_code=204)


def _whose(identity: Identity, wanted: str | None, *, everywhere: bool) -> int | None:
    if not everywhere:
        return whose.account(identity, wanted)
    if not identity.may("admin"):
        raise NotAllowed("Suppressions for all accounts need a key with the scope admin.")
    return None


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "address": row["address"],
        "stream": row["stream"],
        "everywhere": row["account_id"] is None,
        "reason": row["reason"],
        "source": row["source"],
        "note": row["note"],
        "created_at": wire_time(row["created_at"]),
        "expires_at": wire_time(row["expires_at"]),
    }
