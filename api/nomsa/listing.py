"""The query of a listing, checked in the contract's order and refused in its words."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from relay.core.errors import Refused
from relay.core.status import Status
from relay.store.messages import Query

MAX_LIMIT = 1000
_MAX_SAFE = 2**53 - 1
_OPERATORS = ("gt", "gte", "lt", "lte")
#: as the reference server lists them
STATUSES = (
    Status.UNSENT,
    Status.ACCEPTED,
    Status.SENT,
    Status.BOUNCED,
    Status.DELIVERED,
    Status.OPENED,
    Status.COMPLAINT,
)
_KNOWN = frozenset({"limit", "offset", "status", "tag", "created_at", "sort_by", "exclude_params"})

_BRACKETED = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]\Z")
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*\Z")
_SORT = re.compile(r"([+-]?)(created_at|updated_at)\Z")
# A blank before the offset of the zone is a plus that was typed raw into a URL.
_ISO = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,12}))?)?(Z|z|[+ -][0-9]{2}(?::?[0-9]{2})?)?)?)?)?\Z"
)

#: a value given more than once
_Repeated = list[str]
_Value = str | _Repeated | dict[str, Any]


def check(query_string: bytes) -> tuple[Query, bool]:
    """The query, and whether `params` are wanted. Raises `Refused` at the first fault."""
    given = _pairs(query_string)
    limit = _integer(given, "limit", 10, low=1, high=MAX_LIMIT)
    offset = _integer(given, "offset", 0, low=0, high=None)
    status = _status(given)
    tag = _tag(given)
    created = _created(given)
    by_updated, ascending = _sort(given)
    exclude_params = _flag(given, "exclude_params")
    for name in given:
        if name not in _KNOWN:
            _refuse(name, "is not allowed")
    query = Query(
        limit=limit,
        offset=offset,
        status=status,
        tag=tag,
        created_gt=created.get("gt"),
        created_gte=created.get("gte"),
        created_lt=created.get("lt"),
        created_lte=created.get("lte"),
        by_updated=by_updated,
        ascending=ascending,
    )
    return query, not exclude_params


def integer(name: str, written: str) -> int | float:
    """A number in any way the reference server reads one. Raises `Refused` for anything else.

    Exact for digits, which an id's 63 bits need; what has a fraction stays a float.
    """
    text = written.strip(" \t\r\n")
    if text.isascii() and text.isdigit() and len(text) <= 30:
        return int(text)
    if not _NUMBER.match(text):
        _refuse(name, "must be a number")
    number = float(text)
    if math.isinf(number):
        _refuse(name, "must be a safe number")
    return int(number) if number.is_integer() else number


def _pairs(query_string: bytes) -> dict[str, _Value]:
    """Names and values as an extended query parser groups them: brackets make objects, repeats make lists."""
    try:
        pairs = parse_qsl(
            query_string.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1000
        )
    except ValueError:
        raise Refused("The query has too many parameters.") from None
    given: dict[str, _Value] = {}
    for name, value in pairs:
        bracketed = _BRACKETED.match(name)
        if bracketed is None:
            _put(given, name, value)
            continue
        inside = given.setdefault(bracketed[1], {})
        if isinstance(inside, dict):
            _put(inside, bracketed[2], value)
        else:
            given[bracketed[1]] = [value]
    return given


def _put(where: dict[str, Any], name: str, value: str) -> None:
    where[name] = [value] if name in where else value


def _refuse(name: str, reason: str) -> NoReturn:
    raise Refused(f'"{name[:100]}" {reason}')


def _integer(given: Mapping[str, _Value], name: str, default: int, *, low: int, high: int | None) -> int:
    if name not in given:
        return default
    value = given[name]
    if not isinstance(value, str):
        _refuse(name, "must be a number")
    number = integer(name, value)
    if abs(number) > _MAX_SAFE:
        _refuse(name, "must be a safe number")
    if not isinstance(number, int):
        _refuse(name, "must be an integer")
    if number < low:
        _refuse(name, f"must be larger than or equal to {low}")
    if high is not None and number > high:
        _refuse(name, f"must be less than or equal to {high}")
    return number


def _status(given: Mapping[str, _Value]) -> Status | None:
    if "status" not in given:
        return None
    value = given["status"]
    word = value.upper() if isinstance(value, str) else ""
    if word not in Status.__members__:
        _refuse("status", f"must be one of [{', '.join(STATUSES)}]")
    return Status(word)


def _tag(given: Mapping[str, _Value]) -> str | None:
    if "tag" not in given:
        return None
    value = given["tag"]
    if not isinstance(value, str):
        _refuse("tag", "must be a string")
    if not value:
        _refuse("tag", "is not allowed to be empty")
    if len(value) > 255:
        _refuse("tag", "length must be less than or equal to 255 characters long")
    if "\0" in value:
        _refuse("tag", "must not contain NUL")
    return value


def _created(given: Mapping[str, _Value]) -> dict[str, datetime]:
    if "created_at" not in given:
        return {}
    value = given["created_at"]
    if not isinstance(value, dict):
        _refuse("created_at", "must be of type object")
    bounds = {
        operator: _moment(f"created_at.{operator}", value[operator])
        for operator in _OPERATORS
        if operator in value
    }
    for operator in value:
        if operator not in _OPERATORS:
            _refuse(f"created_at.{operator}", "is not allowed")
    return bounds


def _moment(name: str, value: Any) -> datetime:
    found = _ISO.match(value.strip()) if isinstance(value, str) else None
    if found is None:
        _refuse(name, "must be in ISO 8601 date format")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        return datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")),
            tzinfo=_zone(zone),
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(name, "must be in ISO 8601 date format")


def _zone(written: str | None) -> timezone:
    """UTC where none is given, as the guide promises."""
    if written is None or written in "Zz":
        return UTC
    offset = timedelta(hours=int(written[1:3]), minutes=int(written[-2:]) if len(written) > 3 else 0)
    return timezone(-offset if written[0] == "-" else offset)


def _sort(given: Mapping[str, _Value]) -> tuple[bool, bool]:
    """Whether by `updated_at`, and whether ascending."""
    if "sort_by" not in given:
        return False, False
    value = given["sort_by"]
    if not isinstance(value, str):
        _refuse("sort_by", "must be a string")
    if not value:
        _refuse("sort_by", "is not allowed to be empty")
    # The guide prints `sort_by=+created_at`, which arrives with a blank.
    found = _SORT.match("+" + value[1:] if value[0] == " " else value)
    if found is None:
        _refuse("sort_by", f'with value "{value[:100]}" fails to match the required pattern: {_SORT.pattern}')
    return found[2] == "updated_at", found[1] == "+"


def _flag(given: Mapping[str, _Value], name: str) -> bool:
    value = given.get(name, "false")
    flag = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None
    if flag is None:
        _refuse(name, "must be a boolean")
    return flag
