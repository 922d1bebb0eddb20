"""/v1/templates: mail with places for variables, stored in versions."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from api.answers import Answer
from api.manage import whose
from api.manage.asking import (
    ADDRESS_PATTERN,
    WHOLE,
    Asked,
    Line,
    Page,
    body,
    described,
    identifier,
    page,
    query,
)
from api.manage.letters import Body, Box
from api.manage.routes import add
from api.manage.senders import AccountId
from api.nomsa.blacklist import Blacklist
from api.nomsa.rate import spend
from api.services import Services
from api.thin import ThinRoute
from relay import policy
from relay.core.address import InvalidAddress, Mailbox, normalise, parse_mailbox
from relay.core.clock import now, wire_time
from relay.core.compose import Letter, compose
from relay.core.errors import Suppressed
from relay.core.message import EnvelopeRecipient, Submission
from relay.core.status import Door
from relay.store import accounts, templates
from relay.store.templates import NewVersion
from relay.templates import Source, fill, load
from relay.templates.render import MAX_SOURCE, MAX_SUBJECT_SOURCE, check_variables

#: octets of a request with a template in it
_MAX = 4 * MAX_SOURCE
NAME_PATTERN = "^[a-z][a-z0-9._-]{0,63}$"
#: variables as they are given with a mail
Variables = Annotated[
    dict[str, Any],
    Field(
        description="By name; texts, numbers, true, false, null, lists and objects.",
        json_schema_extra={
            "propertyNames": {"x-typical": "^[A-Za-km-z][A-Za-z0-9_]{0,63}$"},
            "maxProperties": 200,
        },
    ),
]


def _address(written: str) -> str:
    try:
        return normalise(written)
    except InvalidAddress as error:
        raise ValueError(str(error)) from None


Address = Annotated[str, AfterValidator(_address), described(ADDRESS_PATTERN)]
Number = Annotated[int, Field(ge=1, le=1_000_000), WHOLE]


class Written(Asked):
    """What a template says, in the notation of Jinja2; at least one of `html` and `text`."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}} for name in ("html", "text")
            ]
        }
    )

    subject: Annotated[Line, Field(min_length=1, max_length=MAX_SUBJECT_SOURCE)]
    html: Annotated[Body | None, Field(description="Variables are escaped as HTML.")] = None
    text: Body | None = None
    note: Annotated[Line | None, Field(max_length=255, description="What has changed.")] = None

    @model_validator(mode="after")
    def _has_a_body(self) -> "Written":
        if self.html is None and self.text is None:
            raise ValueError('one of "html" and "text" is required')
        return self

    def checked(self) -> NewVersion:
        """Raises `BadTemplate`."""
        load(Source(self.subject, self.html, self.text))
        return NewVersion(self.subject, self.html, self.text, self.note)


class NewTemplate(Written):
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    account_id: AccountId = None


class FurtherVersion(Written):
    activate: Annotated[bool, Field(description="Mail is made from it at once.")] = True


class Activation(Asked):
    version: Number


class Preview(Asked):
    variables: Variables = Field(default_factory=dict)
    version: Annotated[Number | None, Field(description="Left out: the active one.")] = None


class Test(Preview):
    from_: Annotated[Box, Field(alias="from")]
    to: Address


class Listed(Page):
    account_id: AccountId = None
    archived: Annotated[bool, Field(description="Archived ones as well.")] = False


class Which(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Annotated[int | None, Field(ge=1, le=1_000_000, description="Left out: the active one.")] = None


class Templates:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._database = services.database
        self._gate = services.gate
        self._blacklist = Blacklist(services.database)

    async def create(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        asked = await body(request, NewTemplate, limit=_MAX)
        account_id = whose.account(identity, asked.account_id)
        await self._database.read(accounts.get_account, account_id)
        first = await asyncio.to_thread(asked.checked)
        made = await self._database.write(templates.create, account_id, asked.name, first)
        return Answer(shown(made), 201)

    async def list(self, request: Request) -> Answer:
        """Newest first, without what they say."""
        identity = await self._gate.admit(request, "read")
        asked = query(request, Listed)
        account_id = whose.account(identity, asked.account_id)
        rows = await self._database.read(
            templates.page, account_id, limit=asked.limit + 1, before=asked.before, archived=asked.archived
        )
        return Answer(page(rows, asked.limit, shown))

    async def get(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "read")
        version = query(request, Which).version
        found = await self._database.read(templates.get, whose.readable(identity), _id(request), version)
        return Answer(shown(found))

    async def versions(self, request: Request) -> Answer:
        """Newest first."""
        identity = await self._gate.admit(request, "read")
        asked = query(request, Page)
        rows = await self._database.read(
            templates.versions,
            whose.readable(identity),
            _id(request),
            limit=asked.limit + 1,
            before=asked.before,
        )
        return Answer(page(rows, asked.limit, _version))

    async def add_version(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        asked = await body(request, FurtherVersion, limit=_MAX)
        further = await asyncio.to_thread(asked.checked)
        made = await self._database.write(
            templates.add_version,
            whose.readable(identity),
            _id(request),
            further,
            activate=asked.activate,
        )
        return Answer(shown(made), 201)

    async def activate(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "manage")
        asked = await body(request, Activation)
        changed = await self._database.write(
            templates.activate, whose.readable(identity), _id(request), asked.version
        )
        return Answer(shown(changed))

    async def archive(self, request: Request) -> Answer:
        return await self._archive(request, archived=True)

    async def unarchive(self, request: Request) -> Answer:
        return await self._archive(request, archived=False)

    async def _archive(self, request: Request, *, archived: bool) -> Answer:
        identity = await self._gate.admit(request, "manage")
        changed = await self._database.write(
            templates.archive, whose.readable(identity), _id(request), archived=archived
        )
        return Answer(shown(changed))

    async def preview(self, request: Request) -> Answer:
        """What a mail with these variables would say."""
        identity = await self._gate.admit(request, "read")
        asked = await body(request, Preview)
        check_variables(asked.variables)
        found = await self._database.read(
            templates.get, whose.readable(identity), _id(request), asked.version
        )
        rendered = await fill(source(found["version"]), asked.variables)
        return Answer({"subject": rendered.subject, "html": rendered.html, "text": rendered.text})

    async def test(self, request: Request) -> Answer:
        """Send one mail of it."""
        identity = await self._gate.admit(request, "send")
        await spend(self._services.limiter, identity, request)
        asked = await body(request, Test)
        check_variables(asked.variables)
        author = parse_mailbox(asked.from_)
        policy.check_sender(identity, author.address)
        found = await self._database.read(templates.get, identity.account_id, _id(request), asked.version)
        rendered = await fill(source(found["version"]), asked.variables)
        if await self._blacklist.among(identity.account_id, [asked.to], None):
            raise Suppressed
        to = [Mailbox("", asked.to)]
        letter = Letter(author, to, rendered.subject, rendered.html, text=rendered.text)
        head, tail = compose(letter, now())
        receipt = await self._services.intake.accept(
            Submission(
                account_id=identity.account_id,
                key_id=identity.key_id,
                door=Door.REST,
                sender=author.address,
                recipients=[EnvelopeRecipient(asked.to)],
                head=head,
                tail=tail,
                from_=str(author),
                subject=rendered.subject,
                tag="template-test",
                track=identity.track,
                smtputf8=not (head.isascii() and asked.to.isascii()),
            )
        )
        return Answer({"id": str(receipt.id), "subject": rendered.subject}, 201)


def source(version: Mapping[str, Any]) -> Source:
    return Source(version["subject"], version["html"], version["text"])


def _id(request: Request) -> str:
    return str(identifier(request))


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "id": str(row["id"]),
        "account_id": str(row["account_id"]),
        "name": row["name"],
        "active_version": row["active"],
        "latest_version": row["latest"],
        "archived_at": wire_time(row["archived_at"]),
        "created_at": wire_time(row["created_at"]),
        "updated_at": wire_time(row["updated_at"]),
    }
    if "version" in row:
        version = row["version"]
        template = load(source(version))
        found |= _version(version)
        found |= {"id": str(row["id"]), "created_at": wire_time(row["created_at"])}
        found["variables"] = sorted(template.asked)
    return found


def _version(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "version": row["number"],
        "subject": row["subject"],
        "html": row["html"],
        "text": row["text"],
        "note": row["note"],
        "created_at": wire_time(row["created_at"]),
    }


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    calls, tag, base, one = Templates(services), "Templates", "/v1/templates", "/v1/templates/{id}"
    add(
        routes, "POST", base, calls.create, "Create a template", tag=tag, status=201, asks=NewTemplate,
        refuses=(404, 409), leads_to=(f"GET {one}", f"POST {one}/preview", f"POST {one}/versions"),
    )  # fmt: skip
    add(routes, "GET", base, calls.list, "List templates", tag=tag, query=Listed)
    add(routes, "GET", one, calls.get, "Get a template and what it says", tag=tag, query=Which)
    add(routes, "GET", f"{one}/versions", calls.versions, "List a template's versions", tag=tag, query=Page)
    add(
        routes, "POST", f"{one}/versions", calls.add_version, "Add a version", tag=tag, status=201,
        asks=FurtherVersion,
    )  # fmt: skip
    add(
        routes, "POST", f"{one}/activate", calls.activate, "Make mail from another version", tag=tag,
        asks=Activation,
    )  # fmt: skip
    add(routes, "POST", f"{one}/archive", calls.archive, "Take a template out of use", tag=tag)
    add(routes, "POST", f"{one}/unarchive", calls.unarchive, "Take an archived template back", tag=tag)
    add(routes, "POST", f"{one}/preview", calls.preview, "See what a mail would say", tag=tag, asks=Preview)
    add(
        routes, "POST", f"{one}/test", calls.test, "Send one mail of it", tag=tag, status=201, asks=Test,
        refuses=(429,),
    )  # fmt: skip
    return routes
