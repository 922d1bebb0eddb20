"""What becomes of mail, as others tell it: webhooks of providers, bounce mail."""

from relay.sections.base import Section


class IngestSettings(Section):
    """What becomes of mail, as others tell it: webhooks of providers, bounce mail."""
