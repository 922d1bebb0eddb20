"""What Azure tells by Event Grid. https://learn.microsoft.com/en-us/azure/event-grid/communication-services-email-events"""

from collections.abc import Iterator

import orjson

from providers.reporting import details
from providers.told import Told, address_of, reply_of, told_in
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Report, WebhookAnswer, WebhookRequest

_VALIDATION = "microsoft.eventgrid.subscriptionvalidationevent"
_DELIVERY = "microsoft.communication.emaildeliveryreportreceived"
_ENGAGEMENT = "microsoft.communication.emailengagementtrackingreportreceived"

_SPAM = Bounce(BounceClass.BLOCK, BounceReason.SPAM)
_STATUSES: dict[str, tuple[EventKind, Bounce | None]] = {
    "delivered": (EventKind.DELIVERED, None),
    "expanded": (EventKind.SENT, None),  # to the members of a group, whose reports follow
    "bounced": (EventKind.BOUNCED, Bounce(BounceClass.HARD)),
    "failed": (EventKind.BOUNCED, Bounce(BounceClass.SOFT)),
    "filteredspam": (EventKind.BOUNCED, _SPAM),
    "quarantined": (EventKind.BOUNCED, _SPAM),
    "suppressed": (EventKind.BOUNCED, Bounce(BounceClass.HARD, BounceReason.SUPPRESSED)),
}
_ENGAGED = {"view": EventKind.OPENED, "click": EventKind.CLICKED}


def handshake(request: WebhookRequest) -> WebhookAnswer | None:
    """Event Grid asks first whether we want its events: the answer is the code it sends.

    https://learn.microsoft.com/en-us/azure/event-grid/end-point-validation-event-grid-events-schema
    """
    for one in told_in(request.body):
        told = Told(one)
        code = told.table("data").text("validationCode")
        if told.word("eventType") == _VALIDATION and code:
            return WebhookAnswer(200, orjson.dumps({"validationResponse": code}), "application/json")
    return None


def reports(told: Told, request: WebhookRequest) -> Iterator[Report]:
    """The operation's id is the mail's; it comes from us, but is not our token."""
    name, data = told.word("eventType", "type"), told.table("data")
    kind, bounce = EventKind.UNKNOWN, None
    if name == _DELIVERY:
        kind, bounce = _STATUSES.get(data.word("status"), (EventKind.UNKNOWN, None))
    elif name == _ENGAGEMENT:
        kind = _ENGAGED.get(data.word("engagementType"), EventKind.UNKNOWN)
    words = data.table("deliveryStatusDetails").text("statusMessage")
    yield Report(
        kind,
        data.moment("deliveryAttemptTimeStamp", "userActionTimeStamp")
        or told.moment("eventTime", "time")
        or request.at,
        ref=data.text("messageId"),
        recipient=address_of(data.text("recipient")),
        key=told.text("id"),
        reply=reply_of(words, 250 if kind is EventKind.DELIVERED else 550),
        bounce=bounce,
        detail=details(
            url=data.text("engagementContext") if kind is EventKind.CLICKED else None,
            user_agent=data.text("userAgent"),
        ),
        original=told.data,
    )
