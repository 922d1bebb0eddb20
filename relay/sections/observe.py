"""Metrics and traces."""

from relay.sections.base import Section


class MetricsSettings(Section):
    """Metrics and traces."""
