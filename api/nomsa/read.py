"""GET one email, GET a page of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.answers import Answer
from api.nomsa import listing, readback, wire
from api.services import Services
from relay.core.errors import NotFound, Redacted, Refused
from relay.core.ids import MAX_ID
from relay.store import messages
from relay.store.messages import Content, Query

Row = Mapping[str, Any]

#: mails whose contents are held at a time, and octets of them: a page may have a thousand mails of megabytes
_AT_ONCE = 50
_OCTETS = 1024 * 1024


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

    async def page(self, request: Request) -> Response:
        identity = await self._gate.admit(request, "read")
        query, with_params = listing.check(request.scope["query_string"])
        if not with_params:
            rows, has_more = await self._database.read(messages.listing, identity.account_id, query)
            return Answer({"has_more": has_more, "data": [wire.email(row, None) for row in rows]})
        # Before anything is answered, so that a record that is away is still told as such.
        found = await self._database.read(_page, identity.account_id, query)
        first = await _emails(found.groups[0], found.contents) if found.groups else []
        if len(found.groups) <= 1:
            return Answer({"has_more": found.has_more, "data": first})
        written = self._written(first, found.groups[1:], found.has_more)
        return StreamingResponse(written, media_type="application/json")

    async def _written(
        self, first: Sequence[Any], groups: Sequence[Sequence[Row]], has_more: bool
    ) -> AsyncIterator[bytes]:
        """A page as JSON, piece by piece."""
        yield b'{"has_more":%b,"data":[' % (b"true" if has_more else b"false")
        yield orjson.dumps(first)[1:-1]
        for group in groups:
            contents = await self._database.read(messages.contents, _kept(group))
            yield b"," + orjson.dumps(await _emails(group, contents))[1:-1]
        yield b"]}"


@dataclass(frozen=True, slots=True)
class _Page:
    """Emails in groups whose contents are held together, and the contents of the first."""

    groups: Sequence[Sequence[Row]]
    contents: Mapping[int, Content]
    has_more: bool


def _page(connection: Any, account_id: int, query: Query) -> _Page:
    rows, has_more = messages.listing(connection, account_id, query)
    groups = list(_groups(rows))
    return _Page(groups, messages.contents(connection, _kept(groups[0])) if groups else {}, has_more)


def _kept(rows: Sequence[Row]) -> list[int]:
    """The ids of those whose contents are still there."""
    return [row["id"] for row in rows if row["redacted_at"] is None]


async def _emails(rows: Sequence[Row], contents: Mapping[int, Content]) -> list[dict[str, Any]]:
    """Emails with what is left of their contents."""
    kept = [row for row in rows if row["redacted_at"] is None]
    given = dict(zip((row["id"] for row in kept), await _params(kept, contents), strict=True))
    return [wire.email(row, given.get(row["id"])) for row in rows]


def _groups(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows in their order, in groups of contents that are held together."""
    start = octets = 0
    for index, row in enumerate(rows):
        if index > start and (octets + row["size"] > _OCTETS or index - start == _AT_ONCE):
            yield rows[start:index]
            start, octets = index, 0
        octets += row["size"]
    if start < len(rows):
        yield rows[start:]


def identify(written: str) -> int | None:
    """The id a path names; None for a number that no email can have. Raises `Refused` for what is no number."""
    number = listing.integer("emailId", written)
    if abs(number) > MAX_ID:
        raise Refused('"emailId" must be a safe number')
    return number if isinstance(number, int) and number > 0 else None


async def _params(rows: Sequence[Row], contents: Mapping[int, Content]) -> list[dict[str, str]]:
    def read() -> list[dict[str, str]]:
        return [
            readback.params(contents[row["id"]], from_=row["from"], subject=row["subject"]) for row in rows
        ]

    if all(content.params is not None for content in contents.values()):
        return read()
    # Taking a stranger's mail apart can last for tens of milliseconds.
    return await asyncio.to_thread(read)
