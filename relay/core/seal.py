"""Keys and signatures for what leaves the house and has to be known again: return paths, links, tokens.

Every purpose has a key of its own, derived from the installation's secret, so that what was signed for one can
never be used for another.
"""

import hashlib
import hmac


def derive(secret: bytes, purpose: str) -> bytes:
    """The key for one purpose, such as `return-path` (HKDF's expand step with one block, RFC 5869 2.3)."""
    return hmac.digest(secret, purpose.encode() + b"\x01", hashlib.sha256)


def sign(key: bytes, data: bytes, length: int = 16) -> bytes:
    """The first `length` octets of the HMAC-SHA256 of `data`; ten are enough for what expires."""
    return hmac.digest(key, data, hashlib.sha256)[:length]


def verify(key: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` is `sign`'s of that length, found in constant time."""
    return len(signature) >= 8 and hmac.compare_digest(sign(key, data, len(signature)), signature)
