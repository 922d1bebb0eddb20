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


def mailgun(
    key: str, signature: Mapping[str, object], *, now: float | None = None, window: float = WINDOW
) -> None:
    """HMAC-SHA256 of timestamp and token, which come in the body. The rest of the body is not covered.

    https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
    """
    timestamp, token = signature.get("timestamp"), signature.get("token")
    if not isinstance(timestamp, str | int) or not isinstance(token, str):
        raise NotAuthentic("the signature lacks its timestamp or token")
    _fresh(str(timestamp), now, window)
    wanted = hmac.digest(key.encode(), f"{timestamp}{token}".encode(), "sha256").hex()
    given = signature.get("signature")
    _same(wanted, given if isinstance(given, str) else None)


def standard(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    prefix: str = "webhook",
    now: float | None = None,
    window: float = WINDOW,
) -> str:
    """Standard Webhooks, and Svix with the prefix `svix`, as Resend has it. Returns the id, the same for repeats.

    Several signatures are there while a secret is being replaced. Header names in lower case.
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    identifier, moment = headers.get(f"{prefix}-id", ""), headers.get(f"{prefix}-timestamp", "")
    _fresh(moment, now, window)
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
    public_key: str,
    signature: str | None,
    timestamp: str | None,
    body: bytes,
    *,
    now: float | None = None,
    window: float = WINDOW,
) -> None:
    """ECDSA (P-256, SHA-256) over the timestamp and the body; the key is base64 of its DER form.

    https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    _fresh(timestamp or "", now, window)
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


#: what is signed of each type of message, in this order; a Subject only where there is one
_SNS_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SNS_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _SNS_CONFIRMATION,
    "UnsubscribeConfirmation": _SNS_CONFIRMATION,
}


def sns_signed(message: Mapping[str, object]) -> bytes:
    """The bytes that Amazon SNS signs of a message; also raises when one of its fields is missing.

    https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
    """
    kind = message.get("Type")
    lines: list[str] = []
    for name in _SNS_SIGNED.get(kind if isinstance(kind, str) else "", ("Type",)):
        value = message.get(name)
        if name == "Subject" and value is None:
            continue
        if not isinstance(value, str) or kind not in _SNS_SIGNED:
            raise NotAuthentic(f"the message has no {name} that SNS would send")
        lines += (name, value)
    return "".join(f"{one}\n" for one in lines).encode()


def sns(certificate: bytes, message: Mapping[str, object]) -> None:
    """RSA (PKCS #1 v1.5) with SHA-1 (version 1) or SHA-256 (version 2); the certificate is PEM.

    Whether the certificate is Amazon's is not asked here: that is a matter of where it came from.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256
    from cryptography.x509 import load_pem_x509_certificate

    versions = {"1": SHA1, "2": SHA256}
    algorithm = versions.get(str(message.get("SignatureVersion")))
    if algorithm is None:
        raise NotAuthentic("the version of the signature is not known")
    signed = sns_signed(message)
    try:
        key = load_pem_x509_certificate(certificate).public_key()
        given = base64.b64decode(str(message.get("Signature")), validate=True)
    except (ValueError, binascii.Error):
        raise NotAuthentic("the certificate or the signature is malformed") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise NotAuthentic("the certificate is of another kind")
    try:
        # SHA-1 is what SNS uses unless the topic asks for version 2.
        key.verify(given, signed, padding.PKCS1v15(), algorithm())
    except InvalidSignature:
        raise NotAuthentic("the signature does not verify") from None


def _fresh(moment: str, now: float | None, window: float) -> None:
    try:
        at = int(moment)
    except ValueError:
        raise NotAuthentic("the request has no time") from None
    if abs(int(time.time() if now is None else now) - at) > window:
        raise NotAuthentic("the request is too old, or the clocks differ")


def _same(wanted: str, given: str | None) -> None:
    if given is None or not _equal(wanted, given):
        raise NotAuthentic("the signature does not verify")


def _equal(wanted: str, given: str) -> bool:
    return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "surrogateescape"))
