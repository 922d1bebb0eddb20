"""POST /v1/messages and /v1/messages/batch."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import orjson
from pydantic import Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.answers import Answer
from api.errors import answer_to
from api.filling import Filler
from api.idempotency import Turn
from api.manage import letters, raw
from api.manage.asking import Asked, explain
from api.manage.letters import NewMessage
from api.nomsa.blacklist import Blacklist
from api.nomsa.rate import spend
from api.nomsa.spool import Spool
from api.services import Services
from relay.core.clock import wire_time
from relay.core.errors import AllSuppressed, RateLimited, Refused
from relay.core.identity import Identity
from relay.core.message import Accepted, Submission
from relay.core.status import Status

MAX_BATCH = 500
#: messages of a batch that are worked on together; each such group is about one commit
_TOGETHER = 50


class Batch(Asked):
    messages: Annotated[list[NewMessage], Field(min_length=1, max_length=MAX_BATCH)]


class Sending:
    """Takes mail on behalf of an authenticated caller."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._blacklist = Blacklist(services.database)
        self._filler = Filler(services.database, "html")

    async def one(self, request: Request) -> Answer:
        """A message from its fields (application/json), or one that is written already (message/rfc822)."""
        identity = await self._services.gate.admit(request, "send")
        await spend(self._services.limiter, identity, request)
        kind = _kind(request)
        if kind == "application/json":
            async with self._services.bodies.read(request) as (given, _spool):
                return await self._letter(request, identity, given)
        if kind == "message/rfc822":
            return await self._raw(request, identity)
        raise HTTPException(415, "Send the message as application/json or as message/rfc822.")

    async def batch(self, request: Request) -> Answer:
        """Up to 500 messages, each of which is taken or refused by itself: the results are in their order."""
        identity = await self._services.gate.admit(request, "send")
        await spend(self._services.limiter, identity, request)
        if _kind(request) != "application/json":
            raise HTTPException(415, "Send the batch as application/json.")
        async with self._services.bodies.read(request) as (given, _spool):
            items = _items(given)
            results: list[dict[str, Any]] = []
            for start in range(0, len(items), _TOGETHER):
                some = range(start, min(start + _TOGETHER, len(items)))
                results += await asyncio.gather(
                    *(self._part(request, identity, items[number], number) for number in some)
                )
        return Answer({"results": results})

    async def _part(self, request: Request, identity: Identity, given: Any, number: int) -> dict[str, Any]:
        try:
            if number:
                # The request itself was counted as its first message.
                verdict = await self._services.limiter.hit_day(identity)
                if not verdict.allowed:
                    raise RateLimited(retry_after=verdict.retry_after)
            answer = await self._letter(request, identity, given, part=number)
        except Exception as error:
            answer = answer_to(error)
        return {"http_status": answer.status_code, **orjson.loads(answer.body)}

    async def _letter(
        self, request: Request, identity: Identity, given: Any, *, part: int | None = None
    ) -> Answer:
        filled = await self._filler.fill(identity, given) if isinstance(given, dict) else given
        try:
            asked = NewMessage.model_validate(filled)
        except ValidationError as error:
            raise explain(error) from None
        async with self._services.once.turn(request, identity, given, part=part) as turn:
            if turn.earlier is not None:
                return turn.earlier
            # One for each message, as the commit of a message closes what its files lie in.
            with _kept_if_cancelled(self._services.bodies.spool()) as spool:
                submission = letters.build(asked, identity, spool, self._services.settings)
                return await self._accept(turn, identity, submission)

    async def _raw(self, request: Request, identity: Identity) -> Answer:
        with _kept_if_cancelled(self._services.bodies.spool()) as spool:
            mail = await raw.read(request, spool)
            asked = raw.understand(request, identity, mail, providers=self._services.providers)
            said = [mail.digest, asked.sender, sorted(one.address for one in asked.recipients)]
            key = asked.controls.idempotency_key
            async with self._services.once.turn(request, identity, said, key=key) as turn:
                if turn.earlier is not None:
                    return turn.earlier
                submission = raw.build(asked, identity, hostname=self._services.hostname)
                return await self._accept(turn, identity, submission)

    async def _accept(self, turn: Turn, identity: Identity, submission: Submission) -> Answer:
        """Store it for those who may be written to; raises `AllSuppressed` when nobody is left."""
        blocked = await self._blacklist.among(
            identity.account_id,
            [one.address for one in submission.recipients],
            submission.options.get("stream"),
        )
        left = [one for one in submission.recipients if one.address not in blocked]
        if not left:
            raise AllSuppressed
        suppressed = [one.address for one in submission.recipients if one.address in blocked]
        submission.recipients = left
        return await turn.accept(
            submission, lambda receipt: Answer(_receipt(submission, receipt, suppressed), 201)
        )


@contextlib.contextmanager
def _kept_if_cancelled(spool: Spool) -> Iterator[Spool]:
    """Closes the spool at the end, unless the client left: a commit that goes on without it still reads the files."""
    try:
        yield spool
    except asyncio.CancelledError:
        raise
    except BaseException:
        spool.close()
        raise
    else:
        spool.close()


def _receipt(submission: Submission, receipt: Accepted, suppressed: list[str]) -> dict[str, Any]:
    return {
        "id": str(receipt.id),
        "status": Status.ACCEPTED,
        "created_at": wire_time(receipt.at),
        "send_at": wire_time(submission.send_at),
        "from": submission.from_,
        "subject": submission.subject,
        "recipients": [{"address": one.address, "kind": one.kind} for one in submission.recipients],
        "suppressed": suppressed,
    }


def _items(given: Mapping[str, Any]) -> list[Any]:
    """The batch, apart from what is in each message: a wrong one among them is its own affair."""
    for name in given:
        if name != "messages":
            raise Refused(f'"{name[:100]}" is not allowed')
    items = given.get("messages")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_BATCH:
        raise Refused(f'"messages" must be an array of 1 to {MAX_BATCH} messages')
    return items


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
