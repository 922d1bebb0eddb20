"""The secrets of endpoints: made, kept, and signed with (Standard Webhooks, https://www.standardwebhooks.com)."""

import base64
import hmac
import os
import secrets
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relay.core.errors import Misconfigured
from relay.core.seal import derive
from relay.store import secrets as installation
from relay.store.database import Database

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
    """Encrypts secrets for the record, each bound to its endpoint: with the first key, and opens with any."""

    def __init__(self, known: Iterable[bytes]) -> None:
        self._ciphers = [AESGCM(derive(one, _PURPOSE)) for one in known]

    def seal(self, endpoint_id: int, written: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._ciphers[0].encrypt(nonce, written.encode(), b"%d" % endpoint_id)

    def unseal(self, endpoint_id: int, sealed: bytes) -> str:
        """Raises `Misconfigured` when it was sealed with a key that is not known."""
        for cipher in self._ciphers:
            written = _opened(cipher, endpoint_id, sealed)
            if written is not None:
                return written
        raise Misconfigured(
            f"the secret of webhook endpoint {endpoint_id} is encrypted with a key that is not known here: "
            "name it in security.secret or security.previous_secrets, or rotate the endpoint's secret"
        )

    def is_current(self, endpoint_id: int, sealed: bytes) -> bool:
        """Whether it is sealed with the key that is used now."""
        return _opened(self._ciphers[0], endpoint_id, sealed) is not None


async def open_safe(outside: Sequence[bytes], database: Database) -> Safe:
    """With the keys from outside the database, the one in force first, and the installation's own last."""
    return Safe([*outside, await installation.load(database)])


def _opened(cipher: AESGCM, endpoint_id: int, sealed: bytes) -> str | None:
    try:
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], b"%d" % endpoint_id).decode()
    except InvalidTag:
        return None
