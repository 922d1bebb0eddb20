"""A fake Mailtrap. https://api-docs.mailtrap.io/docs/mailtrap-api-docs/67f1d70aeb62c-send-email"""

import base64
import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import orjson

from providers.fakes.posting import LINK, READER, USER_AGENT, Hook, Post, Step, unix, words_of
from providers.fakes.wire import Kept, Request, Response, Vendor, boxes, fate, reply, sent, unknown, uuid_like
from relay.core.parts import Attachment, Parts

_FIELDS = (
    "from to cc bcc reply_to subject text html category custom_variables headers attachments template_uuid "
    "template_variables"
)
_PATH = re.compile(r"/api/(send|batch)(?:/(\d+))?\Z")


_EVENTS = {
    Step.DEFERRED: "soft bounce",
    Step.DELIVERED: "delivery",
    Step.HARD: "bounce",
    Step.SOFT: "bounce",
    Step.BLOCKED: "bounce",
    Step.DROPPED: "reject",
    Step.COMPLAINED: "spam",
    Step.OPENED: "open",
    Step.CLICKED: "click",
    Step.UNSUBSCRIBED: "unsubscribe",
}
_CATEGORIES = {
    Step.DEFERRED: "greylisting",
    Step.HARD: "badmailbox",
    Step.SOFT: "quotaissue",
    Step.BLOCKED: "spam-related",
}


class Mailtrap(Vendor):
    name: ClassVar[str] = "mailtrap"
    batch: ClassVar[int] = 2
    signing_key: ClassVar[str] = "fake-key"

    def handle(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key not in {given, request.headers.get("api-token")}:
            return _error(401, "Unauthorized")
        if not request.headers.get("user-agent"):
            return _error(403, "User-Agent is required")
        found = _PATH.match(request.path)
        if request.method != "POST" or not found:
            return _error(404, "Not Found")
        said = request.data
        if not isinstance(said, dict):
            return _error(400, "the body is not JSON")
        return self._single(said) if found[1] == "send" else self._batch(said)

    def _single(self, said: dict[str, Any]) -> Response:
        recipients = _recipients(said)
        if magic := self.obey(recipients):
            return magic
        if fault := _fault(said, recipients):
            return _error(400, fault)
        return sent(recipients, reply(200, {"success": True, "message_ids": self._take(said, recipients)}))

    def _batch(self, said: dict[str, Any]) -> Response:
        requests = said.get("requests")
        if not isinstance(requests, list) or not 1 <= len(requests) <= 500 or unknown(said, "base requests"):
            return _error(400, "'requests' must have 1 to 500 messages")
        answers: list[dict[str, Any]] = []
        everyone: list[str] = []
        for one in requests:
            whole = {**(said.get("base") or {}), **one}
            recipients = _recipients(whole)
            everyone += recipients
            magic = self.obey(recipients)
            if magic is not None and magic.status != 400:
                return magic
            fault = "'to' address is refused" if magic is not None else _fault(whole, recipients)
            if fault:
                answers.append({"success": False, "errors": [fault]})
            else:
                answers.append({"success": True, "message_ids": self._take(whole, recipients)})
        return sent(everyone, reply(200, {"success": True, "responses": answers}))

    def _take(self, said: dict[str, Any], recipients: list[str]) -> list[str]:
        ids = [uuid_like() for _ in recipients]
        self.keep(
            Kept(
                self.name,
                ids[0],
                tuple(recipients),
                (said.get("custom_variables") or {}).get("pillarbox"),
                said.get("category"),
                parts=_parts(said),
                said=said,
                fate=fate(recipients),
            )
        )
        return ids

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any] | None:
        """https://docs.mailtrap.io/email-api-smtp/advanced/webhooks"""
        name = _EVENTS.get(step)
        if name is None:
            return None
        words = words_of(step)
        event: dict[str, Any] = {
            "event": name,
            "message_id": kept.id,
            "event_id": uuid_like(),
            "email": kept.recipients[0],
            "timestamp": unix(at),
            "sending_stream": "transactional",
            "sending_domain_name": kept.said["from"]["email"].partition("@")[2],
            "category": kept.tag or "",
            "custom_variables": kept.said.get("custom_variables") or {},
        }
        if step in {Step.DEFERRED, Step.HARD, Step.SOFT, Step.BLOCKED}:
            event |= {
                "response": str(words),
                "response_code": words.code,
                "bounce_category": _CATEGORIES[step],
            }
        elif step is Step.DROPPED:
            event["reason"] = "Recipient in suppression list. Reason: hard bounce"
        elif step in {Step.OPENED, Step.CLICKED, Step.UNSUBSCRIBED}:
            event |= {"ip": READER, "user_agent": USER_AGENT}
        if step is Step.CLICKED:
            event["url"] = LINK
        return event

    def post(self, told: Sequence[Any], hook: Hook) -> Post:
        body = orjson.dumps({"events": list(told)})
        signature = hmac.digest((hook.secret or self.signing_key).encode(), body, "sha256").hex()
        return Post(body, {"content-type": "application/json", "mailtrap-signature": signature})

    def refused(self, recipient: str) -> Response:
        return _error(400, f"'to' address {recipient} is refused")

    def busy(self) -> Response:
        return _error(500, "Internal Server Error")

    def throttled(self) -> Response:
        return _error(429, "Too many requests")

    def suspended(self) -> Response:
        return _error(403, "Your domain is not verified")


def _error(status: int, words: str) -> Response:
    return reply(status, {"success": False, "errors": [words]})


def _recipients(said: dict[str, Any]) -> list[str]:
    return [one["email"] for field in ("to", "cc", "bcc") for one in said.get(field) or ()]


def _fault(said: dict[str, Any], recipients: list[str]) -> str | None:
    if surplus := unknown(said, _FIELDS):
        return f"'{surplus[0]}' is not a field"
    if not said.get("from"):
        return "'from' is required"
    if not recipients:
        return "'to' is required"
    if not said.get("subject"):
        return "'subject' is required"
    if not said.get("text") and not said.get("html"):
        return "must specify either text or html body"
    if len(said.get("category", "")) > 255:
        return "'category' is too long"
    return None


def _parts(said: dict[str, Any]) -> Parts:
    return Parts(
        from_=boxes([said["from"]])[0],
        subject=said["subject"],
        to=boxes(said["to"]),
        reply_to=boxes([said["reply_to"]] if "reply_to" in said else []),
        text=said.get("text"),
        html=said.get("html"),
        attachments=tuple(
            Attachment(
                one["filename"],
                one.get("type") or "application/octet-stream",
                base64.b64decode(one["content"], validate=True),
                one.get("content_id"),
                one.get("disposition") == "inline",
            )
            for one in said.get("attachments") or ()
        ),
        headers=tuple((said.get("headers") or {}).items()),
    )
