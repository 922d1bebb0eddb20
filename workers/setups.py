"""From settings to what an engine works with; what a change of settings leaves alone is kept."""

from collections.abc import Mapping
from typing import Any

from providers import registry
from relay import config
from relay.config import Settings
from relay.core.provider import Provider
from relay.delivery.overview import digest
from relay.delivery.ways import Setup
from relay.routing import router_of, tolerance_of


def build_providers(settings: Settings) -> dict[str, Provider]:
    """The configured providers. Raises `Misconfigured`."""
    return registry.build(config.provider_options(settings))


class Builder:
    """Makes setups one after another; a provider whose options have not changed keeps its connections."""

    def __init__(self, secret: bytes = b"") -> None:
        """`secret` is the installation's; without it mail keeps the return paths of its senders."""
        self._secret = secret
        self._options: Mapping[str, Mapping[str, Any]] = {}
        self._providers: Mapping[str, Provider] = {}

    def build(self, settings: Settings) -> Setup:
        """Raises `Misconfigured`, and then the setup before stays as it is."""
        options = config.provider_options(settings)
        fresh = {name: own for name, own in options.items() if self._options.get(name) != own}
        built = registry.build(fresh)
        self._providers = {name: built.get(name) or self._providers[name] for name in options}
        self._options = options
        return Setup(
            self._providers,
            {name: settings.limits_of(name) for name in options},
            router_of(settings),
            tolerance_of(settings),
            frozenset(fresh),
            digest(settings),
            settings.ingest.return_paths(self._secret) if self._secret else None,
        )
