"""What vendors tell, read leniently: one odd event must not cost the others of its batch.

`Told` is one JSON object. Whatever is missing or of another type than asked for reads as None or empty.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from providers.outcomes import line
from relay.core.reply import Reply, parse_reply

_TOKEN = re.compile(r"(\d{1,19})(?:[.-](\d{1,19}))?\Z")
_BRACKETED = re.compile(r"<([^<>\s]+)>\s*\Z")
# "550 5.1.1 ...", "smtp; 550-5.1.1 ...", "sent (250 2.0.0 OK ...)"
_CODE = re.compile(r"(?:^|[;(:]\s*)([245]\d\d)(?:[ -]+|\Z)")
_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3}\Z")
#: what codes stand for when only the enhanced one was told (RFC 3463 2)
_BASIC = {"2": 250, "4": 451, "5": 550}
#: the escape, but not an escaped backslash before its letters
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_EARLIEST, _LATEST = 946_684_800.0, 4_102_444_800.0  # the years 2000 to 2100


class Told:
    """One JSON object of a vendor's."""

    __slots__ = ("data",)

    def __init__(self, data: Any) -> None:
        self.data: Mapping[str, Any] = data if isinstance(data, dict) else {}

    def text(self, *names: str) -> str | None:
        """The first of these that is there: a string that is not empty, or a number as one."""
        for name in names:
            value = self.data.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return str(value)
            if isinstance(value, str) and value:
                return value
        return None

    def word(self, *names: str) -> str:
        """The same in lower case, for comparing."""
        return (self.text(*names) or "").strip().lower()

    def number(self, name: str) -> float | None:
        value = self.data.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def flag(self, name: str) -> bool | None:
        value = self.data.get(name)
        if isinstance(value, str):
            return {"true": True, "false": False}.get(value.lower())
        return value if isinstance(value, bool) else None

    def table(self, name: str) -> "Told":
        return Told(self.data.get(name))

    def tables(self, name: str) -> list["Told"]:
        """The objects of a list."""
        return [Told(one) for one in self.items(name) if isinstance(one, dict)]

    def texts(self, name: str) -> list[str]:
        """The strings of a list, or the one string there is."""
        value = self.data.get(name)
        if isinstance(value, str):
            return [value]
        return [one for one in self.items(name) if isinstance(one, str)]

    def items(self, name: str) -> list[Any]:
        value = self.data.get(name)
        return value if isinstance(value, list) else []

    def moment(self, *names: str, per_second: float = 1) -> datetime | None:
        """A time: ISO 8601, or a number since 1970 of which `per_second` make a second. UTC where no zone is told."""
        for name in names:
            number = self.number(name)
            found = _written(self.text(name)) if number is None else _counted(number / per_second)
            if found is not None:
                return found
        return None


def _counted(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if _EARLIEST <= seconds <= _LATEST else None


def _written(text: str | None) -> datetime | None:
    try:
        # Python keeps six digits of a fraction; vendors write up to nine.
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", (text or "").strip()))
    except ValueError:
        return None
    if not 2000 <= found.year < 2100:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def told_in(body: bytes) -> list[Any]:
    """The values of a body: of a JSON list each, one otherwise, or one per line. What is no JSON is its text."""
    try:
        found = _loads(body)
    except orjson.JSONDecodeError:
        try:
            found = [_loads(one) for one in body.splitlines() if one.strip()]
        except orjson.JSONDecodeError:
            found = line(body[:4_000].decode("utf-8", "replace"))
    return found if isinstance(found, list) else [found]


def _loads(body: bytes) -> Any:
    # Neither text nor JSON of PostgreSQL holds this character.
    return orjson.loads(_NUL.sub(rb"\1", body) if rb"\u0000" in body else body)


def token_of(text: str | None) -> str | None:
    """Our token, also where its dot had to become a hyphen; None for what cannot be ours."""
    found = _TOKEN.match(text or "")
    if not found:
        return None
    return f"{found[1]}.{found[2]}" if found[2] else found[1]


def address_of(text: str | None) -> str | None:
    """The address of `Name <address>` or alone."""
    found = _BRACKETED.search(text or "")
    return (found[1] if found else (text or "").strip()) or None


def reply_of(
    words: str | None, otherwise: int, *, code: float | None = None, enhanced: str | None = None
) -> Reply | None:
    """The reply that these words tell of, wherever in them its codes stand; None without words.

    `code` and `enhanced` are what the vendor told apart from the words. `otherwise` is the code for words of the
    vendor's own that no server said.
    """
    text = line(words or "")
    found = _CODE.search(text)
    rest = text[found.end() :].rstrip(")") if found else text
    given = enhanced if enhanced and _ENHANCED.match(enhanced) else None
    if code is not None and 200 <= code < 600:
        number = int(code)
    elif found:
        number = int(found[1])
    else:
        said = given or rest
        number = _BASIC[said[0]] if _ENHANCED.match(said.partition(" ")[0]) else otherwise
    if not text and given is None and code is None:
        return None
    reply = parse_reply(number, rest)
    return Reply(reply.code, given or reply.enhanced, reply.text)
