"""Counts as Prometheus reads them, by its own client library."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from relay import __version__
from relay.observe import counts
from relay.observe.counts import Gauge, Histogram, Snapshot

CONTENT_TYPE = CONTENT_TYPE_LATEST


def page(snapshots: Sequence[Snapshot]) -> bytes:
    """The text form of these processes' counts, added up."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(counts.added(snapshots)))
    return generate_latest(registry)


def serve(host: str, port: int) -> None:
    """Answer Prometheus at `/metrics` in a thread of its own, with this process's counts. Raises `OSError`."""
    from prometheus_client import start_http_server

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Now())
    start_http_server(port, host, registry)


class _Once(Collector):
    def __init__(self, taken: Snapshot) -> None:
        self._taken = taken

    def collect(self) -> Iterable[Metric]:
        return _families(self._taken)


class _Now(Collector):
    def collect(self) -> Iterable[Metric]:
        return _families(counts.snapshot())


def _families(taken: Snapshot) -> Iterable[Metric]:
    yield InfoMetricFamily("pillarbox", "This installation.", value={"version": __version__})
    for metric in counts.REGISTRY:
        values = taken.get(metric.name, [])
        if isinstance(metric, Histogram):
            histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
            for labels, numbers in values:
                running, buckets = 0, []
                for step, count in zip((*metric.steps, float("inf")), numbers, strict=False):
                    running += count
                    buckets.append(("+Inf" if step == float("inf") else repr(float(step)), running))
                histogram.add_metric(labels, buckets, sum_value=numbers[-1])
            yield histogram
            continue
        kind = GaugeMetricFamily if isinstance(metric, Gauge) else CounterMetricFamily
        family = kind(metric.name, metric.meaning, labels=metric.labels)
        if not values and not metric.labels and not isinstance(metric, Gauge):
            values = [([], 0)]
        for labels, value in values:
            family.add_metric(labels, value)
        yield family
