"""Fields beyond the contract: a text alternative, metadata, headers of the client's own. All are optional."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

import orjson

from relay.core.clock import now
from relay.core.errors import Refused
from relay.core.stream import is_name
from relay.core.timing import EXPIRES_AT, SEND_AT, fault

MAX_METADATA = 4096  #: octets as JSON
MAX_METADATA_KEYS = 50
MAX_HEADERS = 30
MAX_HEADER = 2000  #: characters of one value

#: what a client may write; anything else is ours, the contract's or the provider's
HEADER_NAME = re.compile(
    r"(?:X-[A-Za-z0-9-]{1,70}|List-[A-Za-z0-9-]{1,70}|References|In-Reply-To|Auto-Submitted|Precedence|Importance"
    r"|Priority|Feedback-ID|Organization|Comments|Keywords)\Z",
    re.IGNORECASE,
)
# Providers read orders from these, recipients among them.
_ORDERS = re.compile(
    r"X-(?:SMTPAPI|MSYS-API|SES-|Mailgun-|PM-|MC-|MJ-|SIB-|Mailin-|Sparkpost|Pillarbox|Envelope-|Rcpt-|Original-)",
    re.IGNORECASE,
)
#: readers take these apart, so encoded words have no place in them
_STRUCTURED = re.compile(r"List-|References|In-Reply-To", re.IGNORECASE)
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{5,8}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})\Z", re.IGNORECASE | re.ASCII
)
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]*\Z")


def text(given: Mapping[str, Any], max_octets: int) -> str | None:
    if "text" not in given:
        return None
    value = given["text"]
    if not isinstance(value, str):
        _refuse("text", "must be a string")
    if not value:
        _refuse("text", "is not allowed to be empty")
    if len(value.encode()) > max_octets:
        _refuse("text", f"must be at most {max_octets} bytes in UTF-8 encoding")
    if "\0" in value:
        _refuse("text", "must not contain NUL")
    return value


def metadata(given: Mapping[str, Any]) -> dict[str, Any] | None:
    if "metadata" not in given:
        return None
    value = _object(given, "metadata")
    if len(value) > MAX_METADATA_KEYS:
        _refuse("metadata", f"must have at most {MAX_METADATA_KEYS} keys")
    for key, one in value.items():
        if not key or len(key) > 64 or not _PRINTABLE.match(key):
            _refuse("metadata", "must have keys of 1 to 64 printable characters")
        place = f"metadata.{key}"
        if not isinstance(one, str | int | float | bool | None):
            _refuse(place, "must be a string, a number, a boolean or null")
        if isinstance(one, float) and not math.isfinite(one):
            _refuse(place, "must be a finite number")
        if isinstance(one, str) and "\0" in one:
            _refuse(place, "must not contain NUL")
    if len(orjson.dumps(value)) > MAX_METADATA:
        _refuse("metadata", f"must be at most {MAX_METADATA} bytes as JSON")
    return value


def headers(given: Mapping[str, Any]) -> dict[str, str]:
    if "headers" not in given:
        return {}
    value = _object(given, "headers")
    if len(value) > MAX_HEADERS:
        _refuse("headers", f"must have at most {MAX_HEADERS} names")
    seen: set[str] = set()
    for name, one in value.items():
        place = f"headers.{name}"
        if not HEADER_NAME.match(name) or _ORDERS.match(name):
            _refuse(place, "is not a header that may be set")
        if name.lower() in seen:
            _refuse(place, "contains a duplicate value")
        seen.add(name.lower())
        if not isinstance(one, str):
            _refuse(place, "must be a string")
        if not one.strip() or len(one) > MAX_HEADER:
            _refuse(place, f"must be 1 to {MAX_HEADER} characters long")
        if not _PRINTABLE.match(one):
            _refuse(place, "must not contain line breaks or control characters")
        if _STRUCTURED.match(name) and (not one.isascii() or max(map(len, one.split(" "))) > 900):
            _refuse(place, "must be ASCII in words of at most 900 characters")
    return value


def stream(given: Mapping[str, Any]) -> str | None:
    if "stream" not in given:
        return None
    value = given["stream"]
    if not isinstance(value, str) or not is_name(value):
        _refuse("stream", "must be the name of a stream")
    return value


def track(given: Mapping[str, Any]) -> dict[str, bool] | None:
    """What is to be tracked: `{"opens": true, "clicks": false}`, of which either may be left out."""
    if "track" not in given:
        return None
    value = _object(given, "track")
    for name, wanted in value.items():
        if name not in {"opens", "clicks"}:
            _refuse(f"track.{name}", "is not allowed")
        if not isinstance(wanted, bool):
            _refuse(f"track.{name}", "must be a boolean")
    return value or None


def times(given: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """When to send, and when it is of no use any more. A time that has come means at once."""
    moment = now()
    send_at, expires_at = _moment(given, SEND_AT), _moment(given, EXPIRES_AT)
    if send_at is not None and send_at <= moment:
        send_at = None
    wrong = fault(send_at, expires_at, moment)
    if wrong is not None:
        _refuse(*wrong)
    return send_at, expires_at


def _moment(given: Mapping[str, Any], name: str) -> datetime | None:
    if name not in given:
        return None
    value = given[name]
    try:
        if not isinstance(value, str) or not _RFC3339.match(value):
            raise ValueError(value)
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(name, "must be a time with its zone, such as 2030-01-31T12:00:00Z")


def options(*, stream: str | None, track: Mapping[str, Any] | None, disable_tracking: bool) -> dict[str, Any]:
    """What the record keeps of these wishes."""
    found: dict[str, Any] = {}
    if stream is not None:
        found["stream"] = stream
    if track is not None:
        found["track"] = dict(track)
    if disable_tracking:
        found["disable_tracking"] = True
    return found


def _object(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object, or its JSON as a form has it."""
    value = given[name]
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, dict):
        _refuse(name, "must be of type object")
    return value


def _refuse(name: str, reason: str) -> NoReturn:
    raise Refused(f'"{name[:100]}" {reason}')
