"""A send's body: JSON or a form, read into fields without holding more than a bound of it in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request

from api.nomsa.forms import FormReader, boundary_of
from api.nomsa.spool import Slice, Spool
from relay.core.errors import Malformed, Refused
from relay.sections import ApiSettings

#: octets of a JSON or urlencoded body, the reference server's limit for what it reads at all
MAX_WHOLE = 10 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
#: bodies beyond the bound that are worked on at a time; the others wait on disk
_LARGE = 4
_MAX_FIELDS = 1000


class Bodies:
    """One per process."""

    def __init__(self, settings: ApiSettings, spool: Path) -> None:
        self._settings = settings
        self._directory = spool
        self._room = asyncio.Semaphore(_LARGE)

    def spool(self) -> Spool:
        return Spool(self._directory, self._settings.spool_memory)

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[tuple[dict[str, Any], Spool]]:
        """The request's fields by name, and where further contents may be put, for the length of the context.

        What is no body of a known type counts as empty, as in the contract. Raises `Malformed` for what cannot be
        read.
        """
        kind, charset, encoding, written = _content(request)
        spool = self.spool()
        fields: dict[str, Any] = {}
        large = False
        try:
            if kind == "multipart/form-data":
                boundary = boundary_of(written)
                if boundary is not None:
                    form = FormReader(
                        boundary,
                        spool,
                        max_field=self._settings.max_body,
                        max_files=self._settings.attachments.max_total,
                    )
                    async for piece in request.stream():
                        form.feed(piece)
                    large = await self._enter(spool)
                    fields = form.fields()
            elif kind in {"application/json", "application/x-www-form-urlencoded"}:
                if encoding not in {"", "identity"} or charset not in {"", "utf-8", "utf8", "us-ascii"}:
                    raise Malformed
                await _collect(request, spool)
                large = await self._enter(spool)
                data = Slice(spool, 0, spool.size).whole()
                fields = _json(data) if kind == "application/json" else _urlencoded(data)
            yield fields, spool
        except asyncio.CancelledError:
            # A commit that goes on without its client still reads the files.
            raise
        except BaseException:
            spool.close()
            raise
        else:
            spool.close()
        finally:
            if large:
                self._room.release()

    async def _enter(self, spool: Spool) -> bool:
        if spool.size <= self._settings.spool_memory:
            return False
        await self._room.acquire()
        return True


async def _collect(request: Request, spool: Spool) -> None:
    async for piece in request.stream():
        if piece:
            spool.write(piece)
            if spool.size > MAX_WHOLE:
                raise Malformed


def _json(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        fields = orjson.loads(body.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        raise Malformed from None
    if isinstance(fields, dict):
        return fields
    if isinstance(fields, list):
        raise Refused('"value" must be of type object')
    raise Malformed


def _urlencoded(body: bytes) -> dict[str, Any]:
    """Names with brackets are lists, as are names that come more than once."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Malformed from None
    fields: dict[str, Any] = {}
    for written, value in pairs:
        name, bracket, index = written.partition("[")
        if bracket and (index == "]" or (index[:-1].isdecimal() and index.endswith("]"))):
            held = fields.setdefault(name, [])
            fields[name] = [*held, value] if isinstance(held, list) else [held, value]
        elif written not in fields:
            fields[written] = value
        elif isinstance(fields[written], list):
            fields[written].append(value)
        else:
            fields[written] = [fields[written], value]
    return fields


def _content(request: Request) -> tuple[str, str, str, bytes]:
    kind = charset = encoding = ""
    written = b""
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            written = value
            kind, _, rest = value.decode("latin-1").lower().partition(";")
            if "charset=" in rest:
                charset = rest.partition("charset=")[2].partition(";")[0].strip(' "')
        elif name == b"content-encoding":
            encoding = value.decode("latin-1").lower().strip()
    return kind.strip(), charset, encoding, written
