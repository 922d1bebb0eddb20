"""A fake SendGrid. https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send"""

import base64
import hashlib
import secrets
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from providers.fakes.posting import LINK, READER, USER_AGENT, Hook, Post, Step, unix, words_of
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


_EVENTS = {
    Step.SENT: "processed",
    Step.DEFERRED: "deferred",
    Step.DELIVERED: "delivered",
    Step.HARD: "bounce",
    Step.SOFT: "bounce",
    Step.BLOCKED: "bounce",
    Step.DROPPED: "dropped",
    Step.COMPLAINED: "spamreport",
    Step.OPENED: "open",
    Step.CLICKED: "click",
    Step.UNSUBSCRIBED: "unsubscribe",
}
_CLASSES = {
    Step.HARD: "Invalid Address",
    Step.SOFT: "Mailbox Unavailable",
    Step.BLOCKED: "Content",
}


def _private(secret: str) -> ec.EllipticCurvePrivateKey:
    """Always the same one, so that its public half can be configured before anything runs."""
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(secret.encode()).digest()), ec.SECP256R1())


def public_key(secret: str) -> str:
    """As SendGrid shows it: DER in base64."""
    written = (
        _private(secret)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return base64.b64encode(written).decode()


class SendGrid(Vendor):
    name: ClassVar[str] = "sendgrid"
    batch: ClassVar[int] = 2
    signing_key: ClassVar[str] = "fake-key"

    @property
    def believed(self) -> dict[str, str]:
        return {"webhook_key": public_key(self.signing_key)}

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

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any]:
        """https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event"""
        words = words_of(step)
        personal = kept.said["personalizations"][0]
        event = {
            **kept.said.get("custom_args", {}),
            **personal.get("custom_args", {}),
            "email": kept.recipients[0],
            "timestamp": unix(at),
            "event": _EVENTS[step],
            "smtp-id": f"<{kept.id}@geopod-ismtpd-1>",
            "sg_event_id": secrets.token_urlsafe(22),
            "sg_message_id": f"{kept.id}.recvd-5c6f7d8f9-abcde-1-6512345-A.0",
        }
        if kept.said.get("categories"):
            event["category"] = kept.said["categories"]
        if step in {Step.OPENED, Step.CLICKED}:
            event |= {"useragent": USER_AGENT, "ip": READER}
            if step is Step.OPENED:
                return {**event, "sg_machine_open": False, "sg_content_type": "html"}
            return {**event, "url": LINK, "url_offset": {"index": 0, "type": "html"}}
        if step in {Step.DELIVERED, Step.DEFERRED}:
            return {**event, "response": str(words), "ip": "198.51.100.9", "tls": 1, "attempt": "1"}
        if step is Step.DROPPED:
            return {**event, "reason": "Bounced Address", "status": words.enhanced}
        if step in {Step.HARD, Step.SOFT, Step.BLOCKED}:
            kind = "blocked" if step is Step.BLOCKED else "bounce"
            return {
                **event,
                "type": kind,
                "status": words.enhanced,
                "reason": str(words),
                "bounce_classification": _CLASSES[step],
                "ip": "198.51.100.9",
                "tls": 1,
            }
        return event

    def post(self, told: Sequence[Any], hook: Hook) -> Post:
        # A line end after each event, as they send it: it is part of what is signed.
        body = b"[" + b",\r\n".join(orjson.dumps(one) for one in told) + b"]\r\n"
        moment = str(int(time.time()))
        signature = _private(hook.secret or self.signing_key).sign(
            moment.encode() + body, ec.ECDSA(hashes.SHA256())
        )
        prefix = "x-twilio-email-event-webhook-"
        headers = {
            "content-type": "application/json",
            f"{prefix}signature": base64.b64encode(signature).decode(),
            f"{prefix}timestamp": moment,
        }
        return Post(body, headers)

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
