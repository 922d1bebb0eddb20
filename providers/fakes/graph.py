"""A fake Microsoft 365: token endpoint and sendMail. https://learn.microsoft.com/en-us/graph/api/user-sendmail"""

import base64
import binascii
import re
import secrets
from typing import ClassVar

from providers.fakes.wire import Kept, Request, Response, Vendor, fate, named_in, reply, sent, uuid_like
from relay.core.parts import Unsayable, take_apart

_TOKEN = re.compile(r"/[^/]+/oauth2/v2\.0/token\Z")
_SEND = re.compile(r"/v1\.0/(?:users/[^/]+|me)/sendMail\Z")
_LARGEST = 4 * 1024 * 1024


class Graph(Vendor):
    """`key` is the client's secret. `retire_tokens` makes every token given so far invalid."""

    name: ClassVar[str] = "graph"

    def __init__(self, key: str = "fake-key") -> None:
        super().__init__(key)
        self.tokens: set[str] = set()

    def retire_tokens(self) -> None:
        self.tokens.clear()

    def handle(self, request: Request) -> Response:
        if request.method == "POST" and _TOKEN.match(request.path):
            return self._grant(request)
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _error(401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
        if request.method != "POST" or not _SEND.match(request.path):
            return _error(404, "ResourceNotFound", "Resource not found.")
        if request.headers.get("content-type") != "text/plain":
            return _error(400, "BadRequest", "Unable to read JSON request payload.")
        if len(request.body) > _LARGEST:
            return _error(413, "RequestEntityTooLarge", "The request is too large.")
        try:
            raw = base64.b64decode(request.body, validate=True)
        except binascii.Error:
            return _error(
                400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content."
            )
        recipients, token = named_in(raw)
        if not recipients:
            return _error(400, "ErrorInvalidRecipients", "At least one recipient is not valid.")
        if magic := self.obey(recipients):
            return magic
        self._keep(raw, recipients, token)
        return sent(recipients, reply(202, None, {"request-id": uuid_like()}))

    def _grant(self, request: Request) -> Response:
        if request.form.get("client_secret") != self.key:
            said = {
                "error": "invalid_client",
                "error_description": "AADSTS7000215: Invalid client secret provided.",
            }
            return reply(401, said)
        token = secrets.token_urlsafe(24)
        self.tokens.add(token)
        return reply(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": token})

    def _keep(self, raw: bytes, recipients: list[str], token: str | None) -> None:
        try:
            parts = take_apart(raw)
        except Unsayable:
            parts = None
        self.keep(Kept(self.name, "", tuple(recipients), token, raw=raw, parts=parts, fate=fate(recipients)))

    def refused(self, recipient: str) -> Response:
        return _error(400, "ErrorInvalidRecipients", "At least one recipient is not valid.")

    def busy(self) -> Response:
        return _error(503, "ServiceUnavailable", "The service is temporarily unavailable.")

    def throttled(self) -> Response:
        body = {
            "error": {
                "code": "ApplicationThrottled",
                "message": "Application is over its MailboxConcurrency limit.",
            }
        }
        return reply(429, body, {"retry-after": "12"})

    def suspended(self) -> Response:
        return _error(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")


def _error(status: int, code: str, words: str) -> Response:
    return reply(
        status, {"error": {"code": code, "message": words, "innerError": {"request-id": uuid_like()}}}
    )
