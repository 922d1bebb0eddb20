"""What Brevo tells. https://developers.brevo.com/docs/transactional-webhooks"""

from collections.abc import Iterator

from providers.reporting import details
from providers.told import Told, address_of, reply_of, token_of
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Report, WebhookRequest

_KINDS = {
    "request": EventKind.SENT,
    "delivered": EventKind.DELIVERED,
    "deferred": EventKind.DEFERRED,
    "hard_bounce": EventKind.BOUNCED,
    "soft_bounce": EventKind.BOUNCED,
    "invalid_email": EventKind.BOUNCED,
    "blocked": EventKind.BOUNCED,
    "error": EventKind.BOUNCED,
    "spam": EventKind.COMPLAINED,
    "complaint": EventKind.COMPLAINED,
    "opened": EventKind.OPENED,
    "unique_opened": EventKind.OPENED,
    "proxy_open": EventKind.OPENED,
    "unique_proxy_open": EventKind.OPENED,
    "click": EventKind.CLICKED,
    "unsubscribe": EventKind.UNSUBSCRIBED,
    "unsubscribed": EventKind.UNSUBSCRIBED,
}
_BOUNCES = {
    "hard_bounce": Bounce(BounceClass.HARD),
    "invalid_email": Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER),
    "soft_bounce": Bounce(BounceClass.SOFT),
    "blocked": Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED),
    "error": Bounce(BounceClass.SOFT),
}
_CODES = {EventKind.DELIVERED: 250, EventKind.DEFERRED: 451}


def reports(told: Told, request: WebhookRequest) -> Iterator[Report]:
    """`id` is the webhook's, not the event's; of the times only `ts_epoch` is UTC for certain."""
    event = told.word("event")
    kind = _KINDS.get(event, EventKind.UNKNOWN)
    yield Report(
        kind,
        told.moment("ts_epoch", per_second=1_000) or told.moment("ts_event", "ts") or request.at,
        token=token_of(told.text("X-Mailin-custom")),
        ref=(told.text("message-id") or "").strip("<>") or None,
        recipient=address_of(told.text("email")),
        reply=reply_of(told.text("reason"), _CODES.get(kind, 550)),
        bounce=_BOUNCES.get(event),
        detail=details(
            url=told.text("link"),
            user_agent=told.text("user_agent"),
            machine=True if "proxy_open" in event else None,
        ),
        original=told.data,
    )
