"""Counting, cheap enough for every mail: a dictionary entry, and no lock.

What is counted is defined once, in `relay.observe.metrics`; how it leaves the house is in `relay.observe.exposition`.
Counts of one process are added to those of the others there. An addition may be lost when two threads of a process
count the same thing in the same instant; no mail hangs on it.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

#: seconds; from a commit on a fast disk to a mail that waited for hours
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)

Labels = tuple[str, ...]

#: every metric of this process, in the order in which they are shown
REGISTRY: list["Counter | Histogram | Gauge"] = []


class _Metric:
    kind = ""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = tuple(labels)
        self.values: dict[Labels, Any] = {}
        REGISTRY.append(self)  # type: ignore[arg-type]


class Counter(_Metric):
    """Something that only grows. Names end in `_total`."""

    kind = "counter"

    def add(self, *labels: str, count: float = 1) -> None:
        self.values[labels] = self.values.get(labels, 0) + count


class Histogram(_Metric):
    """How long something took, in seconds, by steps."""

    kind = "histogram"

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str] = (), steps: Sequence[float] = SECONDS
    ) -> None:
        super().__init__(name, meaning, labels)
        self.steps = tuple(steps)

    def observe(self, seconds: float, *labels: str) -> None:
        found = self.values.get(labels)
        if found is None:
            # One count for each step, one for what lies beyond, and the sum.
            found = self.values[labels] = [0] * (len(self.steps) + 1) + [0.0]
        found[bisect_left(self.steps, seconds)] += 1
        found[-1] += seconds


class Gauge(_Metric):
    """Something that is so much now, asked for when it is shown. `read` gives values by labels."""

    kind = "gauge"

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, meaning, labels)
        self.read: Callable[[], dict[Labels, float]] | None = None


#: what a metric's values are as JSON: pairs of labels and value
Snapshot = dict[str, list[tuple[list[str], Any]]]


def snapshot() -> Snapshot:
    """The counts of this process now."""
    taken: Snapshot = {}
    for metric in REGISTRY:
        values = metric.values
        if isinstance(metric, Gauge):
            values = metric.read() if metric.read is not None else {}
        if values:
            taken[metric.name] = [
                (list(labels), list(value) if isinstance(value, list) else value)
                for labels, value in list(values.items())
            ]
    return taken


def resume(earlier: Snapshot) -> None:
    """Count on from where a process that was here before has ended; what it held of gauges is over."""
    for metric in REGISTRY:
        if isinstance(metric, Gauge):
            continue
        for labels, value in earlier.get(metric.name, ()):
            if isinstance(metric, Histogram) and len(value) != len(metric.steps) + 2:
                continue
            metric.values[tuple(labels)] = value


def added(snapshots: Sequence[Snapshot]) -> Snapshot:
    """The counts of several processes as one."""
    total: dict[str, dict[Labels, Any]] = {}
    for one in snapshots:
        for name, values in one.items():
            sums = total.setdefault(name, {})
            for labels, value in values:
                key = tuple(labels)
                before = sums.get(key)
                if before is None:
                    sums[key] = list(value) if isinstance(value, list) else value
                elif isinstance(before, list):
                    if len(before) == len(value):
                        sums[key] = [a + b for a, b in zip(before, value, strict=True)]
                else:
                    sums[key] = before + value
    return {
        name: [(list(labels), value) for labels, value in values.items()] for name, values in total.items()
    }


def reset() -> None:
    """Forget everything, as a process does after a fork."""
    for metric in REGISTRY:
        metric.values.clear()
