"""A fake SES v2. https://docs.aws.amazon.com/ses/latest/APIReference-V2/"""

import base64
import hmac
import re
import secrets
from typing import Any, ClassVar

from providers.fakes.wire import Kept, Request, Response, Vendor, fate, reply, sent, unknown, uuid_like
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


class Ses(Vendor):
    """`key` is the secret access key; any access key goes with it."""

    name: ClassVar[str] = "ses"

    def handle(self, request: Request) -> Response:
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
