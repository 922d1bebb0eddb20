"""When a mail may go: not before one time, not after another, and not in its stream's quiet hours."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Self
from zoneinfo import ZoneInfo

#: how far ahead a mail may be handed in, and how long it may be good for
LATEST = timedelta(days=365)
#: the names under which a record keeps them
SEND_AT, EXPIRES_AT, QUIET = "send_at", "expires_at", "quiet"

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z")
_DAY = timedelta(days=1)
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A time of every day in which mail waits, by the wall clocks of a time zone.

    It may go over midnight. On the days on which clocks are changed it is never shorter than the clocks say: it ends
    the second time that they show its end, and where they skip its end, when they skip it.
    """

    start: time
    end: time
    zone: str  #: a name of the IANA time zone database, such as `Asia/Singapore`

    @classmethod
    def parse(cls, start: str, end: str, zone: str) -> Self:
        """From `22:00`, `07:00` and a zone. Raises `ValueError`, which names what cannot be read."""
        found = cls(_clock(start), _clock(end), zone)
        if found.start == found.end:
            raise ValueError("quiet hours begin and end at the same time")
        try:
            _zone(zone)
        except (OSError, ValueError, KeyError):
            raise ValueError(f"{zone[:64]!r} is not a time zone; one is Europe/Berlin") from None
        return found

    def words(self) -> list[str]:
        """What `parse` reads."""
        return [f"{self.start:%H:%M}", f"{self.end:%H:%M}", self.zone]

    def until(self, moment: datetime) -> datetime | None:
        """When the quiet hours end that `moment` lies in; None where it lies in none."""
        zone = _zone(self.zone)
        today = moment.astimezone(zone).date()
        for day in (today - _DAY, today):
            last = day if self.end > self.start else day + _DAY
            if _instant(day, self.start, zone, fold=0) <= moment < (end := self._end(last, zone)):
                return end
        return None

    def _end(self, day: date, zone: ZoneInfo) -> datetime:
        return _instant(day, self.end, zone, fold=1)


def _clock(written: str) -> time:
    found = _CLOCK.match(written)
    if found is None:
        raise ValueError(f"{written[:20]!r} is not a time of day; one is 22:00")
    return time(int(found[1]), int(found[2]))


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _instant(day: date, at: time, zone: ZoneInfo, *, fold: int) -> datetime:
    """When clocks show it on `day`: the first or second time; where they skip it, when they skip."""
    shown = datetime.combine(day, at)
    first = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    second = shown.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if second >= first:
        return second if fold else first
    # In a gap the two lie around it (PEP 495), the wrong way round.
    before = second.astimezone(zone).utcoffset()
    low, high = second, first
    while high - low > _INSTANT:
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True, slots=True)
class Timing:
    """What a record says of a mail's time."""

    #: since when it is tried
    began: datetime
    expires_at: datetime | None = None
    quiet: QuietHours | None = None

    def due(self, wanted: datetime) -> datetime:
        """The time to try it instead of `wanted`; what would be too late is due when it expires, to be dropped."""
        if self.quiet is not None:
            wanted = self.quiet.until(wanted) or wanted
        return wanted if self.expires_at is None else min(wanted, self.expires_at)


def timing_of(accepted_at: datetime, options: Mapping[str, Any] | None) -> Timing:
    """The timing that `options` of a message say."""
    if not options:
        return Timing(accepted_at)
    began, quiet = options.get(SEND_AT), options.get(QUIET)
    return Timing(
        accepted_at if began is None else datetime.fromisoformat(began),
        expiry_of(options),
        None if quiet is None else _kept(tuple(quiet)),
    )


def expiry_of(options: Mapping[str, Any] | None) -> datetime | None:
    """When the mail is of no use any more."""
    written = options.get(EXPIRES_AT) if options else None
    return None if written is None else datetime.fromisoformat(written)


@lru_cache(maxsize=1024)
def _kept(words: Sequence[str]) -> QuietHours:
    return QuietHours.parse(*words)


def options_with(
    options: Mapping[str, Any] | None, send_at: datetime | None, expires_at: datetime | None
) -> dict[str, Any]:
    """`options` with these times and no others."""
    found = {name: value for name, value in (options or {}).items() if name not in {SEND_AT, EXPIRES_AT}}
    if send_at is not None:
        found[SEND_AT] = send_at.astimezone(UTC).isoformat()
    if expires_at is not None:
        found[EXPIRES_AT] = expires_at.astimezone(UTC).isoformat()
    return found


def fault(send_at: datetime | None, expires_at: datetime | None, now: datetime) -> tuple[str, str] | None:
    """What is wrong with the times that a client wants: the name of one and why; None when they can be."""
    for name, moment in ((SEND_AT, send_at), (EXPIRES_AT, expires_at)):
        if moment is not None and moment > now + LATEST:
            return name, f"must be at most {LATEST.days} days ahead"
    if expires_at is not None:
        if expires_at <= now:
            return EXPIRES_AT, "must be in the future"
        if send_at is not None and send_at >= expires_at:
            return EXPIRES_AT, "must be later than send_at"
    return None
