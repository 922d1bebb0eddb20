"""What Postmark tells. https://postmarkapp.com/developer/webhooks/webhooks-overview"""

from collections.abc import Iterator

from providers.reporting import details
from providers.told import Told, address_of, reply_of, token_of
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Report, WebhookRequest

_KINDS = {
    "delivery": EventKind.DELIVERED,
    "open": EventKind.OPENED,
    "click": EventKind.CLICKED,
    "spamcomplaint": EventKind.COMPLAINED,
}
# https://postmarkapp.com/developer/api/bounce-api#bounce-types; automatic answers are there as well, and are no
# bounces: they stay unknown.
_BOUNCES: dict[str, EventKind | Bounce] = {
    "hardbounce": Bounce(BounceClass.HARD),
    "transient": EventKind.DEFERRED,
    "unsubscribe": EventKind.UNSUBSCRIBED,
    "dnserror": EventKind.DEFERRED,
    "spamnotification": Bounce(BounceClass.BLOCK, BounceReason.SPAM),
    "openrelaytest": EventKind.DEFERRED,
    "unknown": Bounce(BounceClass.SOFT),
    "softbounce": Bounce(BounceClass.SOFT),
    "virusnotification": Bounce(BounceClass.BLOCK, BounceReason.SPAM),
    "bademailaddress": Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER),
    "spamcomplaint": EventKind.COMPLAINED,
    "manuallydeactivated": Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED),
    "unconfirmed": Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED),
    "blocked": Bounce(BounceClass.BLOCK, BounceReason.POLICY),
    "smtpapierror": Bounce(BounceClass.SOFT),
    "dmarcpolicy": Bounce(BounceClass.BLOCK, BounceReason.AUTHENTICATION),
    "templaterenderingfailed": Bounce(BounceClass.SOFT),
}
_CODES = {EventKind.DELIVERED: 250, EventKind.DEFERRED: 451}


def reports(told: Told, request: WebhookRequest) -> Iterator[Report]:
    kind, bounce = _meaning(told)
    words = told.text("Details", "Description")
    yield Report(
        kind,
        told.moment("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt") or request.at,
        token=token_of(told.table("Metadata").text("pillarbox")),
        ref=told.text("MessageID"),
        recipient=address_of(told.text("Recipient", "Email")),
        # Only bounces and complaints have one.
        key=told.text("ID"),
        reply=reply_of(words, _CODES.get(kind, 550)),
        bounce=bounce,
        detail=details(
            url=told.text("OriginalLink"),
            ip=told.table("Geo").text("IP"),
            user_agent=told.text("UserAgent"),
        ),
        original=told.data,
    )


def _meaning(told: Told) -> tuple[EventKind, Bounce | None]:
    record = told.word("RecordType")
    if record == "bounce":
        found = _BOUNCES.get(told.word("Type"), EventKind.UNKNOWN)
        return (EventKind.BOUNCED, found) if isinstance(found, Bounce) else (found, None)
    if record == "subscriptionchange":
        # The other reasons follow events that are told by themselves.
        manual = told.flag("SuppressSending") and told.word("SuppressionReason") == "manualsuppression"
        return (EventKind.UNSUBSCRIBED if manual else EventKind.UNKNOWN), None
    return _KINDS.get(record, EventKind.UNKNOWN), None
