"""Reading a provider's table of the configuration: every option is asked for by name, and what is left is refused.

Values may be numbers, booleans or strings of them, because the environment knows only strings.
"""

from collections.abc import Mapping
from typing import Any

from relay.core.errors import Misconfigured

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_ABSENT = object()


class Options:
    """One provider's options. Every method raises `Misconfigured` naming the option; no message has its value."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._left = dict(given)

    def text(self, name: str, default: str | None = None, *, secret: bool = False) -> str | None:
        """A string, or `default`. Only a `secret` may hold blanks around it."""
        value = self._left.pop(name, None)
        if value is None or value == "":
            return default
        if not isinstance(value, str | int):
            raise Misconfigured(f"{name} must be text")
        return str(value) if secret else str(value).strip()

    def needed(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise Misconfigured(f"{name} is needed")
        return value

    def integer(self, name: str, default: int, *, least: int, most: int) -> int:
        value = self._left.pop(name, default)
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = least - 1
        if isinstance(value, bool) or not least <= number <= most:
            raise Misconfigured(f"{name} must be a whole number from {least} to {most}")
        return number

    def seconds(self, name: str, default: float, *, most: float = 86_400) -> float:
        value = self._left.pop(name, default)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = 0.0
        if isinstance(value, bool) or not 0 < number <= most:
            raise Misconfigured(f"{name} must be a number of seconds above 0 and up to {most:g}")
        return number

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._left.pop(name, default)
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word not in _TRUE | _FALSE:
            raise Misconfigured(f"{name} must be true or false")
        return word in _TRUE

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self._left.pop(name, default)
        if value not in allowed:
            raise Misconfigured(f"{name} must be one of {', '.join(allowed)}")
        return str(value)

    def table(self, name: str) -> dict[str, Any]:
        value = self._left.pop(name, _ABSENT)
        if value is _ABSENT:
            return {}
        if not isinstance(value, Mapping):
            raise Misconfigured(f"{name} must be a table")
        return dict(value)

    def names(self, name: str) -> tuple[str, ...]:
        """A list of strings, or one string with commas or blanks between them."""
        value = self._left.pop(name, None) or ()
        given = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(given, list | tuple) or not all(isinstance(one, str) and one for one in given):
            raise Misconfigured(f"{name} must be a list of texts")
        return tuple(given)

    def finish(self) -> None:
        """Call last: an option nobody asked for is a misspelling that would silently leave a default in force."""
        if self._left:
            raise Misconfigured(f"unknown option {', '.join(sorted(map(repr, self._left)))}")
