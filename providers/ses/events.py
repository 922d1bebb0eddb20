"""What SES tells: event publishing, and notifications, which are older and have fewer kinds.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

from collections.abc import Iterator

from providers.reporting import details
from providers.ses.words import bounce_of
from providers.told import Told, address_of, reply_of, token_of, told_in
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Report, WebhookRequest

#: of each type, what it is and where it tells more
_KINDS = {
    "bounce": (EventKind.BOUNCED, "bounce"),
    "complaint": (EventKind.COMPLAINED, "complaint"),
    "delivery": (EventKind.DELIVERED, "delivery"),
    "send": (EventKind.SENT, "send"),
    "reject": (EventKind.BOUNCED, "reject"),
    "open": (EventKind.OPENED, "open"),
    "click": (EventKind.CLICKED, "click"),
    "rendering failure": (EventKind.BOUNCED, "failure"),
    "deliverydelay": (EventKind.DEFERRED, "deliveryDelay"),
    "subscription": (EventKind.UNSUBSCRIBED, "subscription"),
}
_PEOPLE = ("bouncedRecipients", "complainedRecipients", "delayedRecipients")


def reports(envelope: Told, request: WebhookRequest) -> Iterator[Report]:
    """`envelope` is what SNS made of it. A topic may have notices that are no JSON: they are about no mail."""
    (told, *_) = [*map(Told, told_in((envelope.text("Message") or "").encode())), Told(None)]
    if not told.data:
        return
    kind, place = _KINDS.get(told.word("eventType", "notificationType"), (EventKind.UNKNOWN, ""))
    more, mail = told.table(place), told.table("mail")
    tags = mail.table("tags").texts("pillarbox")
    for person, address in _recipients(more, mail):
        meaning, bounce = _meaning(kind, place, more, person)
        words = person.text("diagnosticCode") or more.text("smtpResponse", "reason", "errorMessage")
        yield Report(
            meaning,
            more.moment("timestamp") or mail.moment("timestamp") or request.at,
            token=token_of(tags[0]) if tags else None,
            ref=mail.text("messageId"),
            recipient=address,
            # Equal in both formats, should both be switched on; other kinds have none that is.
            key=more.text("feedbackId"),
            reply=reply_of(words, 451 if kind is EventKind.DEFERRED else 550, enhanced=person.text("status")),
            bounce=bounce,
            detail=details(
                url=more.text("link"),
                ip=more.text("ipAddress"),
                user_agent=more.text("userAgent") if kind is not EventKind.COMPLAINED else None,
                feedback_type=more.text("complaintFeedbackType"),
                mta=more.text("reportingMTA"),
            ),
            original=told.data,
        )


def _recipients(more: Told, mail: Told) -> list[tuple[Told, str | None]]:
    """Each one told about; where nobody is named it is the mail's only recipient."""
    people = [one for name in _PEOPLE for one in more.tables(name)]
    if people:
        return [(one, address_of(one.text("emailAddress"))) for one in people]
    addresses = more.texts("recipients") or mail.texts("destination")
    if more.texts("recipients") or len(addresses) == 1:
        return [(Told({}), address_of(one)) for one in addresses]
    return [(Told({}), None)]


def _meaning(kind: EventKind, place: str, more: Told, person: Told) -> tuple[EventKind, Bounce | None]:
    if place == "bounce":
        words = person.text("status", "diagnosticCode", "action")
        if more.word("bounceType") == "transient" and more.word("bounceSubType") == "general" and not words:
            # So come automatic answers; what failed to arrive comes with the server's report.
            return EventKind.UNKNOWN, None
        return kind, bounce_of(more.text("bounceType"), more.text("bounceSubType"))
    if place == "complaint":
        if more.word("complaintSubType") == "onaccountsuppressionlist":
            return EventKind.BOUNCED, Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED)
        return (EventKind.UNKNOWN if more.word("complaintFeedbackType") == "not-spam" else kind), None
    if place == "reject":
        return kind, Bounce(BounceClass.BLOCK, BounceReason.SPAM)
    if place == "failure":
        return kind, Bounce(BounceClass.SOFT)
    if place == "subscription" and not _leaves(more.table("newTopicPreferences")):
        return EventKind.UNKNOWN, None
    return kind, None


def _leaves(wishes: Told) -> bool:
    chosen = {one.word("subscriptionStatus") for one in wishes.tables("topicSubscriptionStatus")}
    return wishes.flag("unsubscribeAll") is not False or "optout" in chosen
