"""/v1/batches: one template to a list of recipients."""

import asyncio
import csv
import hashlib
import io
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.answers import Answer
from api.idempotency import MAX_KEY
from api.manage import whose
from api.manage.asking import BOX_PATTERN, Asked, Moment, Page, body, explain, identifier, page, query
from api.manage.routes import add
from api.manage.senders import AccountId
from api.nomsa.forms import FormReader, boundary_of
from api.nomsa.rate import spend
from api.nomsa.spool import Slice, Spool
from api.services import Services
from api.thin import ThinRoute
from relay.bulk.letters import template_of, wish_of
from relay.bulk.uploads import Steering, Upload, check, store
from relay.bulk.wish import Wish
from relay.core.address import parse_mailbox
from relay.core.clock import wire_time
from relay.core.errors import Redacted, Refused, TooLarge
from relay.core.identity import Identity
from relay.store import batches, templates
from relay.store.batches import RowState

PATH = "/v1/batches"
_LIST = "csv"
#: octets of one field of the form
_MAX_FIELD = 16 * 1024
#: octets of a request besides its list
OVERHEAD = 1024 * 1024
_PIECE = 256 * 1024
#: seconds for which counts of a batch's messages are remembered
_FRESH = 1.0
#: rows of an export read at once
_EXPORTED = 1000
_COLUMNS = ("row", "recipient", "state", "status", "error_code", "reason", "message_id", "updated_at")
# A spreadsheet takes a field that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Given(BaseModel):
    """The fields of the form that are about the batch itself; the others are a `Wish`."""

    model_config = ConfigDict(extra="ignore")

    template: Annotated[str, Field(min_length=1, max_length=64)]
    version: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    name: Annotated[
        str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")
    ] = "batch"


class Listed(Page):
    account_id: AccountId = None


class Rows(Page):
    state: Annotated[
        Literal["valid", "refused", "queued"] | None, Field(description="Rows in this state.")
    ] = None


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    row: Annotated[int, Field(ge=1, le=2**31 - 1, description="1 is the first below the header.")] = 1


class NewTime(Asked):
    send_at: Annotated[Moment | None, Field(description="Null is at once.")]


class Batches:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._database = services.database
        self._gate = services.gate
        self._steering = Steering(services.database, services.queue)
        self._most = services.installation.batches.max_list
        self._counts: OrderedDict[int, tuple[float, tuple[str, int], dict[str, int]]] = OrderedDict()

    async def create(self, request: Request) -> Answer:
        """Take a list. It is kept when this answers; reading and sending it come after."""
        identity = await self._gate.admit(request, "send")
        await spend(self._services.limiter, identity, request)
        boundary = boundary_of(request.headers.get("content-type", "").encode("latin-1", "replace"))
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data" or boundary is None:
            raise HTTPException(415, "Send the list as multipart/form-data.")
        spool = self._services.bodies.spool()
        try:
            form = FormReader(boundary, spool, max_field=_MAX_FIELD, max_files=self._most, files=_LIST)
            async for piece in request.stream():
                form.feed(piece)
            return await self._keep(request, identity, form.fields(), spool)
        finally:
            spool.close()

    async def _keep(
        self, request: Request, identity: Identity, fields: dict[str, Any], spool: Spool
    ) -> Answer:
        files = fields.pop(_LIST, None)
        if not isinstance(files, list):
            raise Refused(f'"{_LIST}" is required: the list, as a file of the form')
        if len(files) != 1:
            raise Refused(f'"{_LIST}" is given more than once')
        if files[0].size > self._most:
            raise TooLarge(f"The list is larger than {self._most} octets.")
        for name, value in fields.items():
            if not isinstance(value, str):
                raise Refused(f'"{name[:100]}" is given more than once')
        upload = _upload(request, fields, files[0].name)
        template = await check(self._database, identity, upload)
        content: Slice = files[0].content
        digest = await asyncio.to_thread(_digest, content)
        found, repeated = await store(
            self._database, identity, upload, template, digest, content.size, content.chunks(_PIECE)
        )
        batch = await self._database.read(batches.get, identity.account_id, found)
        replayed = ((b"idempotency-replayed", b"true"),) if repeated else ()
        return Answer(await self._shown(batch), 202, replayed)

    async def list(self, request: Request) -> Answer:
        """Newest first."""
        identity = await self._gate.admit(request, "read")
        asked = query(request, Listed)
        account_id = whose.account(identity, asked.account_id)
        rows = await self._database.read(batches.page, account_id, limit=asked.limit + 1, before=asked.before)
        return Answer(page(rows, asked.limit, shown))

    async def get(self, request: Request) -> Answer:
        identity = await self._gate.admit(request, "read")
        return Answer(await self._shown(await self._one(request, identity)))

    async def rows(self, request: Request) -> Answer:
        """In the order of the list, with what became of their mail."""
        identity = await self._gate.admit(request, "read")
        asked = query(request, Rows)
        batch = await self._one(request, identity)
        found = await self._database.read(
            batches.rows,
            batch["id"],
            limit=asked.limit + 1,
            after=min(asked.before or 0, 2**31 - 1),
            state=RowState(asked.state) if asked.state else None,
        )
        numbered = [{**row, "id": row["number"]} for row in found]
        return Answer(page(numbered, asked.limit, _row))

    async def preview(self, request: Request) -> Answer:
        """The mail for one row, as it would be written now."""
        identity = await self._gate.admit(request, "read")
        number = query(request, Wanted).row
        batch = await self._one(request, identity)
        row = await self._database.read(batches.row, batch["id"], number)
        if row["variables"] is None:
            if row["state"] != RowState.REFUSED:
                raise Redacted
            raise Refused(f"Row {number} is refused: {row['reason']}")
        stored = await self._database.read(
            templates.get, batch["account_id"], str(batch["template_id"]), batch["version"]
        )
        template = await asyncio.to_thread(template_of, stored["version"], wish_of(batch))
        rendered = await asyncio.to_thread(template.render, row["variables"])
        return Answer(
            {
                "row": number,
                "recipient": row["address"],
                "from": str(parse_mailbox(wish_of(batch).from_)),
                "subject": rendered.subject,
                "html": rendered.html,
                "text": rendered.text,
                "variables": row["variables"],
            }
        )

    async def start(self, request: Request) -> Answer:
        return await self._steer(request, self._steering.start)

    async def change(self, request: Request) -> Answer:
        """As long as it has not begun."""
        identity = await self._gate.admit(request, "send")
        asked = await body(request, NewTime)
        wanted = identifier(request)
        await self._steering.reschedule(whose.readable(identity), wanted, asked.send_at, identity.account)
        return Answer(await self._shown(await self._one(request, identity)))

    async def pause(self, request: Request) -> Answer:
        return await self._steer(request, self._steering.pause)

    async def resume(self, request: Request) -> Answer:
        return await self._steer(request, self._steering.resume)

    async def cancel(self, request: Request) -> Answer:
        return await self._steer(request, self._steering.cancel)

    async def export(self, request: Request) -> Response:
        """What became of every row, as CSV."""
        identity = await self._gate.admit(request, "read")
        batch = await self._one(request, identity)
        name = f"batch-{batch['id']}.csv"
        return StreamingResponse(
            self._exported(batch["id"]),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    async def _exported(self, identifier: int) -> AsyncIterator[bytes]:
        yield _csv([_COLUMNS])
        after = 0
        while rows := await self._database.read(batches.rows, identifier, limit=_EXPORTED, after=after):
            after = rows[-1]["number"]
            yield _csv(_exported_row(row) for row in rows)

    async def _steer(self, request: Request, do: Any) -> Answer:
        identity = await self._gate.admit(request, "send")
        wanted = identifier(request)
        await do(whose.readable(identity), wanted, identity.account)
        return Answer(await self._shown(await self._one(request, identity)))

    async def _one(self, request: Request, identity: Identity) -> dict[str, Any]:
        return await self._database.read(batches.get, whose.readable(identity), identifier(request))

    async def _shown(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        identifier, stage = batch["id"], (batch["state"], batch["queued"])
        known = self._counts.get(identifier)
        if known is None or known[0] < time.monotonic() or known[1] != stage:
            counts = await self._database.read(batches.counts, identifier)
            known = (time.monotonic() + _FRESH, stage, counts)
            self._counts[identifier] = known
            while len(self._counts) > 1000:
                self._counts.popitem(last=False)
        return {**shown(batch), "messages": {status.lower(): known[2][status] for status in sorted(known[2])}}


def _upload(request: Request, fields: dict[str, Any], filename: str) -> Upload:
    wishes = {name: value for name, value in fields.items() if name not in Given.model_fields}
    named = "".join(char for char in filename if char.isprintable())[:100] or "batch"
    try:
        given = Given.model_validate({"name": named, **fields})
        wish = Wish.model_validate(wishes)
    except ValidationError as error:
        raise explain(error) from None
    key = request.headers.get("idempotency-key")
    if key is not None:
        key = key.strip()
        if not 0 < len(key) <= MAX_KEY or not all(" " <= char <= "~" for char in key):
            raise Refused(f"Idempotency-Key must be 1 to {MAX_KEY} printable ASCII characters")
    return Upload(given.template, wish, given.name, given.version, key)


def _digest(content: Slice) -> str:
    digest = hashlib.sha256()
    for piece in content.chunks(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    wish = wish_of(row)
    return {
        "id": str(row["id"]),
        "account_id": str(row["account_id"]),
        "name": row["name"],
        "state": row["state"],
        "reason": row["reason"],
        "template_id": str(row["template_id"]),
        "version": row["version"],
        "from": wish.from_,
        "stream": wish.stream,
        "tag": wish.tag,
        "validate_only": wish.validate_only,
        "size": row["size"],
        "octets_read": row["offset"],
        "columns": row["columns"],
        "rows": row["rows"],
        "valid": row["valid"],
        "refused": row["refused"],
        "queued": row["queued"],
        "send_at": wire_time(row["send_at"]),
        "expires_at": wire_time(wish.expires_at),
        "created_at": wire_time(row["created_at"]),
        "started_at": wire_time(row["started_at"]),
        "ended_at": wire_time(row["ended_at"]),
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "row": row["number"],
        "recipient": row["address"],
        "state": row["state"],
        "reason": row["reason"],
        "message_id": str(row["message_id"]) if row["message_id"] is not None else None,
        "status": row["status"],
        "error_code": row["error_code"],
        "updated_at": wire_time(row["updated_at"]),
    }


def _exported_row(row: Mapping[str, Any]) -> tuple[Any, ...]:
    found = {**_row(row), "recipient": _harmless(row["address"]), "reason": _harmless(row["reason"] or "")}
    return tuple("" if found[name] is None else found[name] for name in _COLUMNS)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv(rows: Any) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


_TEXT = {"type": "string"}
_OBJECT = r'^\{("[a-z]{1,20}":"[A-Za-z ]{1,20}")?\}$'
_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["template", "from", "csv"],
                "additionalProperties": False,
                "properties": {
                    "csv": {
                        "type": "string",
                        "format": "binary",
                        "description": "The list, with a header that has the column recipient.",
                    },
                    "template": {
                        **_TEXT,
                        "description": "Its id or name.",
                        "x-typical": "^[a-z][a-z0-9._-]{0,63}$",
                    },
                    "version": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 1000000,
                        "description": "Left out: the active one.",
                    },
                    "name": {
                        **_TEXT,
                        "description": "Left out: the file's.",
                        "x-typical": "^[A-Za-z0-9 ._-]{1,100}$",
                    },
                    "from": {
                        **_TEXT,
                        "x-typical": BOX_PATTERN,
                        "description": "An address of the account's, perhaps with a name.",
                    },
                    "reply_to": {**_TEXT, "x-typical": BOX_PATTERN},
                    "subject": {
                        **_TEXT,
                        "x-typical": "^[A-Za-z0-9 ,.!?]{0,200}[A-Za-z]$",
                        "description": "Instead of the template's; at most 2,000 characters.",
                    },
                    "stream": {
                        **_TEXT,
                        "x-typical": "^transactional$|^bulk$",
                        "description": "Left out: bulk. The lane is bulk in any.",
                    },
                    "tag": {**_TEXT, "x-typical": "^[A-Za-z0-9 _-]{1,255}$"},
                    "columns": {
                        **_TEXT,
                        "x-typical": _OBJECT,
                        "description": "An object as JSON: columns by what they are.",
                    },
                    "delimiter": {
                        **_TEXT,
                        "x-typical": "^comma$|^semicolon$|^tab$",
                        "description": "Left out: found in the header.",
                    },
                    "encoding": {**_TEXT, "enum": ["utf-8", "latin-1", "windows-1252"]},
                    "unique": {"type": "boolean", "default": True},
                    "validate_only": {"type": "boolean", "default": False},
                    "start": {**_TEXT, "enum": ["auto", "manual"], "default": "auto"},
                    "disable_tracking": {"type": "boolean", "default": False},
                    "send_at": {
                        **_TEXT,
                        "format": "date-time",
                        "description": "When it starts by itself; not with start=manual or validate_only.",
                    },
                    "expires_at": {
                        **_TEXT,
                        "format": "date-time",
                        "description": "What has not gone by then is dropped, UNSENT.",
                    },
                },
            }
        }
    },
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Left out, the same list with the same wishes is the same batch.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,256}$"},
}


def router(services: Services) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, dependencies=[Depends(HTTPBearer(auto_error=False))])
    calls, tag, one = Batches(services), "Batches", f"{PATH}/{{id}}"
    add(
        routes, "POST", PATH, calls.create, "Send a template to a list of recipients", tag=tag, status=202,
        refuses=(404, 409, 413, 415, 429), parameters=[_KEY], form=_FORM,
        leads_to=(f"GET {one}", f"GET {one}/rows", f"POST {one}/cancel"),
    )  # fmt: skip
    add(routes, "GET", PATH, calls.list, "List batches", tag=tag, query=Listed)
    add(routes, "GET", one, calls.get, "Get a batch and how far it is", tag=tag)
    add(routes, "GET", f"{one}/rows", calls.rows, "List a batch's rows", tag=tag, query=Rows)
    add(
        routes,
        "GET",
        f"{one}/preview",
        calls.preview,
        "See the mail for a row",
        tag=tag,
        query=Wanted,
        refuses=(410,),
    )
    add(
        routes, "GET", f"{one}/export", calls.export, "Get what became of every row", tag=tag,
        answers={"text/csv": {"schema": {"type": "string"}}},
    )  # fmt: skip
    add(
        routes, "PATCH", one, calls.change, "Give a batch that has not begun another time", tag=tag,
        asks=NewTime, refuses=(409,),
    )  # fmt: skip
    for name, endpoint, summary in (
        ("start", calls.start, "Send a batch that waits for it"),
        ("pause", calls.pause, "Have a batch send nothing further for now"),
        ("resume", calls.resume, "Go on with a batch that is paused or halted"),
        ("cancel", calls.cancel, "Have a batch send nothing further"),
    ):
        add(routes, "POST", f"{one}/{name}", endpoint, summary, tag=tag, refuses=(409,))
    return routes
