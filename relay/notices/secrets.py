"""The secrets of endpoints: made, kept, and signed with (Standard Webhooks, https://www.standardwebhooks.com)."""

import base64
import hmac
import os
import secrets
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relay.core.errors import Misconfigured
from relay.core.seal import derive

_PREFIX = "whsec_"
_LENGTH = 32  # octets; the standard asks for 24 to 64
_NONCE = 12
_PURPOSE = "webhook-secrets"


def new_secret() -> str:
    """A secret as customers see it: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_LENGTH)).decode()


def sign(written: str, identifier: str, timestamp: int, body: bytes) -> str:
    """The signature `v1,…` of one call: HMAC-SHA256 of id, time in seconds and body, with full stops between."""
    key = base64.b64decode(written.removeprefix(_PREFIX))
    signed = hmac.digest(key, b"%s.%d.%s" % (identifier.encode(), timestamp, body), "sha256")
    return "v1," + base64.b64encode(signed).decode()


def headers(known: Iterable[str], identifier: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The standard's headers, signed with every secret that is valid."""
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(one, identifier, timestamp, body) for one in known),
    }


class Safe:
    """Encrypts secrets for the record, each bound to its endpoint."""

    def __init__(self, installation_secret: bytes) -> None:
        self._cipher = AESGCM(derive(installation_secret, _PURPOSE))

    def seal(self, endpoint_id: int, written: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, written.encode(), b"%d" % endpoint_id)

    def unseal(self, endpoint_id: int, sealed: bytes) -> str:
        """Raises `Misconfigured` when it was sealed by another installation."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], b"%d" % endpoint_id).decode()
        except InvalidTag:
            raise Misconfigured(
                f"the secret of webhook endpoint {endpoint_id} was stored by another installation; rotate it"
            ) from None
