"""Circuits open for a provider's own faults, and limits hold a provider's mail to what it may be given."""

from datetime import UTC, date, datetime

import pytest

from relay.core.limits import Quota, WarmUp, Window, parse_quota, parse_rate
from relay.core.provider import Outcome, OutcomeKind
from relay.core.reply import Reply
from relay.routing import Breaker, Meter, Tolerance, Why, is_fault
from relay.sections import ProviderLimits


@pytest.mark.parametrize(
    ("kind", "code", "enhanced", "fault"),
    [
        (OutcomeKind.RETRY, 451, "4.4.1", True),  # no connection
        (OutcomeKind.RETRY, 451, "4.4.2", True),  # line lost
        (OutcomeKind.RETRY, 421, None, True),
        (OutcomeKind.RETRY, 452, "4.3.1", True),  # the provider's disk is full
        (OutcomeKind.RETRY, 454, "4.7.0", True),
        (OutcomeKind.CONFIG, 535, "5.7.8", True),
        (OutcomeKind.AMBIGUOUS, 451, "4.4.2", True),
        (OutcomeKind.RETRY, 451, "4.7.1", False),  # greylisting
        (OutcomeKind.RETRY, 450, "4.2.1", False),  # a mailbox
        (OutcomeKind.RETRY, 452, "4.2.2", False),
        (OutcomeKind.RETRY, 451, None, False),
        (OutcomeKind.THROTTLED, 451, "4.7.1", False),
        (OutcomeKind.REJECTED, 550, "5.1.1", False),
        (OutcomeKind.ACCEPTED, 250, "2.0.0", False),
    ],
)
def test_whose_fault_it_is(kind, code: int, enhanced: str | None, fault: bool) -> None:
    assert is_fault(Outcome(kind, Reply(code, enhanced, "words"))) is fault


def reports(breaker: Breaker, answers: str, *, every: float = 0.1) -> list[bool]:
    return [breaker.report(fault=one == "x", at=n * every) for n, one in enumerate(answers)]


def test_faults_in_a_row_open_it() -> None:
    assert reports(Breaker(Tolerance(failures=3)), "xxx") == [False, False, True]
    assert not any(reports(Breaker(Tolerance(failures=3)), "xx.xx.xx."))
    assert not any(reports(Breaker(Tolerance(failures=3, window=30)), "xxxxxx", every=20))


def test_a_provider_that_fails_half_of_the_time_is_left_alone_too() -> None:
    assert reports(Breaker(Tolerance()), "x." * 20)[-2:] == [True, False]
    assert not any(reports(Breaker(Tolerance()), "x........." * 50, every=0.01))


def test_pauses_double_up_to_the_longest() -> None:
    assert Tolerance(pause=5, longest_pause=30).pauses == (5, 10, 20, 30)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def meter(places: int = 100, **limits) -> tuple[Meter, Clock]:
    clock = Clock()
    return Meter(ProviderLimits(**limits), places, clock), clock


def test_a_rate_lets_through_a_second_s_worth_and_no_more() -> None:
    made, clock = meter(rate="5/s")
    clock.now += 60
    for _ in range(5):
        assert made.block("x") is None
        made.take("x")
    assert made.block("x").why is Why.RATE
    clock.now += 0.5
    # What has come back would be the sixth within a second.
    assert made.block("x").why is Why.RATE
    clock.now += 0.5
    assert made.block("x") is None
    made.take("x")
    clock.now += 3600
    assert made.room() == 5


def test_workers_share_a_rate() -> None:
    made, clock = meter(rate="10/s")
    made.shared_by(5)
    clock.now += 1
    assert made.room() == 2


def test_places_for_each_domain_and_for_all() -> None:
    made, _ = meter(places=3, per_domain=2)
    made.take("x")
    made.take("x")
    assert made.block("x").why is Why.DOMAIN
    assert made.block("y") is None
    made.take("y")
    assert made.block("y").why is Why.BUSY
    made.give("x")
    assert made.block("x") is None


def test_a_provider_that_answers_nothing_is_stalled() -> None:
    made, clock = meter(places=1)
    made.take("x")
    assert made.block("x").why is Why.BUSY
    clock.now += 60
    assert made.block("x").why is Why.STALLED
    made.give("x")
    assert made.block("x") is None


def test_asked_to_slow_down_it_does() -> None:
    made, clock = meter()
    made.hold(10)
    assert made.block("x").until == 10
    clock.now += 11
    assert made.block("x") is None


def test_written_limits() -> None:
    assert parse_rate("50/s") == 50
    assert parse_rate(" 600 / min ") == 10
    assert parse_quota("50000/day") == Quota(50000, Window.DAY)
    for wrong in ("50", "0/s", "x/s", "50/fortnight", "-1/s"):
        with pytest.raises(ValueError):
            parse_rate(wrong)
    with pytest.raises(ValueError):
        parse_quota("5/s")


MOMENT = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)


def test_windows() -> None:
    assert Window.DAY.key(MOMENT) == "day 2026-01-31"
    assert Window.DAY.end(MOMENT) == datetime(2026, 2, 1, tzinfo=UTC)
    assert Window.HOUR.end(MOMENT) == datetime(2026, 2, 1, tzinfo=UTC)
    assert Window.MONTH.end(MOMENT) == datetime(2026, 2, 1, tzinfo=UTC)
    assert Window.MONTH.start(MOMENT) == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "allowed"),
    [("2026-02-01", 0), ("2026-01-31", 50), ("2026-01-30", 100), ("2026-01-29", None)],
)
def test_a_warm_up_allows_so_much_a_day(start: str, allowed: int | None) -> None:
    assert WarmUp(date.fromisoformat(start), (50, 100)).today(MOMENT) == allowed


def test_a_warm_up_and_a_quota_are_both_kept() -> None:
    made, _ = meter(quota="80/day", warmup={"start": "2026-01-30", "daily": [50, 100]})
    assert made.allowances(MOMENT) == {Window.DAY: 80}
    assert made.allowances(datetime(2026, 1, 30, tzinfo=UTC)) == {Window.DAY: 50}
    assert made.allowances(datetime(2027, 1, 30, tzinfo=UTC)) == {Window.DAY: 80}
