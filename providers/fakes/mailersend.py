"""A fake MailerSend. https://developers.mailersend.com/api/v1/email.html"""

import base64
import secrets
from mimetypes import guess_type
from typing import Any, ClassVar

from providers.fakes.wire import Kept, Request, Response, Vendor, boxes, fate, reply, sent, unknown
from relay.core.parts import Attachment, Parts

_FIELDS = (
    "from to cc bcc reply_to subject text html attachments template_id personalization tags send_at "
    "precedence_bulk in_reply_to references settings headers list_unsubscribe"
)


class MailerSend(Vendor):
    name: ClassVar[str] = "mailersend"

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
