"""GET one email, GET a page of them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.answers import Answer
from api.nomsa import listing, readback, wire
from api.services import Services
from relay.core.errors import NotFound, Redacted, Refused
from relay.core.ids import MAX_ID
from relay.store import messages
from relay.store.messages import Content

#: mails whose contents are held at a time
_AT_ONCE = 25


class Reader:
    """Reads on behalf of an authenticated caller; another account's mail does not exist."""

    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate

    async def one(self, request: Request) -> Answer:
        written = request.path_params["email_id"]
        if written == "send":
            raise HTTPException(405, headers={"Allow": "POST"})
        identity = await self._gate.admit(request, "read")
        identifier = identify(written)
        found = None
        if identifier is not None:
            found = await self._database.read(messages.with_content, identity.account_id, identifier)
        if found is None:
            raise NotFound(f"Email message with ID {written.strip()[:30]} not found.")
        row, content = found
        if row["redacted_at"] is not None:
            raise Redacted
        (given,) = await _params([row], {row["id"]: content})
        return Answer(wire.email(row, given))

    async def page(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "read")
        query, with_params = listing.check(request.scope["query_string"])
        rows, has_more = await self._database.read(messages.listing, identity.account_id, query)
        data: list[dict[str, Any]] = []
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            if with_params:
                kept = [row for row in some if row["redacted_at"] is None]
                contents = await self._database.read(messages.contents, [row["id"] for row in kept])
                given = dict(zip((row["id"] for row in kept), await _params(kept, contents), strict=True))
                data.extend(wire.email(row, given.get(row["id"])) for row in some)
            else:
                data.extend(wire.email(row, None) for row in some)
        return Answer({"has_more": has_more, "data": data})


def identify(written: str) -> int | None:
    """The id a path names; None for a number that no email can have. Raises `Refused` for what is no number."""
    number = listing.integer("emailId", written)
    if abs(number) > MAX_ID:
        raise Refused('"emailId" must be a safe number')
    return number if isinstance(number, int) and number > 0 else None


async def _params(rows: Sequence[Mapping[str, Any]], contents: Mapping[int, Content]) -> list[dict[str, str]]:
    def read() -> list[dict[str, str]]:
        return [
            readback.params(contents[row["id"]], from_=row["from"], subject=row["subject"]) for row in rows
        ]

    if all(content.params is not None for content in contents.values()):
        return read()
    # Taking a stranger's mail apart can last for tens of milliseconds.
    return await asyncio.to_thread(read)
