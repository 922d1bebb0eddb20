"""A fake Postmark server. https://postmarkapp.com/developer/api/email-api"""

import base64
from datetime import UTC, datetime
from typing import Any, ClassVar

from providers.fakes.posting import LINK, READER, USER_AGENT, Step, iso, words_of
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
from relay.core.address import InvalidAddress, Mailbox, parse_mailboxes
from relay.core.parts import Attachment, Parts

_FIELDS = (
    "From To Cc Bcc Subject Tag HtmlBody TextBody ReplyTo Metadata Headers TrackOpens TrackLinks Attachments "
    "MessageStream"
)
_BOUNCES = {
    Step.DEFERRED: ("Transient", 2),
    Step.HARD: ("HardBounce", 1),
    Step.SOFT: ("SoftBounce", 4096),
    Step.BLOCKED: ("Blocked", 100006),
    Step.DROPPED: ("ManuallyDeactivated", 100002),
    Step.COMPLAINED: ("SpamComplaint", 100001),
}
_FORBIDDEN = (".exe", ".bat", ".cmd", ".com", ".js", ".vbs", ".scr", ".msi", ".dll")


class Postmark(Vendor):
    name: ClassVar[str] = "postmark"

    def handle(self, request: Request) -> Response:
        if request.headers.get("x-postmark-server-token") != self.key:
            return _error(401, 10, "Request does not contain a valid Server token.")
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _error(415, 409, "JSON required: the Content-Type must be application/json.")
        if (request.method, request.path) == ("POST", "/email"):
            return self._single(request.data)
        if (request.method, request.path) == ("POST", "/email/batch"):
            return self._batch(request.data)
        return _error(404, 404, "Not found.")

    def _single(self, said: Any) -> Response:
        if not isinstance(said, dict):
            return _error(422, 402, "Invalid JSON")
        done, recipients = self._take(said)
        return sent(recipients, done)

    def _batch(self, said: Any) -> Response:
        if not isinstance(said, list):
            return _error(422, 402, "Invalid JSON")
        if len(said) > 500:
            return _error(422, 410, "Too many batch messages: 500 at most.")
        bodies: list[bytes] = []
        everyone: list[str] = []
        for one in said:
            try:
                done, recipients = self._take(one)
            except Refusal as refusal:
                done, recipients = refusal.response, []
            if done.status not in {200, 422}:
                return done
            bodies.append(done.body)
            everyone += recipients
        return sent(
            everyone, Response(200, b"[" + b",".join(bodies) + b"]", {"content-type": "application/json"})
        )

    def _take(self, said: dict[str, Any]) -> tuple[Response, list[str]]:
        if surplus := unknown(said, _FIELDS):
            raise Refusal(_error(422, 403, f"Incompatible JSON: {', '.join(surplus)}"))
        boxes = {name: _boxes(said, name) for name in ("From", "To", "Cc", "Bcc", "ReplyTo")}
        recipients = [box.address for name in ("To", "Cc", "Bcc") for box in boxes[name]]
        if len(boxes["From"]) != 1:
            raise Refusal(_error(422, 300, "Invalid 'From' value."))
        if not recipients:
            raise Refusal(_error(422, 300, "Zero recipients specified"))
        if len(recipients) > 50:
            raise Refusal(_error(422, 300, "Too many recipients: 50 at most."))
        if not said.get("TextBody") and not said.get("HtmlBody"):
            raise Refusal(_error(422, 300, "Provide either email TextBody or HtmlBody or both."))
        if magic := self.obey(recipients):
            return magic, recipients
        identifier = uuid_like()
        self.keep(
            Kept(
                self.name,
                identifier,
                tuple(recipients),
                (said.get("Metadata") or {}).get("pillarbox"),
                said.get("Tag"),
                parts=_parts(said, boxes),
                said=said,
                fate=fate(recipients),
            )
        )
        body = {
            "To": said["To"],
            "SubmittedAt": datetime.now(UTC).isoformat(),
            "MessageID": identifier,
            "ErrorCode": 0,
            "Message": "OK",
        }
        return reply(200, body), recipients

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any] | None:
        """https://postmarkapp.com/developer/webhooks/webhooks-overview"""
        if step is Step.SENT:
            return None
        words, to = words_of(step), kept.recipients[0]
        common = {
            "MessageID": kept.id,
            "MessageStream": kept.said.get("MessageStream", "outbound"),
            "Metadata": kept.said.get("Metadata") or {},
            "Tag": kept.tag or "",
            "ServerID": 23,
        }
        if step is Step.DELIVERED:
            details = {"Recipient": to, "DeliveredAt": iso(at), "Details": f"smtp;{words}"}
            return {"RecordType": "Delivery", **common, **details}
        if step is Step.UNSUBSCRIBED:
            change = {"ChangedAt": iso(at), "Origin": "Recipient", "SuppressSending": True}
            return {
                "RecordType": "SubscriptionChange",
                **common,
                "Recipient": to,
                **change,
                "SuppressionReason": "ManualSuppression",
            }
        if step in {Step.OPENED, Step.CLICKED}:
            seen = {
                "Client": {"Name": "Firefox", "Company": "Mozilla", "Family": "Firefox"},
                "OS": {"Name": "Linux", "Company": "", "Family": "Linux"},
                "Platform": "Desktop",
                "UserAgent": USER_AGENT,
                "Geo": {"IP": READER, "Country": "Norway", "CountryISOCode": "NO"},
                "ReceivedAt": iso(at),
                "Recipient": to,
            }
            if step is Step.OPENED:
                return {"RecordType": "Open", **common, **seen, "FirstOpen": True, "ReadSeconds": 0}
            return {"RecordType": "Click", **common, **seen, "ClickLocation": "HTML", "OriginalLink": LINK}
        name, code = _BOUNCES[step]
        return {
            "RecordType": "SpamComplaint" if step is Step.COMPLAINED else "Bounce",
            **common,
            "ID": 692560173 + self.serial(),
            "Type": name,
            "TypeCode": code,
            "Name": name,
            "Description": "",
            "Details": "" if step is Step.COMPLAINED else f"smtp;{words}",
            "Email": to,
            "From": kept.said["From"],
            "BouncedAt": iso(at),
            "DumpAvailable": True,
            "Inactive": step in {Step.HARD, Step.COMPLAINED},
            "CanActivate": step is not Step.COMPLAINED,
            "Subject": kept.said.get("Subject", ""),
        }

    def refused(self, recipient: str) -> Response:
        return _error(
            422,
            406,
            "You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: "
            f"{recipient}. Inactive recipients are ones that have generated a hard bounce, a spam complaint, or "
            "a manual suppression.",
        )

    def busy(self) -> Response:
        return _error(503, 100, "Service Unavailable. We are in maintenance.")

    def throttled(self) -> Response:
        return _error(429, 429, "Rate limit exceeded.")

    def suspended(self) -> Response:
        return _error(422, 412, "Your account is pending approval.")


def _error(status: int, code: int, words: str) -> Response:
    return reply(status, {"ErrorCode": code, "Message": words})


def _boxes(said: dict[str, Any], name: str) -> list[Mailbox]:
    given = said.get(name) or ""
    try:
        return parse_mailboxes(given)
    except (InvalidAddress, TypeError):
        raise Refusal(_error(422, 300, f"Error parsing '{name}': Illegal email address '{given}'.")) from None


def _parts(said: dict[str, Any], boxes: dict[str, list[Mailbox]]) -> Parts:
    attachments = []
    for one in said.get("Attachments") or ():
        if unknown(one, "Name Content ContentType ContentID"):
            raise Refusal(_error(422, 403, "Incompatible JSON in Attachments"))
        if one["Name"].lower().endswith(_FORBIDDEN):
            raise Refusal(_error(422, 411, "Forbidden attachment type."))
        kind, _, parameters = one["ContentType"].partition("; ")
        cid = one.get("ContentID") or ""
        content = base64.b64decode(one["Content"], validate=True)
        attachments.append(
            Attachment(one["Name"], kind, content, cid.removeprefix("cid:") or None, bool(cid), parameters)
        )
    headers = [(one["Name"], one["Value"]) for one in said.get("Headers") or ()]
    kept = {name.lower(): value for name, value in headers}
    return Parts(
        from_=boxes["From"][0],
        subject=said.get("Subject") or "",
        to=tuple(boxes["To"]),
        reply_to=tuple(boxes["ReplyTo"]),
        text=said.get("TextBody"),
        html=said.get("HtmlBody"),
        attachments=tuple(attachments),
        headers=tuple(pair for pair in headers if pair[0].lower() not in {"message-id", "x-pm-keepid"}),
        message_id=kept.get("message-id"),
    )
