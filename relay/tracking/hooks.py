"""Where vendors report to: a URL for each provider, with a secret of its own."""

from relay.config import Settings, secret
from relay.core import seal
from relay.core.errors import Misconfigured

PATH = "/v1/webhooks"
_PURPOSE = "provider-webhook"
#: characters of a secret that an operator chooses
_SHORTEST = 16


def secret_of(settings: Settings, name: str, installation: bytes) -> str:
    """The last part of a provider's URL: its `webhook_secret`, or one that the installation makes for it.

    Raises `Misconfigured` for one that cannot stand in a URL, or could be guessed.
    """
    chosen = settings.limits_of(name).webhook_secret
    if chosen is None:
        return seal.sign(seal.derive(installation, _PURPOSE), name.encode()).hex()
    found = secret(chosen.get_secret_value())
    if len(found) < _SHORTEST or not found.isascii() or not found.replace("-", "").replace("_", "").isalnum():
        raise Misconfigured(
            f"providers.{name}.webhook_secret: needs at least {_SHORTEST} letters, digits, - and _"
        )
    return found


def url_of(settings: Settings, name: str, installation: bytes) -> str:
    """What to give to the vendor. Begins with `/` while `public_url` is not set. Raises `Misconfigured`."""
    return f"{settings.public_url.rstrip('/')}{PATH}/{name}/{secret_of(settings, name, installation)}"
