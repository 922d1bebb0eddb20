"""What a request asks for: its body, its query and the ids in its path, checked; and pages of what it gets."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from relay.core.errors import Malformed, NotFound, Refused
from relay.core.ids import MAX_ID

M = TypeVar("M", bound=BaseModel)

MAX_LIMIT = 1000
#: octets of a request that manages things
_MAX_BODY = 256 * 1024
_ID = re.compile(r"[0-9]{1,19}\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# A blank before the offset of the zone is a plus that was typed raw into a URL.
_RAW_PLUS = re.compile(r" (?=[0-9]{2}:?[0-9]{2}\Z)")


def _aware(moment: datetime) -> datetime:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _restored(written: Any) -> str:
    # A bare number could be seconds or milliseconds, and the library would guess.
    if not isinstance(written, str) or not _DATE.match(written):
        raise ValueError("must be a time in ISO 8601")
    return _RAW_PLUS.sub("+", written)


_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_CONTROL = re.compile(f"[{_CONTROLS}]")


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


def _whole(written: Any) -> Any:
    # JSON has one kind of number: 3.0 is an integer there (JSON Schema 6.1.1), and to us.
    return int(written) if isinstance(written, float) and written.is_integer() else written


#: for an integer, however JSON writes it
WHOLE = BeforeValidator(_whole)


def described(pattern: str) -> Any:
    """What a text looks like as a rule, for those who make one up. Our own checks decide, and take more than that.

    Not as its `pattern`: clients made from the description hold what they send to those.
    """
    return Field(json_schema_extra={"x-typical": pattern})


_LOCAL = "[A-Za-z0-9]{1,20}([._+-][A-Za-z0-9]{1,10}){0,3}"
_DOMAIN = "[A-Za-z0-9]{1,20}([.-][A-Za-z0-9]{1,10}){0,4}"
ADDRESS_PATTERN = f"^{_LOCAL}@{_DOMAIN}$"
BOX_PATTERN = f"^({_LOCAL}@{_DOMAIN}|[A-Za-z]{{1,20}} <{_LOCAL}@{_DOMAIN}>)$"
SENDER_PATTERN = rf"^(\*|{_LOCAL}@{_DOMAIN}|{_DOMAIN}\.[a-z]{{2,8}})$"
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
NETWORK_PATTERN = (
    rf"^(({_OCTET}\.){{3}}{_OCTET}(/(3[0-2]|[12]?[0-9]))?"
    r"|[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$"
)


#: a time; UTC where no zone is given
Moment = Annotated[datetime, Field(strict=False), BeforeValidator(_restored), AfterValidator(_aware)]
#: text that is stored and shown, in one line
Line = Annotated[str, AfterValidator(_one_line), Field(json_schema_extra={"pattern": f"^[^{_CONTROLS}]*$"})]


class Asked(BaseModel):
    """A body. A name nobody knows is an error: a typo must not be taken for a wish."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)


class Page(BaseModel):
    """The query of a list. Lists end where `next_cursor` is null."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="Entries per page.")] = 50
    cursor: Annotated[
        str | None, Field(pattern=r"^[0-9]{1,19}$", description="`next_cursor` of the page before.")
    ] = None

    @property
    def before(self) -> int | None:
        return min(int(self.cursor), MAX_ID) if self.cursor else None


async def body(request: Request, model: type[M], *, limit: int = _MAX_BODY) -> M:
    """The JSON body as a `model`. Raises what the API answers 400, 413 or 415 to."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "Send the body as application/json.")
    written = await request.body()
    if len(written) > limit:
        raise HTTPException(413, "The request is larger than this call takes.")
    return check(model, written)


def check(model: type[M], written: bytes) -> M:
    """JSON as a `model`; raises what the API answers 400 to."""
    try:
        return model.model_validate_json(written)
    except ValidationError as error:
        raise explain(error) from None


def query(request: Request, model: type[M]) -> M:
    """The query as a `model`. A name given twice is an error, as nobody can say which one was meant."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("utf-8", "replace"),
            keep_blank_values=True,
            max_num_fields=100,
        )
    except ValueError:
        raise Refused("The query has too many parameters.") from None
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise Refused(f'"{name[:100]}" is given more than once')
        given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise explain(error) from None


def explain(error: ValidationError) -> Refused:
    """The first fault in the words of all our answers."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return Malformed()
    where = ".".join(str(part) for part in first["loc"])[:200] or "value"
    if first["type"] == "extra_forbidden":
        return Refused(f'"{where}" is not allowed')
    if first["type"] == "missing":
        return Refused(f'"{where}" is required')
    return Refused(f'"{where}" is invalid: {first["msg"].removeprefix("Value error, ")}')


def identifier(request: Request, name: str = "id") -> int:
    """The id in the path. What can be no id names nothing: raises `NotFound`."""
    written = request.path_params[name]
    if not _ID.match(written) or int(written) > MAX_ID:
        raise NotFound
    return int(written)


def page(
    rows: Sequence[Mapping[str, Any]], limit: int, show: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """One page of up to `limit` rows; one row more says that there are more."""
    shown = rows[:limit]
    return part(shown[-1]["id"] if len(rows) > limit else None, [show(row) for row in shown])


def part(after: int | None, data: list[dict[str, Any]]) -> dict[str, Any]:
    """A part of a list; `after` is the id that the next one begins after, None at the end."""
    return {
        "has_more": after is not None,
        "next_cursor": str(after) if after is not None else None,
        "data": data,
    }
