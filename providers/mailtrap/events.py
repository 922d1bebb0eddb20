"""What Mailtrap tells. https://docs.mailtrap.io/email-api-smtp/advanced/webhooks"""

import re
from collections.abc import Iterator

from providers import signatures
from providers.reporting import Keys, details
from providers.told import Told, address_of, reply_of, token_of
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Report, WebhookRequest

_KINDS = {
    "delivery": EventKind.DELIVERED,
    "soft bounce": EventKind.DEFERRED,  # it is tried again
    "suspension": EventKind.DEFERRED,
    "bounce": EventKind.BOUNCED,
    "reject": EventKind.BOUNCED,
    "spam": EventKind.COMPLAINED,
    "spam complaint": EventKind.COMPLAINED,
    "open": EventKind.OPENED,
    "click": EventKind.CLICKED,
    "unsubscribe": EventKind.UNSUBSCRIBED,
}
_CODES = {EventKind.DELIVERED: 250, EventKind.DEFERRED: 451}
_BLOCKED = re.compile(r"spam|block|black|reputation|policy|virus|content")
_FULL = re.compile(r"quota|full|mailbox.?size")


def verify(keys: Keys, request: WebhookRequest) -> None:
    given = request.headers.get("mailtrap-signature")
    keys.check(lambda key: signatures.hex_hmac(key, given, request.body))


def reports(told: Told, request: WebhookRequest) -> Iterator[Report]:
    """A list under `events`, or one event to a line."""
    if "events" not in told.data:
        yield _report(told, request)
        return
    events = told.data["events"]
    for one in events if isinstance(events, list) else [events]:
        if isinstance(one, dict) and one:
            yield _report(Told(one), request)
        else:
            yield Report(EventKind.UNKNOWN, request.at, original={"told": one})


def _report(event: Told, request: WebhookRequest) -> Report:
    name = event.word("event").replace("_", " ")
    kind = _KINDS.get(name, EventKind.UNKNOWN)
    reply = reply_of(
        event.text("response", "reason"), _CODES.get(kind, 550), code=event.number("response_code")
    )
    enhanced = reply.enhanced if reply else None
    return Report(
        kind,
        event.moment("timestamp") or request.at,
        token=token_of(event.table("custom_variables").text("pillarbox")),
        ref=event.text("message_id"),
        recipient=address_of(event.text("email")),
        key=event.text("event_id"),
        reply=reply,
        bounce=_bounce(name, event, enhanced or "") if kind is EventKind.BOUNCED else None,
        detail=details(url=event.text("url"), ip=event.text("ip"), user_agent=event.text("user_agent")),
        original=event.data,
    )


def _bounce(name: str, event: Told, enhanced: str) -> Bounce:
    if name == "reject":
        hard = "bounce" in event.word("reason")
        return Bounce(BounceClass.HARD if hard else BounceClass.SOFT, BounceReason.SUPPRESSED)
    category = event.word("bounce_category")
    if _BLOCKED.search(category) or enhanced.startswith("5.7."):
        return Bounce(BounceClass.BLOCK, BounceReason.SPAM if "spam" in category else BounceReason.POLICY)
    if _FULL.search(category) or enhanced == "5.2.2":
        return Bounce(BounceClass.SOFT, BounceReason.MAILBOX_FULL)
    unknown = "mailbox" in category
    return Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER if unknown else BounceReason.OTHER)
