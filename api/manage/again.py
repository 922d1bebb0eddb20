"""POST /v1/messages/{id}/resend: a new mail with the bytes of an old one."""

from typing import Annotated

from pydantic import Field
from starlette.requests import Request

from api.answers import Answer
from api.manage import whose
from api.manage.asking import ADDRESS_PATTERN, Asked, body, described, identifier
from api.manage.letters import MAX_RECIPIENTS, envelope
from api.nomsa.blacklist import Blacklist
from api.nomsa.rate import spend
from api.services import Services
from relay.core import mime
from relay.core.address import InvalidAddress, normalise
from relay.core.clock import now, wire_time
from relay.core.errors import BadAddress, Conflict, NotFound, Redacted
from relay.core.event import EventKind
from relay.core.ids import new_id
from relay.core.message import EnvelopeRecipient, MemoryTail, RecipientKind, Submission
from relay.core.status import Classification, Door
from relay.store import messages, search, timeline

#: what the record says of a mail that is not true of its copy
_NOT_COPIED = frozenset({"error_code", "tracked", "untracked", "track", "track_opens", "track_clicks"})


class Resending(Asked):
    recipients: Annotated[
        list[Annotated[str, Field(max_length=320), described(ADDRESS_PATTERN)]],
        Field(max_length=MAX_RECIPIENTS, description="To these instead of those of the old one."),
    ] = Field(default_factory=list)


class Again:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._blacklist = Blacklist(services.database)

    async def resend(self, request: Request) -> Answer:
        """The bytes go out as they lie here; links in them that are tracked tell of the old mail."""
        services = self._services
        identity = await services.gate.admit(request, "send")
        await spend(services.limiter, identity, request)
        asked = await body(request, Resending)
        wanted = identifier(request)
        found = await services.database.read(search.source, whose.readable(identity), wanted)
        if found is None:
            raise NotFound(f"Message with ID {wanted} not found.")
        row, source = found
        stripped = row["stripped_at"] is not None and row["attachments"]
        if row["redacted_at"] is not None or stripped or not source:
            raise Redacted
        if "error_code" in (row["options"] or {}):
            raise Conflict("The message was refused and has never been a mail.")
        old = await services.database.read(messages.recipients, wanted)
        if asked.recipients:
            to = envelope([(RecipientKind.TO, [_address(one) for one in asked.recipients])])
        else:
            to = [EnvelopeRecipient(one["address"], RecipientKind(one["kind"])) for one in old]
        options = {name: value for name, value in (row["options"] or {}).items() if name not in _NOT_COPIED}
        blocked = await self._blacklist.among(
            row["account_id"], [one.address for one in to], options.get("stream")
        )
        left = [one for one in to if one.address not in blocked]
        if not left:
            # Whether they may is a state of ours, and no fault of what was asked.
            raise Conflict("None of the recipients may be written to: all are suppressed.")
        cut = mime.split_head(source)
        receipt = await services.intake.accept(
            Submission(
                account_id=row["account_id"],
                key_id=identity.key_id,
                door=Door.REST,
                sender=row["sender"],
                recipients=left,
                head=source[:cut],
                tail=MemoryTail(source[cut:]),
                from_=row["from"],
                subject=row["subject"],
                tag=row["tag"],
                classification=Classification(row["classification"]) if row["classification"] else None,
                metadata=row["metadata"],
                attachments=row["attachments"],
                smtputf8=row["smtputf8"],
                eight_bit=row["eight_bit"],
                # What was tracked is tracked in its bytes; a second pixel would count everything twice.
                options={**options, "disable_tracking": True},
            )
        )
        event = {
            "id": new_id(),
            "message_id": wanted,
            "recipient_id": old[0]["id"],
            "kind": EventKind.RESENT,
            "at": now(),
            "detail": {"as": str(receipt.id)},
        }
        await services.database.write(timeline.add, [event], {wanted: row["account_id"]})
        return Answer(
            {
                "id": str(receipt.id),
                "created_at": wire_time(receipt.at),
                "recipients": [{"address": one.address, "kind": one.kind} for one in left],
                "suppressed": sorted(blocked),
            },
            201,
        )


def _address(written: str) -> str:
    try:
        return normalise(written)
    except InvalidAddress as error:
        raise BadAddress(f'"recipients" is invalid: {error}') from None
