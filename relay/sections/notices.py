"""Webhooks to customers."""

from relay.sections.base import Section


class NoticeSettings(Section):
    """Webhooks to customers."""
