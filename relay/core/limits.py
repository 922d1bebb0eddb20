"""How much a provider may be given: rates, quotas and warm-up, as operators write them.

A rate (`50/s`) spreads mail over time; a quota (`50000/day`) counts it in windows of UTC, as vendors do.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

_WRITTEN = re.compile(r"\s*(\d{1,12})\s*/\s*([a-z]+)\s*\Z", re.IGNORECASE)
_SECONDS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
}


class Window(StrEnum):
    """What a quota counts in."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    def start(self, moment: datetime) -> datetime:
        """The beginning, in UTC, of the window that `moment` is in."""
        day = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if self is Window.HOUR:
            return day
        return day.replace(hour=0) if self is Window.DAY else day.replace(hour=0, day=1)

    def end(self, moment: datetime) -> datetime:
        start = self.start(moment)
        if self is Window.MONTH:
            return (start + timedelta(days=32)).replace(day=1)
        return start + (timedelta(hours=1) if self is Window.HOUR else timedelta(days=1))

    def key(self, moment: datetime) -> str:
        """The window's name in the record, such as `day 2026-01-31`."""
        shown = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}[self.value]
        return f"{self.value} {self.start(moment):{shown}}"


@dataclass(frozen=True, slots=True)
class Quota:
    """So many recipients in each window."""

    limit: int
    window: Window

    def __str__(self) -> str:
        return f"{self.limit}/{self.window.value}"


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A ramp for a new sending address: recipients allowed on the first day, the second, and so on; then no limit."""

    start: date
    daily: Sequence[int]

    def today(self, moment: datetime) -> int | None:
        """The limit of the day, 0 before the first, None when the ramp is over."""
        day = (moment.astimezone(UTC).date() - self.start).days
        if day < 0:
            return 0
        return self.daily[day] if day < len(self.daily) else None


def parse_rate(text: str) -> float:
    """Recipients a second from `50/s`, `600/min` or `3600/h`. Raises `ValueError`."""
    number, unit = _parts(text, "50/s")
    if unit not in _SECONDS:
        raise ValueError(f"{text!r} is no rate; the unit is one of s, min, h, day")
    return number / _SECONDS[unit]


def parse_quota(text: str) -> Quota:
    """A quota from `2000/hour`, `50000/day` or `1000000/month`. Raises `ValueError`."""
    number, unit = _parts(text, "50000/day")
    named = {"h": Window.HOUR, "d": Window.DAY} | {window.value: window for window in Window}
    if unit not in named:
        raise ValueError(f"{text!r} is no quota; the unit is one of hour, day, month")
    return Quota(number, named[unit])


def _parts(text: str, example: str) -> tuple[int, str]:
    found = _WRITTEN.match(text)
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} cannot be read; write it like {example}")
    return int(found[1]), found[2].lower()
