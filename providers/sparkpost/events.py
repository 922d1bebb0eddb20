"""What SparkPost tells. https://developers.sparkpost.com/api/webhooks/#header-event-types"""

from collections.abc import Iterator

from providers.reporting import details
from providers.told import Told, address_of, reply_of, token_of
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Report, WebhookRequest

_KINDS = {
    "injection": EventKind.SENT,
    "delivery": EventKind.DELIVERED,
    "delay": EventKind.DEFERRED,
    "bounce": EventKind.BOUNCED,
    "out_of_band": EventKind.BOUNCED,
    "policy_rejection": EventKind.BOUNCED,
    "generation_failure": EventKind.BOUNCED,
    "generation_rejection": EventKind.BOUNCED,
    "spam_complaint": EventKind.COMPLAINED,
    "open": EventKind.OPENED,
    "initial_open": EventKind.OPENED,
    "amp_open": EventKind.OPENED,
    "amp_initial_open": EventKind.OPENED,
    "click": EventKind.CLICKED,
    "amp_click": EventKind.CLICKED,
    "list_unsubscribe": EventKind.UNSUBSCRIBED,
    "link_unsubscribe": EventKind.UNSUBSCRIBED,
}
_CODES = {EventKind.DELIVERED: 250, EventKind.DEFERRED: 451}

# https://support.sparkpost.com/docs/deliverability/bounce-classification-codes
_CLASSES: dict[str, Bounce | EventKind] = {
    "1": Bounce(BounceClass.SOFT),
    "10": Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER),
    "20": Bounce(BounceClass.SOFT),
    "21": Bounce(BounceClass.SOFT, BounceReason.UNREACHABLE),
    "22": Bounce(BounceClass.SOFT, BounceReason.MAILBOX_FULL),
    "23": Bounce(BounceClass.SOFT, BounceReason.TOO_LARGE),
    "24": Bounce(BounceClass.SOFT, BounceReason.EXPIRED),
    "25": Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED),
    "30": Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER),
    "40": Bounce(BounceClass.SOFT),
    "50": Bounce(BounceClass.BLOCK, BounceReason.POLICY),
    "51": Bounce(BounceClass.BLOCK, BounceReason.SPAM),
    "52": Bounce(BounceClass.BLOCK, BounceReason.SPAM),
    "53": Bounce(BounceClass.BLOCK, BounceReason.SPAM),
    "54": Bounce(BounceClass.BLOCK, BounceReason.RELAYING),
    "70": Bounce(BounceClass.SOFT),
    # Automatic answers, challenges and subscriptions are no bounces.
    "60": EventKind.UNKNOWN,
    "80": EventKind.UNKNOWN,
    "90": EventKind.UNSUBSCRIBED,
    "100": EventKind.UNKNOWN,
}
_UNTOLD = {
    "policy_rejection": Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED),
    "generation_failure": Bounce(BounceClass.SOFT),
    "generation_rejection": Bounce(BounceClass.SOFT),
}


def reports(told: Told, request: WebhookRequest) -> Iterator[Report]:
    """An event has its class for a name; a call to try the URL out has none."""
    for family in told.table("msys").data:
        yield _report(told.table("msys").table(family), told, request)
    if "msys" not in told.data:
        yield Report(EventKind.UNKNOWN, request.at, original=told.data)


def _report(event: Told, told: Told, request: WebhookRequest) -> Report:
    name = event.word("type")
    kind = _KINDS.get(name, EventKind.UNKNOWN)
    bounce = _UNTOLD.get(name)
    if name in {"bounce", "out_of_band", "policy_rejection"}:
        said = _CLASSES.get(event.text("bounce_class") or "")
        if isinstance(said, EventKind):
            kind = said
        bounce = said if isinstance(said, Bounce) else bounce
    return Report(
        kind,
        event.moment("timestamp") or request.at,
        token=token_of(event.table("rcpt_meta").text("pillarbox")),
        ref=event.text("transmission_id"),
        recipient=address_of(event.text("raw_rcpt_to", "rcpt_to")),
        key=event.text("event_id"),
        reply=reply_of(event.text("raw_reason", "reason"), _CODES.get(kind, 550)),
        bounce=bounce if kind is EventKind.BOUNCED else None,
        detail=details(
            url=event.text("target_link_url"),
            ip=event.text("ip_address") if kind in {EventKind.OPENED, EventKind.CLICKED} else None,
            user_agent=event.text("user_agent"),
            machine=event.table("user_agent_parsed").flag("is_prefetched"),
            feedback_type=event.text("fbtype"),
        ),
        original=told.data,
    )
