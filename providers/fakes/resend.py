"""A fake Resend. https://resend.com/docs/api-reference/emails/send-email"""

import base64
import hashlib
import mimetypes
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import orjson

from providers.fakes.posting import LINK, READER, USER_AGENT, Hook, Post, Step, iso, words_of
from providers.fakes.wire import (
    Kept,
    Refusal,
    Request,
    Response,
    Vendor,
    fate,
    reply,
    sent,
    unknown,
    uuid_like,
)
from providers.webhook.payload import signature
from relay.core.address import InvalidAddress, Mailbox, parse_mailbox
from relay.core.parts import Attachment, Parts

_FIELDS = "from to cc bcc reply_to subject html text headers attachments tags scheduled_at topic_id template"
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")
_LIMITS = {"ratelimit-limit": "5", "ratelimit-remaining": "4", "ratelimit-reset": "1"}


_EVENTS = {
    Step.SENT: "email.sent",
    Step.DEFERRED: "email.delivery_delayed",
    Step.DELIVERED: "email.delivered",
    Step.HARD: "email.bounced",
    Step.SOFT: "email.bounced",
    Step.BLOCKED: "email.bounced",
    Step.DROPPED: "email.suppressed",
    Step.COMPLAINED: "email.complained",
    Step.OPENED: "email.opened",
    Step.CLICKED: "email.clicked",
}
_BOUNCES = {
    Step.HARD: ("Permanent", "General"),
    Step.SOFT: ("Transient", "MailboxFull"),
    Step.BLOCKED: ("Transient", "ContentRejected"),
}


class Resend(Vendor):
    name: ClassVar[str] = "resend"
    signing_key: ClassVar[str] = "whsec_ZmFrZS1rZXktb2YtdGhlLWZha2UtcmVzZW5k"

    def __init__(self, key: str = "fake-key") -> None:
        super().__init__(key)
        self._answered: dict[str, tuple[str, Response]] = {}

    def reset(self) -> None:
        super().reset()
        self._answered.clear()

    def handle(self, request: Request) -> Response:
        if not request.headers.get("user-agent"):
            return _error(403, "validation_error", "User-Agent is missing.")
        given = request.headers.get("authorization", "")
        if not given:
            return _error(401, "missing_api_key", "Missing API Key")
        if given != f"Bearer {self.key}":
            return _error(403, "invalid_api_key", "API key is invalid")
        if request.method != "POST" or request.path not in {"/emails", "/emails/batch"}:
            return _error(404, "not_found", "The requested endpoint does not exist")
        key = request.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= 256:
            return _error(400, "invalid_idempotency_key", "The key must be 1 to 256 characters long")
        digest = hashlib.sha256(request.body).hexdigest()
        if key in self._answered:
            before, response = self._answered[key]
            if before == digest:
                return response
            return _error(409, "invalid_idempotent_request", "This key was used with another payload")
        said = request.data
        response = self._batch(said) if request.path == "/emails/batch" else self._single(said)
        if key is not None and response.status == 200:
            self._answered[key] = digest, response
        return response

    def _single(self, said: Any) -> Response:
        identifier, recipients = self._take(said)
        return sent(recipients, reply(200, {"id": identifier}, _LIMITS))

    def _batch(self, said: Any) -> Response:
        if not isinstance(said, list) or not 1 <= len(said) <= 100:
            return _error(422, "validation_error", "A batch has 1 to 100 emails")
        if any("attachments" in one or "scheduled_at" in one for one in said):
            return _error(422, "validation_error", "Batches have no attachments and are not scheduled")
        taken = [self._take(one) for one in said]
        everyone = [one for _, recipients in taken for one in recipients]
        return sent(everyone, reply(200, {"data": [{"id": identifier} for identifier, _ in taken]}, _LIMITS))

    def _take(self, said: Any) -> tuple[str, list[str]]:
        if not isinstance(said, dict):
            raise Refusal(_error(400, "validation_error", "The body is not JSON"))
        if surplus := unknown(said, _FIELDS):
            raise Refusal(_error(422, "validation_error", f"Unknown field {surplus[0]}"))
        for needed in ("from", "to", "subject"):
            if needed not in said:
                raise Refusal(_error(422, "missing_required_field", f"Missing `{needed}` field."))
        if "html" not in said and "text" not in said and "template" not in said:
            raise Refusal(_error(422, "validation_error", "Missing `html` or `text` field."))
        author = _box(said["from"], "from")
        people = [_box(one, name) for name in ("to", "cc", "bcc") for one in _list(said.get(name))]
        recipients = [box.address for box in people]
        if len(_list(said["to"])) > 50:
            raise Refusal(_error(422, "validation_error", "50 recipients at most"))
        if any(one.endswith(("@example.com", "@test.com")) for one in recipients):
            raise Refusal(
                _error(422, "validation_error", "Invalid `to` field: use our testing addresses instead")
            )
        for tag in said.get("tags") or ():
            if not _TAG.match(tag["name"]) or not _TAG.match(tag["value"]):
                words = "Tags should only contain ASCII letters, numbers, underscores, or dashes."
                raise Refusal(_error(422, "validation_error", words))
        if magic := self.obey(recipients):
            raise Refusal(magic)
        identifier = uuid_like()
        tags = {tag["name"]: tag["value"] for tag in said.get("tags") or ()}
        token = tags.get("pillarbox")
        self.keep(
            Kept(
                self.name,
                identifier,
                tuple(recipients),
                token.replace("-", ".") if token else None,
                tags.get("tag"),
                parts=_parts(said, author),
                said=said,
                fate=fate(recipients),
            )
        )
        return identifier, recipients

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any] | None:
        """https://resend.com/docs/dashboard/webhooks/event-types"""
        name = _EVENTS.get(step)
        if name is None:
            return None
        words = words_of(step)
        data: dict[str, Any] = {
            "email_id": kept.id,
            "created_at": iso(at),
            "from": kept.said["from"],
            "to": list(kept.recipients),
            "subject": kept.said["subject"],
            "tags": {tag["name"]: tag["value"] for tag in kept.said.get("tags") or ()},
        }
        seen = {"ipAddress": READER, "timestamp": iso(at), "userAgent": USER_AGENT}
        if step is Step.OPENED:
            data["open"] = seen
        elif step is Step.CLICKED:
            data["click"] = {**seen, "link": LINK}
        elif step is Step.DROPPED:
            data["suppressed"] = {"reason": "previous_bounce", "type": "bounce", "message": words.text}
        elif step in _BOUNCES:
            kind, subtype = _BOUNCES[step]
            data["bounce"] = {
                "type": kind,
                "subType": subtype,
                "message": words.text,
                "diagnosticCode": [f"smtp; {words}"],
            }
        return {"type": name, "created_at": iso(at), "data": data}

    def post(self, told: Sequence[Any], hook: Hook) -> Post:
        body = orjson.dumps(told[0])
        signed = signature(hook.secret or self.signing_key, f"msg_{secrets.token_hex(14)}", body)
        return Post(
            body,
            {
                "content-type": "application/json",
                **{name.replace("webhook-", "svix-"): value for name, value in signed.items()},
            },
        )

    def refused(self, recipient: str) -> Response:
        return _error(
            422, "validation_error", f"Invalid `to` field. The email address {recipient} is not allowed."
        )

    def busy(self) -> Response:
        return _error(500, "application_error", "An unexpected error occurred.")

    def throttled(self) -> Response:
        words = "Too many requests. You can only make 5 requests per second."
        body = {"statusCode": 429, "name": "rate_limit_exceeded", "message": words}
        return reply(429, body, {**_LIMITS, "ratelimit-remaining": "0", "retry-after": "1"})

    def suspended(self) -> Response:
        return _error(403, "validation_error", "The example.com domain is not verified.")


def _error(status: int, name: str, words: str) -> Response:
    return reply(status, {"statusCode": status, "name": name, "message": words}, _LIMITS)


def _list(given: Any) -> list[str]:
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given)


def _box(text: str, field: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except InvalidAddress:
        raise Refusal(_error(422, "validation_error", f"Invalid `{field}` field.")) from None


def _parts(said: dict[str, Any], author: Mailbox) -> Parts:
    attachments = []
    for one in said.get("attachments") or ():
        guessed = mimetypes.guess_type(one["filename"])[0]
        if one.get("content_type") and guessed and one["content_type"] != guessed:
            continue  # as the vendor does: dropped without a word
        attachments.append(
            Attachment(
                one["filename"],
                one.get("content_type") or guessed or "application/octet-stream",
                base64.b64decode(one["content"], validate=True),
                one.get("content_id"),
                "content_id" in one,
            )
        )
    return Parts(
        from_=author,
        subject=said["subject"],
        to=tuple(_box(one, "to") for one in _list(said["to"])),
        reply_to=tuple(_box(one, "reply_to") for one in _list(said.get("reply_to"))),
        text=said.get("text"),
        html=said.get("html"),
        attachments=tuple(attachments),
        headers=tuple((said.get("headers") or {}).items()),
    )
