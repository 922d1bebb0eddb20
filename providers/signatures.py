"""Who a webhook is from: the vendors' schemes, over the bytes exactly as they came.

Each function returns nothing and raises `NotAuthentic`, which says what is wrong with the request but never what
would have been right. Times are compared with `now`, seconds since 1970.
"""

import base64
import binascii
import hmac
import time
from collections.abc import Mapping

from relay.core.provider import NotAuthentic

#: seconds a request may be old, or ahead of our clock; the Standard Webhooks' number
WINDOW = 300.0


def hex_hmac(secret: str, given: str | None, body: bytes) -> None:
    """Mailtrap (`Mailtrap-Signature`) and MailerSend (`Signature`): HMAC-SHA256 of the body, in hexadecimal.

    https://docs.mailtrap.io/email-api-smtp/advanced/webhooks
    https://developers.mailersend.com/api/v1/webhooks.html#security
    """
    wanted = hmac.digest(secret.encode(), body, "sha256").hex()
    _same(wanted, given)


def mailgun(key: str, signature: Mapping[str, object], *, now: float | None = None) -> None:
    """HMAC-SHA256 of timestamp and token, which come in the body. The rest of the body is not covered.

    https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
    """
    timestamp, token = signature.get("timestamp"), signature.get("token")
    if not isinstance(timestamp, str | int) or not isinstance(token, str):
        raise NotAuthentic("the signature lacks its timestamp or token")
    _fresh(str(timestamp), now)
    wanted = hmac.digest(key.encode(), f"{timestamp}{token}".encode(), "sha256").hex()
    given = signature.get("signature")
    _same(wanted, given if isinstance(given, str) else None)


def standard(
    secret: str, headers: Mapping[str, str], body: bytes, *, prefix: str = "webhook", now: float | None = None
) -> str:
    """Standard Webhooks, and Svix with the prefix `svix`, as Resend has it. Returns the id, the same for repeats.

    Several signatures are there while a secret is being replaced. Header names in lower case.
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    identifier, moment = headers.get(f"{prefix}-id", ""), headers.get(f"{prefix}-timestamp", "")
    _fresh(moment, now)
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise NotAuthentic("the configured secret is not base64") from None
    signed = f"{identifier}.{moment}.".encode() + body
    wanted = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    for one in headers.get(f"{prefix}-signature", "").split():
        version, _, given = one.partition(",")
        if version == "v1" and _equal(wanted, given):
            return identifier
    raise NotAuthentic("the signature does not verify")


def sendgrid(
    public_key: str, signature: str | None, timestamp: str | None, body: bytes, *, now: float | None = None
) -> None:
    """ECDSA (P-256, SHA-256) over the timestamp and the body; the key is base64 of its DER form.

    https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    _fresh(timestamp or "", now)
    try:
        key = load_der_public_key(base64.b64decode(public_key))
        given = base64.b64decode(signature or "", validate=True)
    except (ValueError, binascii.Error):
        raise NotAuthentic("the key or the signature is malformed") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise NotAuthentic("the configured key is of another kind")
    try:
        key.verify(given, (timestamp or "").encode() + body, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise NotAuthentic("the signature does not verify") from None


def _fresh(moment: str, now: float | None) -> None:
    try:
        at = int(moment)
    except ValueError:
        raise NotAuthentic("the request has no time") from None
    if abs((time.time() if now is None else now) - at) > WINDOW:
        raise NotAuthentic("the request is too old, or the clocks differ")


def _same(wanted: str, given: str | None) -> None:
    if given is None or not _equal(wanted, given):
        raise NotAuthentic("the signature does not verify")


def _equal(wanted: str, given: str) -> bool:
    return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "surrogateescape"))
