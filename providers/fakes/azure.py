"""A fake Azure Communication Services. https://learn.microsoft.com/en-us/rest/api/communication/email/email/send"""

import base64
import hmac
import re
import uuid
from datetime import datetime
from typing import Any, ClassVar

from providers.azure.signing import sign
from providers.fakes.posting import LINK, USER_AGENT, Hook, Post, Step, iso, json_post, words_of
from providers.fakes.wire import Kept, Request, Response, Vendor, boxes, fate, reply, sent, unknown
from providers.http import Answer
from relay.core.clock import now
from relay.core.parts import Attachment, Parts

_FIELDS = "senderAddress content recipients replyTo headers attachments userEngagementTrackingDisabled"
_AUTHORIZATION = re.compile(r"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=(\S+)\Z")


_STATUSES = {
    Step.DELIVERED: "Delivered",
    Step.HARD: "Bounced",
    Step.SOFT: "Failed",
    Step.BLOCKED: "FilteredSpam",
    Step.DROPPED: "Suppressed",
}
_RESOURCE = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/fake/providers/"
    "Microsoft.Communication/communicationServices/fake"
)


class Azure(Vendor):
    """`key` is the access key; its base64 is what a client is given."""

    name: ClassVar[str] = "azure"
    batch: ClassVar[int] = 2

    def __init__(self, key: str = "fake-key") -> None:
        super().__init__(key)
        self._operations: dict[str, Response] = {}
        self._code = str(uuid.uuid4())

    def reset(self) -> None:
        super().reset()
        self._operations.clear()

    def handle(self, request: Request) -> Response:
        if not self._signed(request):
            return _error(401, "Denied", "Denied by the resource provider.")
        if "api-version=" not in request.query:
            return _error(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if request.method == "GET" and request.path.startswith("/emails/operations/"):
            known = request.path.rpartition("/")[2] in self._operations
            if not known:
                return _error(404, "OperationNotFound", "The operation does not exist.")
            return reply(200, {"id": request.path.rpartition("/")[2], "status": "Succeeded"})
        if (request.method, request.path) != ("POST", "/emails:send"):
            return _error(404, "NotFound", "No such resource.")
        return self._send(request)

    def _signed(self, request: Request) -> bool:
        found = _AUTHORIZATION.match(request.headers.get("authorization", ""))
        target = f"{request.whole_path}?{request.query}"
        date, host = request.headers.get("x-ms-date", ""), request.headers.get("host", "")
        digest, wanted = sign(request.method, target, host, date, request.body, self.key.encode())
        return (
            found is not None
            and request.headers.get("x-ms-content-sha256") == digest
            and hmac.compare_digest(wanted, found[1])
        )

    def _send(self, request: Request) -> Response:
        operation = request.headers.get("operation-id") or str(uuid.uuid4())
        try:
            uuid.UUID(operation)
        except ValueError:
            return _error(400, "InvalidOperationId", "Operation-Id must be a UUID.")
        if operation in self._operations:
            return self._operations[operation]
        said = request.data
        if not isinstance(said, dict) or unknown(said, _FIELDS):
            return _error(400, "BadRequest", "The request body is not valid.")
        content = said.get("content") or {}
        where = said.get("recipients") or {}
        recipients = [one["address"] for field in ("to", "cc", "bcc") for one in where.get(field) or ()]
        if not said.get("senderAddress") or not recipients or not content.get("subject"):
            return _error(400, "BadRequest", "senderAddress, recipients and subject are needed.")
        if len(recipients) > 50:
            return _error(400, "BadRequest", "50 recipients at most.")
        if magic := self.obey(recipients):
            return magic
        kept = Kept(
            self.name,
            operation,
            tuple(recipients),
            operation,
            parts=_parts(said),
            said=said,
            fate=fate(recipients),
        )
        self.keep(kept)
        headers = {"operation-location": f"{request.whole_path}/operations/{operation}", "retry-after": "30"}
        self._operations[operation] = reply(
            202, {"id": operation, "status": "Running", "error": None}, headers
        )
        return sent(recipients, self._operations[operation])

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any] | None:
        """https://learn.microsoft.com/en-us/azure/event-grid/communication-services-email-events"""
        data: dict[str, Any] = {"sender": kept.said["senderAddress"], "messageId": kept.id}
        if step in {Step.OPENED, Step.CLICKED}:
            name = "EmailEngagementTrackingReportReceived"
            data |= {
                "recipient": kept.recipients[0],
                "userActionTimeStamp": iso(at),
                "engagementContext": LINK if step is Step.CLICKED else "",
                "userAgent": USER_AGENT,
                "engagementType": "click" if step is Step.CLICKED else "view",
            }
        elif step in _STATUSES:
            name = "EmailDeliveryReportReceived"
            data |= {
                "recipient": kept.recipients[0],
                "internetMessageId": f"<{kept.id}@fake.azurecomm.net>",
                "status": _STATUSES[step],
                "deliveryStatusDetails": {"statusMessage": str(words_of(step))},
                "deliveryAttemptTimeStamp": iso(at),
            }
        else:
            return None
        return _event(f"Microsoft.Communication.{name}", data, at)

    def greeting(self, hook: Hook) -> Post:
        data = {"validationCode": self._code, "validationUrl": ""}
        asked = _event("Microsoft.EventGrid.SubscriptionValidationEvent", data, now())
        return json_post([asked], {"aeg-event-type": "SubscriptionValidation"})

    def greeted(self, answer: Answer) -> bool:
        return answer.status == 200 and answer.table.get("validationResponse") == self._code

    def refused(self, recipient: str) -> Response:
        return _error(400, "EmailDroppedAllRecipientsSuppressed", f"{recipient} is on the suppression list.")

    def busy(self) -> Response:
        return _error(503, "ServiceUnavailable", "Try again later.")

    def throttled(self) -> Response:
        said = {"error": {"code": "TooManyRequests", "message": "The rate limit is exceeded."}}
        return reply(429, said, {"retry-after": "60"})

    def suspended(self) -> Response:
        return _error(404, "DomainNotLinked", "The specified sender domain has not been linked.")


def _event(name: str, data: dict[str, Any], at: datetime) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "topic": _RESOURCE,
        "subject": f"sender/{data.get('sender', '')}/message/{data.get('messageId', '')}",
        "data": data,
        "eventType": name,
        "dataVersion": "1.0",
        "metadataVersion": "1",
        "eventTime": iso(at),
    }


def _error(status: int, code: str, words: str) -> Response:
    return reply(status, {"error": {"code": code, "message": words}})


def _parts(said: dict[str, Any]) -> Parts:
    content = said["content"]
    return Parts(
        from_=boxes([{"address": said["senderAddress"]}], "address")[0],
        subject=content["subject"],
        to=boxes(said["recipients"]["to"], "address", "displayName"),
        reply_to=boxes(said.get("replyTo") or [], "address", "displayName"),
        text=content.get("plainText"),
        html=content.get("html"),
        attachments=tuple(
            Attachment(
                one["name"],
                one["contentType"],
                base64.b64decode(one["contentInBase64"], validate=True),
                one.get("contentId"),
                "contentId" in one,
            )
            for one in said.get("attachments") or ()
        ),
        headers=tuple((said.get("headers") or {}).items()),
    )
