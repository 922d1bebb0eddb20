"""HMAC of a request. https://learn.microsoft.com/en-us/rest/api/communication/authentication#hmac-authentication"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import urlsplit

_SIGNED = "x-ms-date;host;x-ms-content-sha256"


def signed(method: str, url: str, body: bytes, key: bytes, now: datetime | None = None) -> dict[str, str]:
    """The headers that sign it; `now` in UTC."""
    date = format_datetime(now or datetime.now(UTC), usegmt=True)
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    digest, signature = sign(method, target, parts.netloc, date, body, key)
    return {
        "x-ms-date": date,
        "x-ms-content-sha256": digest,
        "authorization": f"HMAC-SHA256 SignedHeaders={_SIGNED}&Signature={signature}",
    }


def sign(method: str, target: str, host: str, date: str, body: bytes, key: bytes) -> tuple[str, str]:
    """The body's digest and the signature, both base64."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    written = f"{method}\n{target}\n{date};{host};{digest}".encode()
    return digest, base64.b64encode(hmac.digest(key, written, "sha256")).decode()
