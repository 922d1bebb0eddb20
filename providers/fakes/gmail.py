"""A fake Gmail: token endpoint and messages.send. https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages/send"""

import base64
import re
import secrets
from typing import ClassVar

from providers.fakes.wire import Kept, Request, Response, Vendor, fate, named_in, reply, sent
from relay.core.parts import Unsayable, take_apart

_SEND = re.compile(r"(/upload)?/gmail/v1/users/[^/]+/messages/send\Z")


class Gmail(Vendor):
    """`key` is the client's secret."""

    name: ClassVar[str] = "gmail"

    def __init__(self, key: str = "fake-key") -> None:
        super().__init__(key)
        self.tokens: set[str] = set()

    def handle(self, request: Request) -> Response:
        if (request.method, request.path) == ("POST", "/token"):
            return self._grant(request)
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _error(401, "authError", "Request had invalid authentication credentials.")
        found = _SEND.match(request.path)
        if request.method != "POST" or not found:
            return _error(404, "notFound", "Not Found")
        if found[1]:
            if request.headers.get("content-type") != "message/rfc822":
                return _error(400, "invalidArgument", "Media type is not supported.")
            raw = request.body
        else:
            encoded = (request.data or {}).get("raw", "")
            raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        recipients, token = named_in(raw)
        if not recipients:
            return _error(400, "invalidArgument", "Recipient address required")
        if magic := self.obey(recipients):
            return magic
        identifier = secrets.token_hex(8)
        try:
            parts = take_apart(raw)
        except Unsayable:
            parts = None
        kept = Kept(
            self.name, identifier, tuple(recipients), token, raw=raw, parts=parts, fate=fate(recipients)
        )
        self.keep(kept)
        return sent(recipients, reply(200, {"id": identifier, "threadId": identifier, "labelIds": ["SENT"]}))

    def _grant(self, request: Request) -> Response:
        if request.form.get("client_secret") != self.key:
            return reply(
                401, {"error": "invalid_client", "error_description": "The OAuth client was not found."}
            )
        token = secrets.token_urlsafe(24)
        self.tokens.add(token)
        return reply(200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def refused(self, recipient: str) -> Response:
        return _error(400, "invalidArgument", "Invalid To header")

    def busy(self) -> Response:
        return _error(503, "backendError", "Backend Error")

    def throttled(self) -> Response:
        return _error(403, "userRateLimitExceeded", "User Rate Limit Exceeded")

    def suspended(self) -> Response:
        return _error(403, "forbidden", "Mail service not enabled")


def _error(status: int, reason: str, words: str) -> Response:
    detail = {"message": words, "domain": "global", "reason": reason}
    return reply(status, {"error": {"code": status, "message": words, "errors": [detail]}})
