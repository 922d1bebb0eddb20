"""Opens, clicks and unsubscribing."""

from relay.sections.base import Section


class TrackingSettings(Section):
    """Opens, clicks and unsubscribing."""
