"""The request, signed as Standard Webhooks has it. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""

import base64
import binascii
import hmac
import time

import orjson

from relay.core.provider import Outgoing


def body(mail: Outgoing) -> bytes:
    """Envelope and mail; the mail's bytes are base64."""
    return orjson.dumps(
        {
            "type": "mail",
            "message_id": str(mail.message_id),
            "token": mail.token,
            "sender": mail.sender,
            "recipients": [{"id": str(one.id), "address": one.address} for one in mail.recipients],
            "tag": mail.tag,
            "metadata": dict(mail.metadata) if mail.metadata is not None else None,
            "raw": base64.b64encode(mail.raw).decode(),
        }
    )


def signature(secret: str, identifier: str, content: bytes, now: int | None = None) -> dict[str, str]:
    """The three headers; `identifier` is the same for every repeat, so that a receiver can tell a double."""
    moment = int(time.time()) if now is None else now
    signed = f"{identifier}.{moment}.".encode() + content
    digest = base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode()
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(moment),
        "webhook-signature": f"v1,{digest}",
        "idempotency-key": identifier,
    }


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
