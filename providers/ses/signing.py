"""AWS Signature Version 4. https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

_SERVICE = "ses"


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs. The access key's id is no secret, the rest is."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def signed(
    method: str, url: str, body: bytes, keys: Keys, region: str, now: datetime | None = None
) -> dict[str, str]:
    """The headers of a request with its signature; `now` in UTC."""
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    headers = {"content-type": "application/json", "host": parts.netloc, "x-amz-date": moment}
    if keys.session_token:
        headers["x-amz-security-token"] = keys.session_token
    names = ";".join(headers)
    signature = sign(method, parts.path, parts.query, headers, body, keys, region)
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{moment[:8]}/{region}/{_SERVICE}/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return headers


def sign(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes, keys: Keys, region: str
) -> str:
    """The signature over these headers, whose names are in lower case and sorted; `query` sorted as well."""
    moment = headers["x-amz-date"]
    written = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in headers.items())
    digest = hashlib.sha256(body).hexdigest()
    canonical = "\n".join(
        (method, quote(path or "/", safe="/-_.~"), query, written, ";".join(headers), digest)
    )
    scope = f"{moment[:8]}/{region}/{_SERVICE}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{keys.secret_key}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()
