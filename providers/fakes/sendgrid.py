"""A fake SendGrid. https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send"""

import base64
import secrets
import time
from typing import Any, ClassVar

from providers.fakes.wire import Kept, Request, Response, Vendor, fate, reply, sent, unknown
from relay.core.address import Mailbox
from relay.core.parts import Attachment, Parts

_FIELDS = (
    "personalizations from reply_to reply_to_list subject content attachments template_id headers categories "
    "custom_args send_at batch_id asm ip_pool_name mail_settings tracking_settings"
)
_PERSONAL = "to cc bcc from subject headers custom_args substitutions dynamic_template_data send_at"
_RESERVED = (
    *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
    *("to", "from", "subject", "reply-to", "cc", "bcc"),
)


class SendGrid(Vendor):
    name: ClassVar[str] = "sendgrid"

    def handle(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, "The provided authorization grant is invalid, expired, or revoked")
        if (request.method, request.path) == ("GET", "/v3/scopes"):
            return reply(200, {"scopes": ["mail.send"]})
        if (request.method, request.path) != ("POST", "/v3/mail/send"):
            return _error(404, "Not Found")
        said = request.data
        if not isinstance(said, dict):
            return _error(400, "Bad Request")
        if fault := _fault(said):
            return _error(400, fault[1], fault[0])
        recipients = [
            box["email"]
            for one in said["personalizations"]
            for field in ("to", "cc", "bcc")
            for box in one.get(field) or ()
        ]
        if len(recipients) > 1000 or len({one.lower() for one in recipients}) != len(recipients):
            return _error(
                400, "Each email address in the personalization block should be unique", "personalizations"
            )
        if magic := self.obey(recipients):
            return magic
        if said.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
            return reply(200)
        identifier = secrets.token_urlsafe(16)
        personal = said["personalizations"][0]
        token = {**said.get("custom_args", {}), **personal.get("custom_args", {})}.get("pillarbox")
        tags = said.get("categories") or [None]
        self.keep(
            Kept(
                self.name, identifier, tuple(recipients), token, tags[0],
                parts=_parts(said), said=said, fate=fate(recipients),
            )
        )  # fmt: skip
        return sent(recipients, reply(202, None, {"x-message-id": identifier, "server": "nginx"}))

    def refused(self, recipient: str) -> Response:
        return _error(400, "Does not contain a valid address.", "personalizations.0.to.0.email")

    def busy(self) -> Response:
        return _error(503, "Service Unavailable")

    def throttled(self) -> Response:
        limits = {
            "x-ratelimit-limit": "500",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": str(int(time.time()) + 30),
        }
        return reply(429, {"errors": [{"message": "too many requests", "field": None}]}, limits)

    def suspended(self) -> Response:
        return _error(403, "The from address does not match a verified Sender Identity.", "from")


def _error(status: int, words: str, field: str | None = None) -> Response:
    return reply(status, {"errors": [{"message": words, "field": field, "help": None}]})


def _fault(said: dict[str, Any]) -> tuple[str, str] | None:
    """The field and the words of what the vendor would not take."""
    if surplus := unknown(said, _FIELDS):
        return surplus[0], "Additional property is not allowed"
    people = said.get("personalizations")
    if not isinstance(people, list) or not people:
        return (
            "personalizations",
            "The personalizations field is required and must have at least one personalization.",
        )
    for number, one in enumerate(people):
        if surplus := unknown(one, _PERSONAL):
            return f"personalizations.{number}.{surplus[0]}", "Additional property is not allowed"
        if not one.get("to"):
            return (
                f"personalizations.{number}.to",
                "The to array is required for all personalization objects.",
            )
        args = one.get("custom_args", {})
        if not all(isinstance(value, str) for value in args.values()):
            return f"personalizations.{number}.custom_args", "The custom_args must be strings."
    if "@" not in said.get("from", {}).get("email", ""):
        return "from", "The from object must be provided for every email send."
    if not said.get("subject"):
        return "subject", "The subject is required."
    content = said.get("content")
    if not content or not all(one.get("value") for one in content):
        return "content", "The content value must be a string at least one character in length."
    kinds = [one["type"] for one in content]
    if "text/plain" in kinds[1:] or (
        "text/html" in kinds and kinds.index("text/html") > kinds.count("text/plain")
    ):
        return "content", "If present, text/plain and text/html may only be provided once, in that order."
    for name in said.get("headers", {}):
        if name.lower() in _RESERVED:
            return f"headers.{name}", "The header is reserved."
    for one in said.get("attachments", ()):
        if ";" in one.get("type", "") or unknown(one, "content type filename disposition content_id"):
            return "attachments", "The attachment type cannot contain ';', or CRLF characters."
    if len(said.get("categories", ())) > 10:
        return "categories", "10 at most."
    return None


def _box(said: dict[str, str]) -> Mailbox:
    return Mailbox(said.get("name", ""), said["email"])


def _parts(said: dict[str, Any]) -> Parts:
    content = {one["type"]: one["value"] for one in said["content"]}
    reply_to = said.get("reply_to_list") or ([said["reply_to"]] if "reply_to" in said else [])
    return Parts(
        from_=_box(said["from"]),
        subject=said["subject"],
        to=tuple(_box(box) for box in said["personalizations"][0]["to"]),
        reply_to=tuple(_box(box) for box in reply_to),
        text=content.pop("text/plain", None),
        html=content.pop("text/html", None),
        alternatives=tuple(content.items()),
        attachments=tuple(
            Attachment(
                one["filename"],
                one["type"],
                base64.b64decode(one["content"], validate=True),
                one.get("content_id"),
                one.get("disposition") == "inline",
            )
            for one in said.get("attachments", ())
        ),
        headers=tuple(said.get("headers", {}).items()),
    )
