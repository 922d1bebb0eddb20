"""What Mailjet tells. https://dev.mailjet.com/email/guides/webhooks/"""

from collections.abc import Iterator

from providers.reporting import details
from providers.told import Told, address_of, reply_of, token_of
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Report, WebhookRequest

_KINDS = {
    "sent": EventKind.DELIVERED,  # as in "taken by the recipient's server"
    "bounce": EventKind.BOUNCED,
    "blocked": EventKind.BOUNCED,
    "spam": EventKind.COMPLAINED,
    "open": EventKind.OPENED,
    "click": EventKind.CLICKED,
    "unsub": EventKind.UNSUBSCRIBED,
}
_CODES = {EventKind.DELIVERED: 250, EventKind.DEFERRED: 451}
_PLACES = {
    "spam": BounceReason.SPAM,
    "content": BounceReason.SPAM,
    "mailjet": BounceReason.SUPPRESSED,
}
# https://dev.mailjet.com/email/guides/webhooks/#possible-values-for-errors
_ERRORS = {
    "user unknown": BounceReason.NO_SUCH_USER,
    "mailbox inactive": BounceReason.INACTIVE,
    "quota exceeded": BounceReason.MAILBOX_FULL,
    "blacklisted": BounceReason.SUPPRESSED,
    "spam reporter": BounceReason.SUPPRESSED,
    "invalid domain": BounceReason.NO_SUCH_DOMAIN,
    "no mail host": BounceReason.NO_SUCH_DOMAIN,
    "relay/access denied": BounceReason.RELAYING,
    "typofix": BounceReason.NO_SUCH_DOMAIN,
    "sender blocked": BounceReason.REPUTATION,
    "content blocked": BounceReason.SPAM,
    "policy issue": BounceReason.POLICY,
    "preblocked": BounceReason.SUPPRESSED,
    "duplicate in campaign": BounceReason.OTHER,
}


def reports(told: Told, request: WebhookRequest) -> Iterator[Report]:
    kind, bounce = _meaning(told)
    words = told.text("smtp_reply", "comment")
    error = ": ".join(filter(None, (told.text("error_related_to"), told.text("error"))))
    yield Report(
        kind,
        told.moment("time") or request.at,
        token=token_of(told.text("CustomID")),
        ref=told.text("MessageID"),
        recipient=address_of(told.text("email")),
        reply=reply_of(words or error, _CODES.get(kind, 550)),
        bounce=bounce,
        detail=details(
            url=told.text("url"),
            ip=told.text("ip"),
            user_agent=told.text("agent"),
            list=told.text("mj_list_id"),
        ),
        original=told.data,
    )


def _meaning(told: Told) -> tuple[EventKind, Bounce | None]:
    kind = _KINDS.get(told.word("event"), EventKind.UNKNOWN)
    if kind is not EventKind.BOUNCED:
        return kind, None
    if told.word("error") == "greylisted":
        return EventKind.DEFERRED, None
    reason = _ERRORS.get(told.word("error"), _PLACES.get(told.word("error_related_to"), BounceReason.OTHER))
    if told.word("event") == "blocked":
        return kind, Bounce(BounceClass.SOFT, reason)
    if told.flag("hard_bounce"):
        return kind, Bounce(BounceClass.HARD, reason)
    return kind, Bounce(BounceClass.BLOCK if told.flag("blocked") else BounceClass.SOFT, reason)
