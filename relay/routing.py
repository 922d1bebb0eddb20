"""Which provider takes a mail."""

from dataclasses import dataclass

from relay.store.deliveries import ClaimedMail


@dataclass(frozen=True, slots=True)
class Routes:
    """The configured routes; replaced as a whole when the configuration is."""

    default: str

    def choose(self, mail: ClaimedMail) -> str:
        """The name of the provider for this try."""
        return self.default
