"""A fake Brevo. https://developers.brevo.com/reference/sendtransacemail"""

import base64
import math
import re
import secrets
import time
from datetime import datetime
from mimetypes import guess_type
from typing import Any, ClassVar

import orjson

from providers.fakes.posting import LINK, USER_AGENT, Step, unix, words_of
from providers.fakes.wire import Kept, Request, Response, Vendor, boxes, fate, reply, sent, unknown
from relay.core.parts import Attachment, Parts

_FIELDS = (
    "sender to cc bcc subject htmlContent textContent replyTo attachment headers tags params templateId "
    "messageVersions scheduledAt batchId"
)
_OURS = frozenset({"x-mailin-custom", "idempotencykey", "x-sib-sandbox"})
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
#: seconds for which an idempotency key is known
#: (https://developers.brevo.com/docs/heterogenous-versions-batch-emails)
_REMEMBERED = 1_800.0


_EVENTS = {
    Step.SENT: "request",
    Step.DEFERRED: "deferred",
    Step.DELIVERED: "delivered",
    Step.HARD: "hard_bounce",
    Step.SOFT: "soft_bounce",
    Step.BLOCKED: "soft_bounce",
    Step.DROPPED: "blocked",
    Step.COMPLAINED: "spam",
    Step.OPENED: "unique_opened",
    Step.CLICKED: "click",
    Step.UNSUBSCRIBED: "unsubscribed",
}


class Brevo(Vendor):
    name: ClassVar[str] = "brevo"

    def __init__(self, key: str = "fake-key") -> None:
        super().__init__(key)
        self._seen: dict[str, float] = {}

    def reset(self) -> None:
        super().reset()
        self._seen.clear()

    def handle(self, request: Request) -> Response:
        given = request.headers.get("api-key")
        if given != self.key:
            return _error(
                401, "unauthorized", "Key not found" if given else "authentication not found in headers"
            )
        if (request.method, request.path) != ("POST", "/v3/smtp/email"):
            return _error(404, "document_not_found", "No such endpoint")
        said = request.data
        if not isinstance(said, dict):
            return _error(400, "bad_request", "Input must be a valid JSON object")
        if surplus := unknown(said, _FIELDS):
            return _error(400, "invalid_parameter", f"{surplus[0]} is not valid")
        for field in ("sender", "to", "subject", "htmlContent"):
            if not said.get(field):
                return _error(400, "missing_parameter", f"{field} is missing")
        recipients = [one["email"] for field in ("to", "cc", "bcc") for one in said.get(field) or ()]
        if len(recipients) > 99:
            return _error(400, "out_of_range", "99 recipients at most")
        headers = said.get("headers") or {}
        if not all(isinstance(value, str) and value.isascii() for value in headers.values()):
            return _error(400, "invalid_parameter", "headers are not valid")
        if isinstance(said.get("replyTo"), list):
            return _error(400, "invalid_parameter", "replyTo is not valid")
        key = headers.get("idempotencyKey")
        if key is not None and not _UUID.match(key):
            return _error(400, "invalid_parameter", "idempotencyKey is not valid")
        if key is not None and self._seen.get(key, -math.inf) > time.monotonic() - _REMEMBERED:
            return _error(400, "duplicate_parameter", "idempotencyKey has been used before")
        if magic := self.obey(recipients):
            return magic
        if key is not None:
            self._seen[key] = time.monotonic()
        identifier = f"{time.time_ns() // 10**6}.{secrets.randbelow(10**11)}@smtp-relay.mailin.fr"
        if headers.get("X-Sib-Sandbox") != "drop":
            self.keep(
                Kept(
                    self.name,
                    identifier,
                    tuple(recipients),
                    headers.get("X-Mailin-custom"),
                    (said.get("tags") or [None])[0],
                    parts=_parts(said),
                    said=said,
                    fate=fate(recipients),
                )
            )
        return sent(recipients, reply(201, {"messageId": f"<{identifier}>"}))

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any]:
        """https://developers.brevo.com/docs/transactional-webhooks"""
        event: dict[str, Any] = {
            "event": _EVENTS[step],
            "email": kept.recipients[0],
            "id": 26224,
            "date": f"{at:%Y-%m-%d %H:%M:%S}",
            "ts": unix(at),
            "ts_event": unix(at),
            "ts_epoch": round(at.timestamp() * 1_000),
            "message-id": f"<{kept.id}>",
            "subject": kept.said["subject"],
            "X-Mailin-custom": kept.token,
            "sending_ip": "198.51.100.9",
            "template_id": 0,
        }
        if kept.tag:
            event |= {"tag": orjson.dumps([kept.tag]).decode(), "tags": [kept.tag]}
        if step in {Step.DEFERRED, Step.HARD, Step.SOFT, Step.BLOCKED}:
            event["reason"] = str(words_of(step))
        elif step is Step.DROPPED:
            event["reason"] = "blocked : due to blacklist user"
        elif step is Step.OPENED:
            event |= {"user_agent": USER_AGENT, "device_used": "DESKTOP"}
        elif step is Step.CLICKED:
            event |= {"link": LINK, "user_agent": USER_AGENT}
        return event

    def refused(self, recipient: str) -> Response:
        return _error(400, "invalid_parameter", "email is not valid in to")

    def busy(self) -> Response:
        return reply(500, {"code": "internal_error", "message": "Something went wrong"})

    def throttled(self) -> Response:
        limits = {
            "x-sib-ratelimit-limit": "1000",
            "x-sib-ratelimit-remaining": "0",
            "x-sib-ratelimit-reset": "7",
        }
        return reply(429, {"code": "too_many_requests", "message": "Rate limit exceeded"}, limits)

    def suspended(self) -> Response:
        return _error(403, "account_under_validation", "Your account is under validation")


def _error(status: int, code: str, words: str) -> Response:
    return reply(status, {"code": code, "message": words})


def _parts(said: dict[str, Any]) -> Parts:
    return Parts(
        from_=boxes([said["sender"]])[0],
        subject=said["subject"],
        to=boxes(said["to"]),
        reply_to=boxes([said["replyTo"]] if "replyTo" in said else []),
        text=said.get("textContent"),
        html=said["htmlContent"],
        attachments=tuple(
            Attachment(
                one["name"],
                guess_type(one["name"])[0] or "application/octet-stream",
                base64.b64decode(one["content"], validate=True),
            )
            for one in said.get("attachment") or ()
        ),
        headers=tuple(pair for pair in (said.get("headers") or {}).items() if pair[0].lower() not in _OURS),
    )
