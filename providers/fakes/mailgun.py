"""A fake Mailgun. https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages"""

import hmac
import re
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from providers.fakes.posting import LINK, READER, USER_AGENT, Hook, Post, Step, json_post, words_of
from providers.fakes.wire import Kept, Refusal, Request, Response, Vendor, fate, reply, sent
from relay.core import mime
from relay.core.address import InvalidAddress, parse_mailboxes

_PATH = re.compile(r"/v3/([^/]+)/messages(\.mime)?\Z")
_FIELDS = re.compile(
    r"(?:from|to|cc|bcc|subject|text|html|amp-html|message|attachment|inline|template|recipient-variables"
    r"|[ohvt]:[\w-]+)\Z"
)


_EVENTS = {
    Step.SENT: "accepted",
    Step.DEFERRED: "failed",
    Step.DELIVERED: "delivered",
    Step.HARD: "failed",
    Step.SOFT: "failed",
    Step.BLOCKED: "failed",
    Step.DROPPED: "failed",
    Step.COMPLAINED: "complained",
    Step.OPENED: "opened",
    Step.CLICKED: "clicked",
    Step.UNSUBSCRIBED: "unsubscribed",
}
_REASONS = {Step.DEFERRED: "generic", Step.DROPPED: "suppress-bounce"}


class Mailgun(Vendor):
    """Every domain but `missing.example` exists."""

    name: ClassVar[str] = "mailgun"
    signing_key: ClassVar[str] = "fake-key"

    def handle(self, request: Request) -> Response:
        if request.basic() != ("api", self.key):
            return Response(401, b"Forbidden", {"content-type": "text/plain"})
        found = _PATH.match(request.path)
        if not found or request.method != "POST":
            return Response(200, b"Mailgun Magnificent API", {"content-type": "text/plain"})
        if found[1] == "missing.example":
            return reply(404, {"message": f"Domain not found: {found[1]}"})
        fields = _form(request)
        for name in fields:
            if not _FIELDS.match(name):
                return reply(400, {"message": f"unknown parameter {name}"})
        recipients = _recipients(fields)
        if not recipients:
            return reply(400, {"message": "to parameter is missing"})
        if len(recipients) > 1000:
            return reply(400, {"message": "too many recipients"})
        raw = fields.get("message", [b""])[0] if found[2] else None
        if found[2] and not raw:
            return reply(400, {"message": "message parameter is missing"})
        if not found[2] and "from" not in fields:
            return reply(400, {"message": "from parameter is missing"})
        if magic := self.obey(recipients):
            return magic
        identifier = (
            _message_id(raw) or f"<{datetime.now(UTC):%Y%m%d%H%M%S}.{secrets.token_hex(8)}@{found[1]}>"
        )
        self.keep(
            Kept(
                self.name,
                identifier.strip("<>"),
                tuple(recipients),
                _first(fields, "v:pillarbox"),
                _first(fields, "o:tag"),
                raw=raw,
                said={
                    name: [value.decode("utf-8", "replace") for value in all_]
                    for name, all_ in fields.items()
                },
                fate=fate(recipients),
            )
        )
        return sent(recipients, reply(200, {"id": identifier, "message": "Queued. Thank you."}))

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any]:
        """https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure"""
        words, name = words_of(step), _EVENTS[step]
        variables = {
            field.removeprefix("v:"): values[0]
            for field, values in kept.said.items()
            if field.startswith("v:")
        }
        event: dict[str, Any] = {
            "event": name,
            "id": secrets.token_urlsafe(16),
            "timestamp": round(at.timestamp(), 6),
            "log-level": "error" if name == "failed" else "info",
            "recipient": kept.recipients[0],
            "recipient-domain": kept.recipients[0].partition("@")[2],
            "tags": [kept.tag] if kept.tag else [],
            "user-variables": variables,
            "flags": {"is-routed": False, "is-authenticated": True, "is-test-mode": False},
            "message": {
                "headers": {"message-id": kept.id, "to": kept.recipients[0], "from": "", "subject": ""},
                "attachments": [],
                "size": len(kept.raw or b""),
            },
        }
        if step in {Step.OPENED, Step.CLICKED, Step.UNSUBSCRIBED}:
            client = {"client-type": "browser", "device-type": "desktop", "user-agent": USER_AGENT, "bot": ""}
            event |= {"ip": READER, "client-info": client, "geolocation": {"country": "NO"}}
            if step is Step.CLICKED:
                event["url"] = LINK
        elif name in {"failed", "delivered"}:
            dropped = step is Step.DROPPED
            event["delivery-status"] = {
                "code": 605 if dropped else words.code,
                "enhanced-code": "" if dropped else words.enhanced,
                "message": "" if dropped else words.text,
                "description": "Not delivering to previously bounced address" if dropped else "",
                "attempt-no": 1,
                "mx-host": "mx.example.net",
                "tls": True,
                "session-seconds": 0.4,
            }
            if name == "failed":
                event["severity"] = "temporary" if step is Step.DEFERRED else "permanent"
                event["reason"] = _REASONS.get(step, "bounce")
        return event

    def post(self, told: Sequence[Any], hook: Hook) -> Post:
        moment, token = str(int(time.time())), secrets.token_hex(25)
        key = (hook.secret or self.signing_key).encode()
        signature = hmac.digest(key, f"{moment}{token}".encode(), "sha256").hex()
        signed = {"timestamp": moment, "token": token, "signature": signature}
        return json_post({"signature": signed, "event-data": told[0]})

    def refused(self, recipient: str) -> Response:
        return reply(400, {"message": "to parameter is not a valid address. please check documentation"})

    def busy(self) -> Response:
        return reply(500, {"message": "Internal Server Error"})

    def throttled(self) -> Response:
        until = datetime.now(UTC) + timedelta(seconds=60)
        words = f"Rate limit exceeded for recipients, try again after {until:%a, %d %b %Y %H:%M:%S} UTC"
        return reply(429, {"message": words})

    def suspended(self) -> Response:
        words = "Domain example.org is not allowed to send: The domain is unverified and requires DNS configuration."
        return reply(400, {"message": words})


def _recipients(fields: dict[str, list[bytes]]) -> list[str]:
    found: list[str] = []
    for name in ("to", "cc", "bcc"):
        for value in fields.get(name, ()):
            try:
                found += [box.address for box in parse_mailboxes(value.decode())]
            except InvalidAddress:
                words = f"'{name}' parameter is not a valid address. please check documentation"
                raise Refusal(reply(400, {"message": words})) from None
    return found


def _message_id(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    head = raw[: mime.split_head(raw)]
    return mime.text_value(head, mime.scan(head), b"message-id") or None


def _first(fields: dict[str, list[bytes]], name: str) -> str | None:
    return fields[name][0].decode() if name in fields else None


def _form(request: Request) -> dict[str, list[bytes]]:
    """Every field with its values; multipart or urlencoded."""
    fields: dict[str, list[bytes]] = {}
    kind = Message()
    kind["content-type"] = request.headers.get("content-type", "")
    boundary = kind.get_boundary()
    if not boundary:
        for name, value in parse_qsl(request.body.decode()):
            fields.setdefault(name, []).append(value.encode())
        return fields
    for piece in (b"\r\n" + request.body).split(f"\r\n--{boundary}".encode())[1:]:
        if piece.startswith(b"--"):
            break
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        part = Message()
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(":")
            part[name] = value.strip()
        called = part.get_param("name", header="content-disposition")
        fields.setdefault(str(called), []).append(content)
    return fields
