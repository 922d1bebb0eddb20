"""/v1/queue: mail that waits, why it does, and what is to become of it.

A key with the scope manage sees and stops its account's mail, one with the scope admin everybody's.
"""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.requests import Request

from api.answers import Answer
from api.manage import whose
from api.manage.asking import WHOLE, Asked, Line, Moment, Page, body, described, query
from api.manage.streams import NAME_PATTERN, stream_name
from api.services import Services
from relay.core.clock import now, wire_time
from relay.core.errors import NotAllowed, NotFound, Refused
from relay.core.identity import Identity
from relay.core.ids import MAX_ID
from relay.core.status import State
from relay.delivery.waiting import Why, listing, standing
from relay.store import interventions
from relay.store.backlog import MOST, WAITING, Position, Selection
from relay.store.interventions import Action, Order

#: recipients that one call changes at most, and seconds that it takes at most
_MOST = 100_000
_SECONDS = 20.0
#: ids that one call may name, of each kind
_IDS = 5000
_CURSOR = r"^[0-9]\.[0-9]{1,19}\.[0-9]{1,17}\.[0-9]{1,19}$"
_DOMAIN_PATTERN = "^[A-Za-z0-9]{1,20}([.-][A-Za-z0-9]{1,10}){0,4}$"

Id = Annotated[str, Field(pattern=whose.ID)]
Cursor = Annotated[str | None, Field(pattern=_CURSOR, description="`next_cursor` of the answer before.")]
Domain = Annotated[
    Annotated[Line, Field(min_length=1, max_length=255), described(_DOMAIN_PATTERN)] | None, Field()
]


class Filter(BaseModel):
    """Conditions that must all hold."""

    state: Annotated[
        Literal["queued", "sending", "held", "parked"] | None,
        Field(description="Left out: all of these, as far as the action is about them."),
    ] = None
    lane: Literal["urgent", "normal", "bulk"] | None = None
    account_id: Annotated[
        str | None, Field(pattern=whose.ID, description="Another account's needs an admin key.")
    ] = None
    provider: Annotated[
        Line | None,
        Field(
            min_length=1,
            max_length=64,
            description="Its last try was by this one, or it waits for it, or was sent its way.",
        ),
    ] = None
    recipient_domain: Domain = None
    sender_domain: Annotated[Domain, Field(description="Of the return path or the From field.")] = None
    tag: Annotated[Line | None, Field(min_length=1, max_length=255)] = None
    stream: Annotated[
        Annotated[str, AfterValidator(stream_name), described(NAME_PATTERN)] | None, Field()
    ] = None
    accepted_before: Moment | None = None

    def selection(self, identity: Identity, **more: Any) -> Selection:
        """Raises `NotAllowed` for another's account without an admin key."""
        account_id = (
            whose.account(identity, self.account_id)
            if self.account_id is not None or not identity.may("admin")
            else None
        )
        states = WAITING if self.state is None else (State(self.state),)
        given = self.model_dump(include=set(Filter.model_fields) - {"state", "account_id"})
        return Selection(states=states, account_id=account_id, **given, **more)


class Wanted(Filter, Page):
    """The query of the list. A page may be short, even empty, with more to come: the end has no `next_cursor`."""

    cursor: Cursor = None


class AskedFilter(Filter, Asked):
    """The filter of an action."""


class Doing(Asked):
    """To whom something is done: a filter, or ids; both together are those named that the filter is about."""

    filter: AskedFilter | None = None
    message_ids: Annotated[
        list[Id], Field(max_length=_IDS, description="All waiting recipients of these messages.")
    ] = Field(default_factory=list)
    recipient_ids: Annotated[list[Id], Field(max_length=_IDS, description="`id` of the list's entries.")] = (
        Field(default_factory=list)
    )
    note: Annotated[
        Line | None, Field(min_length=1, max_length=1000, description="Kept in the timelines.")
    ] = None
    dry_run: Annotated[bool, Field(description="Only count.")] = False
    limit: Annotated[int, Field(ge=1, le=_MOST, description="Recipients to change in this call."), WHOLE] = (
        _MOST
    )
    cursor: Annotated[Cursor, Field(description="Go on where a call ended that was not `complete`.")] = None


class Rerouting(Doing):
    provider: Annotated[
        Annotated[str, Field(min_length=1, max_length=64)] | None,
        Field(description="Asked first, before those of the mail's route; null gives it back to its route."),
    ]


class Whose(BaseModel):
    model_config = ConfigDict(extra="forbid")

    account_id: Annotated[str | None, Field(pattern=whose.ID)] = None


class Queue:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate
        self._settings = services.installation
        self._queue = services.queue

    async def list(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        wanted = query(request, Wanted)
        rows, after = await self._database.read(
            listing, self._settings, wanted.selection(identity), _position(wanted.cursor), wanted.limit
        )
        return Answer(
            {
                "has_more": after is not None,
                "next_cursor": str(after) if after is not None else None,
                "data": [_shown(row, why) for row, why in rows],
            }
        )

    async def summary(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        wanted = Filter(account_id=query(request, Whose).account_id)
        account_id = wanted.selection(identity).account_id
        found = await self._database.read(standing, self._settings, account_id)
        return Answer(
            {
                "workers": found["workers"],
                "counted_to": MOST,
                "lanes": [
                    {"lane": name, **{field: getattr(count, field) for field in count.__slots__}}
                    for name, count in found["lanes"].items()
                ],
                "waiting_for": [
                    {**_room(key), "recipients": count, "reason": reason, "message": words}
                    for key, count, reason, words in found["rooms"]
                ],
            }
        )

    async def hold(self, request: Request) -> Answer:
        return await self._do(request, Action.HOLD, Doing)

    async def release(self, request: Request) -> Answer:
        return await self._do(request, Action.RELEASE, Doing)

    async def retry(self, request: Request) -> Answer:
        return await self._do(request, Action.RETRY, Doing)

    async def reroute(self, request: Request) -> Answer:
        return await self._do(request, Action.REROUTE, Rerouting)

    async def cancel(self, request: Request) -> Answer:
        return await self._do(request, Action.CANCEL, Doing)

    async def purge(self, request: Request) -> Answer:
        return await self._do(request, Action.PURGE, Doing)

    async def _do(self, request: Request, action: Action, model: type[Doing]) -> Answer:
        """Step by step until all is done, `limit` is reached or it has taken long enough; the cursor leads on.

        A caller that hangs up does not undo what is done, and can ask for the same again.
        """
        identity = await self._gate.admit(request, "manage")
        asked = await body(request, model)
        order = Order(action, identity.account, asked.note, self._way(identity, asked))
        wanted = _selection(identity, asked)
        moment, ends = now(), time.monotonic() + _SECONDS
        here: Position | None = _position(asked.cursor)
        changed = unchanged = 0
        work = self._database.read if asked.dry_run else self._database.write
        while here is not None and changed < asked.limit and time.monotonic() < ends:
            left = asked.limit - changed
            done = await work(
                interventions.step, order, wanted, here, now=moment, limit=left, dry_run=asked.dry_run
            )
            changed, unchanged, here = changed + done.changed, unchanged + done.unchanged, done.position
            for lane in done.lanes:
                self._queue.deliver(lane, ())
        return Answer(
            {
                "action": action.value,
                "dry_run": asked.dry_run,
                "changed": changed,
                "unchanged": unchanged,
                "complete": here is None,
                "next_cursor": str(here) if here is not None else None,
            }
        )

    def _way(self, identity: Identity, asked: Doing) -> str | None:
        """The provider to go by; raises `NotFound` for one that is not configured."""
        if not isinstance(asked, Rerouting):
            return None
        if not identity.may("admin"):
            raise NotAllowed("Choosing the provider needs a key with the scope admin.")
        if asked.provider is not None and asked.provider not in self._settings.ways_out:
            raise NotFound("There is no provider with this name.")
        return asked.provider


def _selection(identity: Identity, asked: Doing) -> Selection:
    """Raises `Refused` where nothing says whom it is about: everything must not be hit by a slip."""
    given = asked.filter or AskedFilter()
    named = asked.message_ids or asked.recipient_ids
    if not named and not given.model_dump(exclude_none=True):
        raise Refused('Name "message_ids", "recipient_ids", or a "filter" with a condition.')
    return given.selection(
        identity, message_ids=_numbers(asked.message_ids), recipient_ids=_numbers(asked.recipient_ids)
    )


def _numbers(ids: Sequence[str]) -> tuple[int, ...]:
    return tuple(min(int(one), MAX_ID) for one in ids)


def _position(cursor: str | None) -> Position:
    if cursor is None:
        return Position()
    try:
        return Position.parse(cursor)
    except ValueError:
        raise Refused('"cursor" is invalid: it is none of ours') from None


def _room(key: str | None) -> dict[str, str | None]:
    name, _, domain = (key or "").partition("/")
    return {"provider": name or None, "domain": domain or None}


def _shown(row: dict[str, Any], why: Why) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "message_id": str(row["message_id"]),
        "account_id": str(row["account_id"]),
        "recipient": row["address"],
        "from": row["from"],
        "sender": row["sender"],
        "subject": row["subject"],
        "tag": row["tag"],
        "stream": row["stream"],
        "lane": row["lane"],
        "state": row["state"],
        "accepted_at": wire_time(row["accepted_at"]),
        "attempts": row["attempts"],
        "due_at": wire_time(row["due_at"]),
        "provider": row["provider"],
        "reply": row["reply"],
        "waiting_for": _room(row["waiting_for"]) if row["waiting_for"] else None,
        "route": row["route"],
        "why": {"reason": why.reason.value, "message": why.words, "until": wire_time(why.until)},
    }
