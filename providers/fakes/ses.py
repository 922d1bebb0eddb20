"""A fake SES v2. https://docs.aws.amazon.com/ses/latest/APIReference-V2/"""

import base64
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

import orjson

from providers.fakes.posting import LINK, READER, USER_AGENT, Hook, Post, Step, iso, words_of
from providers.fakes.sns import TOPIC, Sns
from providers.fakes.wire import Kept, Request, Response, Vendor, fate, reply, sent, unknown, uuid_like
from providers.http import Answer
from providers.ses.signing import Keys, sign
from relay.core.parts import Unsayable, take_apart

_FIELDS = (
    "FromEmailAddress FromEmailAddressIdentityArn Destination ReplyToAddresses FeedbackForwardingEmailAddress "
    "FeedbackForwardingEmailAddressIdentityArn Content EmailTags ConfigurationSetName EndpointId TenantName "
    "ListManagementOptions"
)
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([a-z0-9-]+)/ses/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})\Z"
)


_EVENTS = {
    Step.SENT: "Send",
    Step.DEFERRED: "DeliveryDelay",
    Step.DELIVERED: "Delivery",
    Step.HARD: "Bounce",
    Step.SOFT: "Bounce",
    Step.BLOCKED: "Bounce",
    Step.DROPPED: "Bounce",
    Step.COMPLAINED: "Complaint",
    Step.OPENED: "Open",
    Step.CLICKED: "Click",
    Step.UNSUBSCRIBED: "Subscription",
}
_BOUNCES = {
    Step.HARD: ("Permanent", "General"),
    Step.SOFT: ("Transient", "MailboxFull"),
    Step.BLOCKED: ("Transient", "ContentRejected"),
    Step.DROPPED: ("Permanent", "OnAccountSuppressionList"),
}


class Ses(Vendor):
    """`key` is the secret access key; any access key goes with it."""

    name: ClassVar[str] = "ses"

    def __init__(self, key: str = "fake-key") -> None:
        super().__init__(key)
        self._sns = Sns()

    def handle(self, request: Request) -> Response:
        if request.method == "GET" and (response := self._sns.answer(request)):
            return response
        if refused := self._sign_in(request):
            return refused
        if (request.method, request.path) == ("GET", "/v2/email/account"):
            quota = {"Max24HourSend": 50000.0, "MaxSendRate": 14.0, "SentLast24Hours": float(len(self.kept))}
            return _answer(200, {"SendQuota": quota, "SendingEnabled": True, "ProductionAccessEnabled": True})
        if (request.method, request.path) == ("POST", "/v2/email/outbound-emails"):
            return self._send(request.data)
        return _error(404, "NotFoundException", "No such operation.")

    def _sign_in(self, request: Request) -> Response | None:
        found = _AUTHORIZATION.match(request.headers.get("authorization", ""))
        if not found:
            return _error(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        access_key, _, region, names, signature = found.groups()
        headers = {name: request.headers.get(name, "") for name in names.split(";")}
        if "x-amz-date" not in headers or "host" not in headers:
            return _error(403, "IncompleteSignatureException", "host and x-amz-date must be signed")
        keys = Keys(access_key, self.key)
        wanted = sign(request.method, request.whole_path, request.query, headers, request.body, keys, region)
        if not hmac.compare_digest(wanted, signature):
            words = "The request signature we calculated does not match the signature you provided."
            return _error(403, "SignatureDoesNotMatch", words)
        return None

    def _send(self, said: Any) -> Response:
        if not isinstance(said, dict) or unknown(said, _FIELDS):
            return _error(400, "BadRequestException", "The request is not understood.")
        where = said.get("Destination") or {}
        recipients = [
            address
            for name in ("ToAddresses", "CcAddresses", "BccAddresses")
            for address in where.get(name) or ()
        ]
        if len(recipients) > 50:
            return _error(400, "MessageRejected", "Recipient count exceeds 50.")
        for tag in said.get("EmailTags") or ():
            if not _TAG.match(tag["Name"]) or not _TAG.match(tag["Value"]):
                return _error(400, "BadRequestException", "A tag has characters that are not allowed.")
        content = said.get("Content") or {}
        raw = base64.b64decode((content.get("Raw") or {}).get("Data", ""))
        if not raw and "Simple" not in content and "Template" not in content:
            return _error(400, "BadRequestException", "Content is missing.")
        if raw and any(len(line) > 1000 for line in raw.split(b"\r\n")):
            return _error(400, "MessageRejected", "Line too long.")
        if not recipients and raw:
            try:
                parts = take_apart(raw)
            except Unsayable:
                return _error(400, "BadRequestException", "The message has no sender.")
            recipients = [box.address for box in (*parts.to, *parts.cc)]
        if not recipients:
            return _error(400, "BadRequestException", "Missing required destination.")
        if magic := self.obey(recipients):
            return magic
        identifier = f"0102{secrets.token_hex(6)}-{uuid_like()}-000000"
        tags = {tag["Name"]: tag["Value"] for tag in said.get("EmailTags") or ()}
        token = tags.get("pillarbox")
        self.keep(
            Kept(
                self.name,
                identifier,
                tuple(recipients),
                token.replace("-", ".") if token else None,
                tags.get("tag"),
                raw=raw,
                said=said,
                fate=fate(recipients),
            )
        )
        return sent(recipients, _answer(200, {"MessageId": identifier}))

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any]:
        """Event publishing: https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html"""
        words, to = words_of(step), kept.recipients[0]
        feedback = f"0102{secrets.token_hex(6)}-{uuid_like()}-000000"
        tags = {tag["Name"]: [tag["Value"]] for tag in kept.said.get("EmailTags") or ()}
        event: dict[str, Any] = {
            "eventType": _EVENTS[step],
            "mail": {
                "timestamp": iso(at),
                "messageId": kept.id,
                "source": "ann@example.com",
                "sourceArn": "arn:aws:ses:eu-west-1:123456789012:identity/example.com",
                "sendingAccountId": "123456789012",
                "destination": list(kept.recipients),
                "headersTruncated": False,
                "headers": [],
                "commonHeaders": {},
                "tags": {**tags, "ses:operation": ["SendEmail"], "ses:outgoing-ip": ["198.51.100.9"]},
            },
        }
        report = {
            "emailAddress": to,
            "action": "failed",
            "status": words.enhanced,
            "diagnosticCode": f"smtp; {words}",
        }
        if step in _BOUNCES:
            kind, subtype = _BOUNCES[step]
            event["bounce"] = {
                "bounceType": kind,
                "bounceSubType": subtype,
                "bouncedRecipients": [report],
                "timestamp": iso(at),
                "feedbackId": feedback,
                "reportingMTA": "dsn; a9-1.smtp-out.eu-west-1.amazonses.com",
            }
        elif step is Step.COMPLAINED:
            event["complaint"] = {
                "complainedRecipients": [{"emailAddress": to}],
                "timestamp": iso(at),
                "feedbackId": feedback,
                "complaintSubType": None,
                "userAgent": "Fake feedback/1.0",
                "complaintFeedbackType": "abuse",
                "arrivalDate": iso(at),
            }
        elif step is Step.DELIVERED:
            event["delivery"] = {
                "timestamp": iso(at),
                "processingTimeMillis": 546,
                "recipients": [to],
                "smtpResponse": str(words),
                "reportingMTA": "a9-1.smtp-out.eu-west-1.amazonses.com",
            }
        elif step is Step.DEFERRED:
            event["deliveryDelay"] = {
                "timestamp": iso(at),
                "delayType": "TransientCommunicationFailure",
                "expirationTime": iso(at + timedelta(hours=14)),
                "delayedRecipients": [report],
            }
        elif step in {Step.OPENED, Step.CLICKED}:
            seen = {"ipAddress": READER, "timestamp": iso(at), "userAgent": USER_AGENT}
            event |= (
                {"open": seen} if step is Step.OPENED else {"click": {**seen, "link": LINK, "linkTags": None}}
            )
        elif step is Step.UNSUBSCRIBED:
            event["subscription"] = {
                "contactList": "fake",
                "timestamp": iso(at),
                "source": "UnsubscribeHeader",
                "newTopicPreferences": {"unsubscribeAll": True, "topicSubscriptionStatus": []},
                "oldTopicPreferences": {"unsubscribeAll": False, "topicSubscriptionStatus": []},
            }
        else:
            event["send"] = {}
        return event

    def post(self, told: Sequence[Any], hook: Hook) -> Post:
        said = orjson.dumps(told[0]).decode()
        return self._sns.notification(self.here, said, subject="Amazon SES Email Event Notification")

    def greeting(self, hook: Hook) -> Post:
        return self._sns.confirmation(self.here)

    def greeted(self, answer: Answer) -> bool:
        return self._sns.confirmed

    @property
    def believed(self) -> dict[str, str]:
        return {"topics": TOPIC, "certificate_hosts": urlsplit(self.here).netloc}

    def refused(self, recipient: str) -> Response:
        return _error(400, "MessageRejected", "The message could not be sent: illegal address.")

    def busy(self) -> Response:
        return _error(503, "ServiceUnavailable", "Service is unavailable.")

    def throttled(self) -> Response:
        return _error(429, "TooManyRequestsException", "Maximum sending rate exceeded.")

    def suspended(self) -> Response:
        return _error(400, "SendingPausedException", "Sending is paused for this account.")


def _answer(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return reply(
        status, body, {"content-type": "application/json", "x-amzn-requestid": uuid_like(), **(headers or {})}
    )


def _error(status: int, kind: str, words: str) -> Response:
    return _answer(status, {"message": words}, {"x-amzn-errortype": kind})
