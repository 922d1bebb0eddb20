"""What Mailgun tells. https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator

from providers import signatures
from providers.http import json_of
from providers.reporting import Keys, details
from providers.told import Told, address_of, reply_of, token_of
from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.provider import NotAuthentic, Report, WebhookRequest

_KINDS = {
    "accepted": EventKind.SENT,
    "delivered": EventKind.DELIVERED,
    "failed": EventKind.BOUNCED,
    "rejected": EventKind.BOUNCED,
    "opened": EventKind.OPENED,
    "clicked": EventKind.CLICKED,
    "unsubscribed": EventKind.UNSUBSCRIBED,
    "complained": EventKind.COMPLAINED,
}
_CODES = {EventKind.DELIVERED: 250, EventKind.DEFERRED: 451}

_BY_REASON = {
    "suppress-bounce": Bounce(BounceClass.HARD, BounceReason.SUPPRESSED),
    "suppress-complaint": Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED),
    "suppress-unsubscribe": Bounce(BounceClass.SOFT, BounceReason.SUPPRESSED),
    "old": Bounce(BounceClass.SOFT, BounceReason.EXPIRED),
    "espblock": Bounce(BounceClass.BLOCK, BounceReason.REPUTATION),
}
#: Mailgun's own codes, beyond SMTP's
_BY_CODE = {
    605: _BY_REASON["suppress-bounce"],
    606: _BY_REASON["suppress-unsubscribe"],
    607: _BY_REASON["suppress-complaint"],
}


class Seen:
    """Which bodies came with which signatures: one does not cover the body, so it must be good for one only.

    A repeat of the same call has to pass, since Mailgun repeats what we could not take.
    """

    _MOST = 20_000

    def __init__(self) -> None:
        self._bodies: OrderedDict[str, bytes] = OrderedDict()

    def check(self, token: str, body: bytes) -> None:
        """Raises `NotAuthentic` when the token came with another body before."""
        digest = hashlib.sha256(body).digest()
        if self._bodies.setdefault(token, digest) != digest:
            raise NotAuthentic("the signature was used with another body before")
        if len(self._bodies) > self._MOST:
            self._bodies.popitem(last=False)


def verify(keys: Keys, seen: Seen, request: WebhookRequest) -> None:
    signature, now = Told(json_of(request.body)).table("signature").data, request.at.timestamp()
    keys.check(lambda key: signatures.mailgun(key, signature, now=now, window=keys.max_age))
    seen.check(str(signature["token"]), request.body)


def reports(told: Told, request: WebhookRequest) -> Iterator[Report]:
    event = told.table("event-data")
    kind = _KINDS.get(event.word("event"), EventKind.UNKNOWN)
    if event.word("event") == "failed" and event.word("severity") == "temporary":
        kind = EventKind.DEFERRED
    status, client = event.table("delivery-status"), event.table("client-info")
    words = status.text("message") or status.text("description") or event.table("reject").text("reason")
    code, enhanced = status.number("code"), status.text("enhanced-code")
    reply = reply_of(words, _CODES.get(kind, 550), code=code, enhanced=enhanced)
    yield Report(
        kind,
        event.moment("timestamp") or request.at,
        token=token_of(event.table("user-variables").text("pillarbox")),
        ref=(event.table("message").table("headers").text("message-id") or "").strip("<>") or None,
        recipient=address_of(event.text("recipient")),
        key=event.text("id"),
        reply=reply,
        bounce=_bounce(event, code, enhanced or (reply.enhanced if reply else None) or "")
        if kind is EventKind.BOUNCED
        else None,
        detail=details(
            url=event.text("url"),
            ip=event.text("ip"),
            user_agent=client.text("user-agent"),
            machine=True if client.text("bot") else None,
            mta=status.text("mx-host"),
        ),
        original=told.data,
    )


def _bounce(event: Told, code: float | None, enhanced: str) -> Bounce | None:
    """None where the server's words say more than Mailgun, which calls every refusal a bounce."""
    reason = event.word("reason")
    if event.word("event") == "rejected":
        return _BY_REASON.get(reason, Bounce(BounceClass.BLOCK, BounceReason.POLICY))
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    if code in _BY_CODE:
        return _BY_CODE[int(code)]
    if code == 552 or enhanced == "5.2.2":
        return Bounce(BounceClass.SOFT, BounceReason.MAILBOX_FULL)
    if enhanced.startswith("5.7."):
        return Bounce(BounceClass.BLOCK, BounceReason.POLICY)
    if enhanced.startswith("5.1."):
        return Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER)
    if code is None and reason == "bounce":
        return Bounce(BounceClass.HARD)
    return None
