"""A fake MailerSend. https://developers.mailersend.com/api/v1/email.html"""

import base64
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from mimetypes import guess_type
from typing import Any, ClassVar

import orjson

from providers.fakes.posting import LINK, READER, Hook, Post, Step, iso, words_of
from providers.fakes.wire import Kept, Request, Response, Vendor, boxes, fate, reply, sent, unknown
from relay.core.parts import Attachment, Parts

_FIELDS = (
    "from to cc bcc reply_to subject text html attachments template_id personalization tags send_at "
    "precedence_bulk in_reply_to references settings headers list_unsubscribe"
)


_EVENTS = {
    Step.SENT: "sent",
    Step.DEFERRED: "deferred",
    Step.DELIVERED: "delivered",
    Step.HARD: "hard_bounced",
    Step.SOFT: "soft_bounced",
    Step.BLOCKED: "soft_bounced",
    Step.COMPLAINED: "spam_complaint",
    Step.OPENED: "opened",
    Step.CLICKED: "clicked",
    Step.UNSUBSCRIBED: "unsubscribed",
}


class MailerSend(Vendor):
    name: ClassVar[str] = "mailersend"
    signing_key: ClassVar[str] = "fake-key"

    def handle(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return reply(401, {"message": "Unauthenticated."})
        if (request.method, request.path) != ("POST", "/v1/email"):
            return reply(404, {"message": "The route could not be found."})
        said = request.data
        if not isinstance(said, dict):
            return _invalid("from", "The from field is required.")
        if surplus := unknown(said, _FIELDS):
            return _invalid(surplus[0], "The field is unknown.")
        for field in ("from", "to", "subject"):
            if not said.get(field):
                return _invalid(field, f"The {field} field is required.")
        if not said.get("text") and not said.get("html"):
            return _invalid("text", "The text field is required when none of html / template id are present.")
        people = {field: said.get(field) or [] for field in ("to", "cc", "bcc")}
        if len(people["to"]) > 50 or len(people["cc"]) > 10 or len(people["bcc"]) > 10:
            return _invalid("to", "Too many recipients.")
        if len(said.get("tags", ())) > 5:
            return _invalid("tags", "The tags may not have more than 5 items.")
        recipients = [one["email"] for field in people.values() for one in field]
        if magic := self.obey(recipients):
            return magic
        identifier = secrets.token_hex(12)
        tags = [str(tag) for tag in said.get("tags", ())]
        ours = next((tag.partition(":")[2] for tag in tags if tag.startswith("pillarbox:")), None)
        self.keep(
            Kept(
                self.name,
                identifier,
                tuple(recipients),
                ours,
                next((tag for tag in tags if not tag.startswith("pillarbox:")), None),
                parts=_parts(said),
                said=said,
                fate=fate(recipients),
            )
        )
        return sent(recipients, reply(202, None, {"x-message-id": identifier}))

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any] | None:
        """https://developers.mailersend.com/api/v1/webhooks.html#payload-example"""
        name = _EVENTS.get(step)
        if name is None:
            return None
        words = words_of(step)
        morph: dict[str, Any] | None = None
        if step in {Step.DEFERRED, Step.HARD, Step.SOFT, Step.BLOCKED}:
            morph = {"object": "recipient_bounce", "reason": str(words)}
        elif step is Step.COMPLAINED:
            morph = {"object": "spam_complaint", "reason": None}
        elif step is Step.UNSUBSCRIBED:
            morph = {
                "object": "recipient_unsubscribe",
                "reason": "NO_LONGER_WANT",
                "readable_reason": "I no longer want",
            }
        elif step in {Step.OPENED, Step.CLICKED}:
            morph = {"object": name, "id": secrets.token_hex(12), "created_at": iso(at), "ip": READER}
            if step is Step.CLICKED:
                morph["url"] = LINK
        return {
            "type": f"activity.{name}",
            "domain_id": "yv69oxl5kl785kw2",
            "created_at": iso(at),
            "webhook_id": "2351ndgwr4zqx8ko",
            "url": "",
            "data": {
                "object": "activity",
                "id": secrets.token_hex(12),
                "type": name,
                "created_at": iso(at),
                "email": {
                    "object": "email",
                    "id": secrets.token_hex(12),
                    "created_at": iso(at),
                    "from": kept.said["from"]["email"],
                    "subject": kept.said["subject"],
                    "status": name,
                    "tags": kept.said.get("tags"),
                    "message": {"object": "message", "id": kept.id, "created_at": iso(at)},
                    "recipient": {
                        "object": "recipient",
                        "id": secrets.token_hex(12),
                        "email": kept.recipients[0],
                        "created_at": iso(at),
                    },
                },
                "morph": morph,
                "template_id": "",
            },
        }

    def post(self, told: Sequence[Any], hook: Hook) -> Post:
        body = orjson.dumps(told[0])
        signature = hmac.digest((hook.secret or self.signing_key).encode(), body, "sha256").hex()
        return Post(body, {"content-type": "application/json", "signature": signature})

    def greeting(self, hook: Hook) -> Post:
        return self.post([{"type": "webhook.test", "data": {"object": "webhook"}}], hook)

    def refused(self, recipient: str) -> Response:
        warning = {
            "type": "ALL_SUPPRESSED",
            "message": "All of the recipients have been suppressed and therefore your email was not sent.",
            "recipients": [{"email": recipient, "name": "", "reasons": ["blocklisted"]}],
        }
        return reply(202, {"message": "There are some warnings for your request.", "warnings": [warning]})

    def busy(self) -> Response:
        return reply(421, {"message": "Service isn't available, try again later."})

    def throttled(self) -> Response:
        headers = {"x-ratelimit-limit": "120", "x-ratelimit-remaining": "0", "retry-after": "38"}
        return reply(429, {"message": "Too Many Attempts. #MS42903"}, headers)

    def suspended(self) -> Response:
        return _invalid("from.email", "The from.email domain must be verified in your account. #MS42207")


def _invalid(field: str, words: str) -> Response:
    return reply(422, {"message": "The given data was invalid.", "errors": {field: [words]}})


def _parts(said: dict[str, Any]) -> Parts:
    headers = [(one["name"], one["value"]) for one in said.get("headers") or ()]
    if "in_reply_to" in said:
        headers.append(("In-Reply-To", said["in_reply_to"]))
    if "references" in said:
        headers.append(("References", " ".join(said["references"])))
    if said.get("precedence_bulk"):
        headers.append(("Precedence", "bulk"))
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
                guess_type(one["filename"])[0] or "application/octet-stream",
                base64.b64decode(one["content"], validate=True),
                one.get("id"),
                one.get("disposition") == "inline",
            )
            for one in said.get("attachments") or ()
        ),
        headers=tuple(headers),
    )
