"""/v1/streams: kinds of mail that an account keeps apart."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from api.answers import Answer
from api.manage import whose
from api.manage.asking import Asked, Line, body, described, page, query
from api.manage.senders import AccountId
from api.services import Services
from relay.core.errors import NotFound, Refused
from relay.core.status import Lane
from relay.core.stream import BUILT_IN, Leaving, Stream, Track, is_name
from relay.core.timing import QuietHours
from relay.store import accounts, streams

_CLOCK = "^([01][0-9]|2[0-3]):[0-5][0-9]$"
NAME_PATTERN = "^[a-z0-9][a-z0-9._-]{0,63}$"


def stream_name(written: str) -> str:
    if not is_name(written):
        raise ValueError("must be 1 to 64 of a-z, 0-9, dot, underscore and hyphen, a letter or digit first")
    return written


Name = Annotated[str, AfterValidator(stream_name), described(NAME_PATTERN)]
Title = Annotated[
    Annotated[Line, Field(min_length=1, max_length=100)] | None,
    Field(description="What recipients read when they unsubscribe."),
]
LaneWord = Annotated[
    Literal["normal", "bulk"], Field(description="URGENT mail takes the urgent lane all the same.")
]
Tracked = Annotated[
    bool | None, Field(description="For mail that does not say itself; null leaves it to the key.")
]
Unsubscribe = Annotated[
    bool, Field(description="Mail to one recipient gets List-Unsubscribe where it has none.")
]
From = Annotated[
    Literal["stream", "account"],
    Field(description="Whether who unsubscribes gets no more mail of this stream, or of the account."),
]


ComplaintFrom = Annotated[
    Literal["stream", "account"],
    Field(description="Whether who complains gets no more mail of this stream, or of the account."),
]


class Quiet(Asked):
    """Every day from one time to the other, by the clocks of a time zone; it may go over midnight."""

    from_: Annotated[str, Field(alias="from", max_length=5, examples=["22:00"]), described(_CLOCK)]
    to: Annotated[str, Field(max_length=5, examples=["07:00"]), described(_CLOCK)]
    timezone: Annotated[
        str,
        Field(max_length=64, description="Of the IANA time zone database.", examples=["Asia/Singapore"]),
        described("^(UTC|Asia/Singapore|Europe/Berlin|America/New_York)$"),
    ]

    @model_validator(mode="after")
    def _is_a_time(self) -> "Quiet":
        self.hours()
        return self

    def hours(self) -> QuietHours:
        return QuietHours.parse(self.from_, self.to, self.timezone)


QuietWindow = Annotated[
    Quiet | None,
    Field(description="In which mail of the stream waits, but for URGENT mail; null for never."),
]


Provider = Annotated[
    Annotated[str, Field(max_length=64), described("^capture$")] | None,
    Field(
        description="By which its mail rather goes, where its route has that one; null is as the route says."
    ),
]


class ChangedStream(Asked):
    title: Title = None
    lane: LaneWord = "normal"
    track_opens: Tracked = None
    track_clicks: Tracked = None
    unsubscribe: Unsubscribe = False
    unsubscribe_from: From = "stream"
    complaint_from: ComplaintFrom = "account"
    quiet: QuietWindow = None
    provider: Provider = None


class NewStream(ChangedStream):
    name: Name
    account_id: AccountId = None


class Whose(BaseModel):
    model_config = ConfigDict(extra="forbid")

    account_id: AccountId = None


class Streams:
    def __init__(self, services: Services) -> None:
        self._database = services.database
        self._gate = services.gate
        self._providers = services.providers

    async def create(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        asked = await body(request, NewStream)
        self._check(asked)
        account_id = whose.account(identity, asked.account_id)
        await self._database.read(accounts.get_account, account_id)
        made = await self._database.write(streams.create, account_id, _changed(Stream(asked.name), asked))
        return Answer(shown(made), 201)

    async def list(self, request: Request) -> Answer:
        """All of them, the built-in ones first; there are never many."""
        identity = await self._gate.admit(request, "read")
        account_id = whose.account(identity, query(request, Whose).account_id)
        found = await self._database.read(streams.of_account, account_id)
        return Answer(page([shown(one) for one in found.values()], len(found), dict))

    async def get(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "read")
        account_id = whose.account(identity, query(request, Whose).account_id)
        return Answer(shown(await self._database.read(streams.get, account_id, _named(request))))

    async def change(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        account_id = whose.account(identity, query(request, Whose).account_id)
        asked = await body(request, ChangedStream)
        self._check(asked)
        before = await self._database.read(streams.get, account_id, _named(request))
        await self._database.read(accounts.get_account, account_id)
        after = await self._database.write(streams.replace, account_id, _changed(before, asked))
        return Answer(shown(after))

    def _check(self, asked: ChangedStream) -> None:
        if asked.provider is not None and asked.provider not in self._providers:
            raise Refused(f'"provider" is invalid: there is no provider {asked.provider}')

    async def remove(self, request: Request) -> Response:
        identity = await self._gate.admit(request, "manage")
        account_id = whose.account(identity, query(request, Whose).account_id)
        await self._database.write(streams.remove, account_id, _named(request))
        return Response(status_code=204)


def _named(request: Request) -> str:
    name: str = request.path_params["stream"]
    if not is_name(name):
        raise NotFound
    return name


def _changed(stream: Stream, asked: ChangedStream) -> Stream:
    given = asked.model_dump(include=asked.model_fields_set & ChangedStream.model_fields.keys())
    track = Track(
        given.pop("track_opens", stream.track.opens), given.pop("track_clicks", stream.track.clicks)
    )
    if "lane" in given:
        given["lane"] = Lane(given["lane"])
    for name in ("unsubscribe_from", "complaint_from"):
        if name in given:
            given[name] = Leaving(given[name])
    if "quiet" in given:
        given["quiet"] = asked.quiet.hours() if asked.quiet is not None else None
    return replace(stream, track=track, **given)


def shown(stream: Stream) -> dict[str, Any]:
    return {
        "name": stream.name,
        "built_in": stream.name in BUILT_IN,
        "title": stream.title,
        "lane": stream.lane,
        "track_opens": stream.track.opens,
        "track_clicks": stream.track.clicks,
        "unsubscribe": stream.unsubscribe,
        "unsubscribe_from": stream.unsubscribe_from,
        "complaint_from": stream.complaint_from,
        "quiet": dict(zip(("from", "to", "timezone"), stream.quiet.words(), strict=True))
        if stream.quiet
        else None,
        "provider": stream.provider,
    }
