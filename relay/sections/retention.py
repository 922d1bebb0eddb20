"""How long what is kept."""

from relay.sections.base import Section


class RetentionSettings(Section):
    """How long what is kept."""
