"""What MailerSend tells. https://developers.mailersend.com/api/v1/webhooks.html#payload-example"""

from collections.abc import Iterator

from providers import signatures
from providers.http import json_of
from providers.reporting import Keys, details
from providers.told import Told, address_of, reply_of, token_of
from relay.core.bounce import Bounce, BounceClass
from relay.core.event import EventKind
from relay.core.provider import Report, WebhookRequest

_KINDS = {
    "sent": EventKind.SENT,
    "delivered": EventKind.DELIVERED,
    "deferred": EventKind.DEFERRED,
    "soft_bounced": EventKind.BOUNCED,
    "hard_bounced": EventKind.BOUNCED,
    "spam_complaint": EventKind.COMPLAINED,
    "opened": EventKind.OPENED,
    "opened_unique": EventKind.OPENED,
    "clicked": EventKind.CLICKED,
    "clicked_unique": EventKind.CLICKED,
    "unsubscribed": EventKind.UNSUBSCRIBED,
}
_BOUNCES = {
    "soft_bounced": Bounce(BounceClass.SOFT),
    "hard_bounced": Bounce(BounceClass.HARD),
}
_TAG = "pillarbox:"


def is_test(request: WebhookRequest) -> bool:
    """The call that comes when a webhook is made, before anybody has been shown its secret. It tells nothing."""
    return Told(json_of(request.body)).text("type") == "webhook.test"


def verify(keys: Keys, request: WebhookRequest) -> None:
    given = request.headers.get("signature")
    keys.check(lambda key: signatures.hex_hmac(key, given, request.body))


def reports(told: Told, request: WebhookRequest) -> Iterator[Report]:
    family, _, name = told.word("type").partition(".")
    if family == "maintenance":
        return
    kind = _KINDS.get(name, EventKind.UNKNOWN) if family == "activity" else EventKind.UNKNOWN
    data = told.table("data")
    email, morph = data.table("email"), data.table("morph")
    ours = [tag.removeprefix(_TAG) for tag in email.texts("tags") if tag.startswith(_TAG)]
    yield Report(
        kind,
        data.moment("created_at") or told.moment("created_at") or request.at,
        token=token_of(ours[0]) if ours else None,
        ref=email.table("message").text("id"),
        recipient=address_of(email.table("recipient").text("email")),
        key=data.text("id"),
        reply=reply_of(morph.text("reason", "readable_reason"), 451 if kind is EventKind.DEFERRED else 550),
        bounce=_BOUNCES.get(name) if kind is EventKind.BOUNCED else None,
        detail=details(
            url=morph.text("url"), ip=morph.text("ip"), user_agent=morph.text("user_agent", "useragent")
        ),
        original=told.data,
    )
