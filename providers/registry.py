"""From configuration to providers: kinds are found by the entry point group `pillarbox.providers`."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from relay.core.errors import Misconfigured
from relay.core.provider import Capabilities, Provider, ProviderKind

GROUP = "pillarbox.providers"
#: which extra brings a package that only some providers need
_EXTRAS = {"dns": "mx"}


def kinds() -> list[str]:
    """The names a provider's `type` may have here, plug-ins included."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def kind(name: str) -> ProviderKind:
    """Raises `Misconfigured` when nothing installed offers that kind, or what does cannot be loaded."""
    for point in entry_points(group=GROUP, name=name):
        try:
            loaded: ProviderKind = point.load()
        except (ImportError, AttributeError) as error:
            extra = _EXTRAS.get((getattr(error, "name", None) or "").partition(".")[0])
            more = f"; pip install 'pillarbox[{extra}]'" if extra else ""
            raise Misconfigured(f"type {name!r} cannot be loaded: {error}{more}") from None
        return loaded
    raise Misconfigured(f"type {name!r} is not installed (known: {', '.join(kinds())})")


def capabilities(name: str) -> Capabilities | None:
    """What providers of a kind can do; None where that is not known before one is made."""
    try:
        found = getattr(kind(name), "capabilities", None)
    except Misconfigured:
        return None
    return found if isinstance(found, Capabilities) else None


def build(configured: Mapping[str, Mapping[str, Any]]) -> dict[str, Provider]:
    """Every configured provider by name. Raises `Misconfigured` naming the provider and the option."""
    built: dict[str, Provider] = {}
    for name, options in configured.items():
        try:
            rest = {key: value for key, value in options.items() if key != "type"}
            built[name] = kind(str(options["type"]))(name, rest)
        except Misconfigured as error:
            raise Misconfigured(f"providers.{name}: {error}") from None
    return built
