"""What Resend tells. https://resend.com/docs/dashboard/webhooks/event-types"""

import base64
import binascii
from collections.abc import Iterator

from providers import signatures
from providers.reporting import Keys, details
from providers.ses.words import bounce_of
from providers.told import Told, address_of, reply_of, token_of
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import Report, WebhookRequest

_KINDS = {
    "email.sent": EventKind.SENT,
    "email.delivery_delayed": EventKind.DEFERRED,
    "email.delivered": EventKind.DELIVERED,
    "email.bounced": EventKind.BOUNCED,
    "email.failed": EventKind.BOUNCED,
    "email.suppressed": EventKind.BOUNCED,
    "email.complained": EventKind.COMPLAINED,
    "email.opened": EventKind.OPENED,
    "email.clicked": EventKind.CLICKED,
}


def known(secret: str) -> None:
    """Raises ValueError for what is no signing secret."""
    try:
        base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def verify(keys: Keys, request: WebhookRequest) -> None:
    now = request.at.timestamp()
    keys.check(
        lambda key: signatures.standard(
            key, request.headers, request.body, prefix="svix", now=now, window=keys.max_age
        )
    )


def reports(told: Told, request: WebhookRequest) -> Iterator[Report]:
    data = told.table("data")
    kind = _KINDS.get(told.word("type"), EventKind.UNKNOWN)
    seen = data.table("click") if kind is EventKind.CLICKED else data.table("open")
    bounce, words = _bounce(told.word("type"), data)
    recipients = data.texts("to")
    yield Report(
        kind,
        seen.moment("timestamp") or told.moment("created_at") or request.at,
        token=_token(data),
        ref=data.text("email_id"),
        recipient=address_of(recipients[0]) if len(recipients) == 1 else None,
        # The same for every repeat of the call.
        key=request.headers.get("svix-id"),
        reply=reply_of(words, 550),
        bounce=bounce,
        detail=details(url=seen.text("link"), ip=seen.text("ipAddress"), user_agent=seen.text("userAgent")),
        original=told.data,
    )


def _token(data: Told) -> str | None:
    """Tags come as an object; sent they were a list."""
    listed = [one.text("value") for one in data.tables("tags") if one.text("name") == "pillarbox"]
    return token_of(data.table("tags").text("pillarbox") or (listed[0] if listed else None))


def _bounce(name: str, data: Told) -> tuple[Bounce | None, str | None]:
    """What a bounce means, and what was said."""
    if name == "email.bounced":
        return _bounced(data.table("bounce"))
    if name == "email.suppressed":
        told = data.table("suppressed")
        hard = "complaint" not in told.word("reason", "type")
        kind = BounceClass.HARD if hard else BounceClass.SOFT
        return Bounce(kind, BounceReason.SUPPRESSED), told.text("message", "reason")
    if name == "email.failed":
        reason = data.table("failed").text("reason")
        ours = "quota" in (reason or "")
        return Bounce(BounceClass.SOFT, BounceReason.RATE if ours else BounceReason.OTHER), reason
    return None, None


def _bounced(told: Told) -> tuple[Bounce, str]:
    """Once there were no types, only Amazon's sentences."""
    diagnosis, sentence = told.texts("diagnosticCode"), told.text("message") or ""
    kind, subtype = told.text("type"), told.text("subType")
    if kind is None and "suppress" in sentence:
        subtype = "Suppressed"
    elif kind is None and "hard bounce" in sentence:
        kind = "Permanent"
    return bounce_of(kind, subtype), diagnosis[0] if diagnosis else sentence
