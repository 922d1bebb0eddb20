"""What SendGrid tells. https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event"""

import base64
import binascii
from collections.abc import Iterator

from providers import signatures
from providers.reporting import Keys, details
from providers.told import Told, address_of, reply_of, token_of
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Report, WebhookRequest

_KINDS = {
    "processed": EventKind.SENT,
    "deferred": EventKind.DEFERRED,
    "delivered": EventKind.DELIVERED,
    "bounce": EventKind.BOUNCED,
    "dropped": EventKind.BOUNCED,
    "open": EventKind.OPENED,
    "click": EventKind.CLICKED,
    "spamreport": EventKind.COMPLAINED,
    "unsubscribe": EventKind.UNSUBSCRIBED,
    "group_unsubscribe": EventKind.UNSUBSCRIBED,
}
_CODES = {EventKind.DELIVERED: 250, EventKind.DEFERRED: 451}

_BLOCKED = {
    "content": BounceReason.SPAM,
    "reputation": BounceReason.REPUTATION,
    "frequency or volume too high": BounceReason.RATE,
}
# https://www.twilio.com/docs/sendgrid/ui/analytics-and-reporting/drops
_DROPPED = {
    "bounced address": Bounce(BounceClass.HARD, BounceReason.SUPPRESSED),
    "invalid": Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER),
    "unsubscribed address": Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED),
    "spam reporting address": Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED),
    "spam content": Bounce(BounceClass.BLOCK, BounceReason.SPAM),
    "recipient list over package quota": Bounce(BounceClass.SOFT, BounceReason.RATE),
}


def known(key: str) -> None:
    """Raises ValueError for what is no public key in DER and base64."""
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        load_der_public_key(base64.b64decode(key, validate=True))
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def verify(keys: Keys, request: WebhookRequest) -> None:
    prefix = "x-twilio-email-event-webhook-"
    signature, moment = (request.headers.get(prefix + name) for name in ("signature", "timestamp"))
    now, body = request.at.timestamp(), request.body
    keys.check(lambda key: signatures.sendgrid(key, signature, moment, body, now=now, window=keys.max_age))


def reports(told: Told, request: WebhookRequest) -> Iterator[Report]:
    """Asynchronous bounces have neither our token nor the mail's id: only the address is left of them."""
    kind = _KINDS.get(told.word("event"), EventKind.UNKNOWN)
    words = told.text("response", "reason")
    yield Report(
        kind,
        told.moment("timestamp") or request.at,
        token=token_of(told.text("pillarbox")),
        ref=(told.text("sg_message_id") or "").partition(".")[0] or None,
        recipient=address_of(told.text("email")),
        key=told.text("sg_event_id"),
        reply=reply_of(words, _CODES.get(kind, 550), enhanced=told.text("status")),
        bounce=_bounce(told) if kind is EventKind.BOUNCED else None,
        detail=details(
            url=told.text("url"),
            # For bounces this is the address that SendGrid sent from.
            ip=told.text("ip") if kind in {EventKind.OPENED, EventKind.CLICKED} else None,
            user_agent=told.text("useragent"),
            machine=told.flag("sg_machine_open"),
        ),
        original=told.data,
    )


def _bounce(told: Told) -> Bounce | None:
    if told.word("event") == "dropped":
        return _DROPPED.get(told.word("reason"), Bounce(BounceClass.SOFT))
    cause, status = told.word("bounce_classification"), told.word("status")
    if told.word("type") == "blocked" or cause in _BLOCKED:
        return Bounce(BounceClass.BLOCK, _BLOCKED.get(cause, BounceReason.POLICY))
    if cause == "invalid address" or status.startswith("5.1."):
        return Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER)
    if cause == "mailbox unavailable":
        if status.startswith("5") and status != "5.2.2":
            return Bounce(BounceClass.HARD, BounceReason.INACTIVE)
        full = status.endswith(".2.2")
        return Bounce(BounceClass.SOFT, BounceReason.MAILBOX_FULL if full else BounceReason.OTHER)
    if cause in {"technical failure", "unclassified"}:
        return Bounce(BounceClass.SOFT)
    return None if told.text("reason") else Bounce(BounceClass.HARD)
