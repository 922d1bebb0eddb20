"""How much of its rate a provider is given, second by second, on a clock of the test's own."""

import pytest

from relay.routing.meter import Meter
from relay.sections import ProviderLimits


class Given:
    """A provider that is given all that its meter lets out."""

    def __init__(self, rate: str, *, workers: int = 1, urgent: bool = True) -> None:
        self.moment = 1000.0
        self._urgent = urgent
        self.meter = Meter(ProviderLimits(rate=rate), 10_000, lambda: self.moment)
        self.meter.shared_by(workers)
        self.times: list[float] = []

    def for_seconds(self, seconds: float, *, step: float = 0.01) -> None:
        for _ in range(round(seconds / step)):
            while self.meter.block("", urgent=self._urgent) is None:
                self.meter.take("")
                self.meter.give("")
                self.times.append(self.moment)
            self.moment += step

    def most_in(self, seconds: float) -> int:
        """The most within any stretch of so many seconds."""
        return max(sum(begin <= one < begin + seconds for one in self.times) for begin in self.times)


@pytest.mark.parametrize(("rate", "workers", "most"), [("10/s", 1, 10), ("40/s", 1, 40), ("40/s", 3, 14)])
@pytest.mark.parametrize("urgent", [True, False])
def test_no_second_has_more_than_the_rate(rate: str, workers: int, most: int, *, urgent: bool) -> None:
    given = Given(rate, workers=workers, urgent=urgent)
    given.for_seconds(5)
    # Saved up in a pause, it is still no more.
    given.moment += 60
    given.for_seconds(5)
    assert given.most_in(0.995) <= most


@pytest.mark.parametrize(
    ("rate", "seconds", "expected"), [("10/s", 20, 200), ("25/s", 8, 200), ("30/m", 120, 60)]
)
def test_all_of_the_rate_is_given(rate: str, seconds: int, expected: int) -> None:
    given = Given(rate)
    given.for_seconds(seconds)
    assert expected - 2 <= len(given.times) <= expected + 1


def test_the_first_goes_at_once_and_the_others_wait_for_as_long_as_is_said() -> None:
    given = Given("2/m")
    given.for_seconds(1)
    assert given.times == [1000.0]
    block = given.meter.block("")
    assert block is not None
    given.moment += (block.until or 0) - 0.1
    assert given.meter.block("") is not None
    given.moment += 0.2
    assert given.meter.block("") is None
