import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core import ids
from relay.core.clock import wire_time
from relay.core.reply import Reply, parse_reply
from relay.core.retry import Schedule
from relay.core.status import Status, advance

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_ids_grow_and_fit_63_bits() -> None:
    made = [ids.new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert all(0 < one <= ids.MAX_ID for one in made)


def test_an_id_tells_its_time() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    moment = ids.made_at(ids.new_id())
    assert before <= moment <= datetime.now(UTC) + timedelta(milliseconds=50)


@given(st.datetimes(min_value=datetime(2024, 1, 2), max_value=datetime(2090, 1, 1), timezones=st.just(UTC)))
def test_the_floor_of_a_time_splits_ids_at_it(moment: datetime) -> None:
    floor = ids.floor_at(moment)
    assert ids.made_at(floor) >= moment
    assert ids.made_at(floor - 1) < moment


def test_status_never_goes_back_whatever_the_order() -> None:
    reports = [Status.SENT, Status.DELIVERED, Status.OPENED, Status.BOUNCED]
    for order in itertools.permutations(reports):
        status = Status.ACCEPTED
        for report in order:
            following = advance(status, report)
            assert following.rank >= status.rank
            status = following
        assert status is Status.BOUNCED


def test_retries_follow_the_schedule_and_end_with_a_last_try() -> None:
    schedule = Schedule(jitter=0)
    due = [schedule.next_due(attempts=n, accepted_at=START, now=START) for n in range(1, 12)]
    waits = [(one - START).total_seconds() for one in due if one]
    assert waits == [30, 120, 300, 600, 1200, 2400, 3600, 7200, 14400, 28800, 28800]
    late = START + timedelta(hours=23)
    assert schedule.next_due(attempts=10, accepted_at=START, now=late) == START + timedelta(hours=24)
    assert schedule.next_due(attempts=10, accepted_at=START, now=START + timedelta(hours=24)) is None


def test_jitter_stays_within_its_share() -> None:
    waits = {
        (Schedule().next_due(attempts=1, accepted_at=START, now=START) - START).total_seconds()
        for _ in range(200)
    }
    assert min(waits) >= 24
    assert max(waits) <= 36
    assert len(waits) > 50


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (550, "5.1.1 no such user", Reply(550, "5.1.1", "no such user")),
        (250, "ok", Reply(250, None, "ok")),
        (451, "4.7.1 grey\n4.7.1 listed", Reply(451, "4.7.1", "grey listed")),
        (250, "2.0.0", Reply(250, "2.0.0", "")),
    ],
)
def test_replies_are_read(code: int, text: str, expected: Reply) -> None:
    assert parse_reply(code, text) == expected
    assert str(expected).startswith(str(code))


def test_times_on_the_wire_have_milliseconds_and_zone() -> None:
    assert wire_time(datetime(2026, 1, 2, 3, 4, 5, 6789, tzinfo=UTC)) == "2026-01-02T03:04:05.006Z"
    assert wire_time(None) is None
