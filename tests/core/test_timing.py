"""Quiet hours by wall clocks, on ordinary days and on those on which clocks are changed."""

from datetime import UTC, datetime, timedelta

import pytest

from relay.core.timing import LATEST, QuietHours, fault, options_with, timing_of


def at(written: str) -> datetime:
    return datetime.fromisoformat(written).astimezone(UTC)


@pytest.mark.parametrize(
    ("hours", "moment", "until"),
    [
        ("22:00 07:00 Asia/Singapore", "2026-05-01T21:59:59+08:00", None),
        ("22:00 07:00 Asia/Singapore", "2026-05-01T22:00:00+08:00", "2026-05-02T07:00:00+08:00"),
        ("22:00 07:00 Asia/Singapore", "2026-05-02T06:59:59+08:00", "2026-05-02T07:00:00+08:00"),
        ("22:00 07:00 Asia/Singapore", "2026-05-02T07:00:00+08:00", None),
        # Where it is another day than in UTC.
        ("22:00 07:00 Pacific/Auckland", "2026-05-01T23:00:00+12:00", "2026-05-02T07:00:00+12:00"),
        ("12:00 14:00 America/New_York", "2026-05-01T12:30:00-04:00", "2026-05-01T14:00:00-04:00"),
        ("12:00 14:00 America/New_York", "2026-05-01T14:30:00-04:00", None),
        ("00:00 06:00 UTC", "2026-05-01T00:00:00+00:00", "2026-05-01T06:00:00+00:00"),
        # Clocks go forward at 02:00: the night is an hour shorter, its end is where the clocks say.
        ("22:00 07:00 Europe/Berlin", "2026-03-28T23:00:00+01:00", "2026-03-29T07:00:00+02:00"),
        # They skip the end, or the beginning.
        ("22:00 02:30 Europe/Berlin", "2026-03-29T01:59:00+01:00", "2026-03-29T03:00:00+02:00"),
        ("22:00 02:30 Europe/Berlin", "2026-03-29T03:00:00+02:00", None),
        ("02:30 04:00 Europe/Berlin", "2026-03-29T01:59:59+01:00", None),
        ("02:30 04:00 Europe/Berlin", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"),
        # Clocks go back at 03:00: half past two comes twice, and it is quiet until the second one.
        ("22:00 02:30 Europe/Berlin", "2026-10-25T01:00:00+02:00", "2026-10-25T02:30:00+01:00"),
        ("22:00 02:30 Europe/Berlin", "2026-10-25T02:45:00+02:00", "2026-10-25T02:30:00+01:00"),
        ("22:00 02:30 Europe/Berlin", "2026-10-25T02:30:00+01:00", None),
        ("02:30 04:00 Europe/Berlin", "2026-10-25T02:30:00+02:00", "2026-10-25T04:00:00+01:00"),
    ],
)
def test_quiet_hours(hours, moment, until):
    found = QuietHours.parse(*hours.split()).until(at(moment))
    assert found == (None if until is None else at(until))


def test_every_minute_of_a_year_is_quiet_or_not_as_the_clocks_say():
    """Against the plain reading of a wall clock, apart from the hours in which clocks are changed."""
    hours = QuietHours.parse("22:15", "06:45", "America/St_Johns")
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("America/St_Johns")
    moment = at("2026-01-01T00:00:00+00:00")
    for _ in range(365 * 24 * 4):
        shown = moment.astimezone(zone)
        clock = (shown.hour, shown.minute)
        assert (hours.until(moment) is not None) == (clock >= (22, 15) or clock < (6, 45)), shown
        moment += timedelta(minutes=15)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (("24:00", "07:00", "UTC"), "24:00"),
        (("22:00", "7:00", "UTC"), "7:00"),
        (("22:00", "22:00", "UTC"), "same time"),
        (("22:00", "07:00", "Mars/Olympus"), "Mars/Olympus"),
        (("22:00", "07:00", "../../etc/passwd"), "not a time zone"),
        (("22:00", "07:00", ""), "not a time zone"),
    ],
)
def test_what_are_no_quiet_hours(written, words):
    with pytest.raises(ValueError, match=words):
        QuietHours.parse(*written)


def test_a_record_keeps_the_times_and_gives_them_back():
    accepted = at("2026-05-01T10:00:00+00:00")
    send_at, expires_at = at("2026-05-02T22:30:00+08:00"), at("2026-05-03T08:00:00+08:00")
    quiet = QuietHours.parse("22:00", "07:00", "Asia/Singapore")
    options = options_with(
        {"stream": "bulk", "quiet": quiet.words(), "expires_at": "old"}, send_at, expires_at
    )
    timing = timing_of(accepted, options)
    assert (timing.began, timing.expires_at, timing.quiet) == (send_at, expires_at, quiet)
    assert timing.due(send_at) == at("2026-05-03T07:00:00+08:00")
    assert timing.due(at("2026-05-04T07:30:00+08:00")) == expires_at
    assert options_with(options, None, None) == {"stream": "bulk", "quiet": quiet.words()}
    assert timing_of(accepted, None).due(accepted) == accepted


def test_times_that_cannot_be():
    moment = at("2026-05-01T10:00:00+00:00")
    hour = timedelta(hours=1)
    assert fault(None, None, moment) is None
    assert fault(moment + hour, moment + 2 * hour, moment) is None
    assert fault(moment + LATEST + hour, None, moment) == ("send_at", "must be at most 365 days ahead")
    assert fault(None, moment, moment) == ("expires_at", "must be in the future")
    assert fault(moment + hour, moment + hour, moment) == ("expires_at", "must be later than send_at")
