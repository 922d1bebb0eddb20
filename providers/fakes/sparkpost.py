"""A fake SparkPost. https://developers.sparkpost.com/api/transmissions/"""

import secrets
from typing import Any, ClassVar

from providers.fakes.wire import Kept, Request, Response, Vendor, fate, reply, sent, unknown


class SparkPost(Vendor):
    name: ClassVar[str] = "sparkpost"

    def handle(self, request: Request) -> Response:
        if request.headers.get("authorization") != self.key:
            return reply(401, {"errors": [{"message": "Unauthorized."}]})
        if (request.method, request.path) != ("POST", "/api/v1/transmissions"):
            return reply(404, {"errors": [{"message": "resource not found"}]})
        said = request.data
        if not isinstance(said, dict):
            return _error(422, "1300", "invalid data format/type", "the body is not JSON")
        if surplus := unknown(
            said, "recipients content options campaign_id metadata substitution_data return_path description"
        ):
            return _error(422, "1300", "invalid data format/type", f"unknown field {surplus[0]}")
        people = said.get("recipients")
        if not isinstance(people, list) or not people:
            return _error(400, "1400", "required field is missing", "recipients or list_id required")
        recipients = [_address(one) for one in people]
        content = said.get("content") or {}
        raw = content.get("email_rfc822")
        if raw is None and not ("from" in content and "subject" in content):
            return _error(422, "1400", "required field is missing", "content object is missing")
        if raw is not None and "{{" in raw:
            return _error(422, "1603", "Template substitution failed", "unclosed tag")
        if len(str(said.get("campaign_id", "")).encode()) > 64:
            return _error(422, "1300", "invalid data format/type", "campaign_id is too long")
        if magic := self.obey(recipients):
            return magic
        identifier = str(10**16 + secrets.randbelow(10**16))
        metadata = people[0].get("metadata") or {}
        self.keep(
            Kept(
                self.name,
                identifier,
                tuple(recipients),
                metadata.get("pillarbox"),
                said.get("campaign_id"),
                raw=raw.encode() if raw is not None else None,
                said=said,
                fate=fate(recipients),
            )
        )
        results = {
            "total_accepted_recipients": len(recipients),
            "total_rejected_recipients": 0,
            "id": identifier,
        }
        return sent(recipients, reply(200, {"results": results}))

    def refused(self, recipient: str) -> Response:
        return _error(422, "1902", "Message generation rejected", "Exclude recipient")

    def busy(self) -> Response:
        return reply(503, {"errors": [{"message": "Service temporarily unavailable"}]})

    def throttled(self) -> Response:
        return reply(429, {"errors": [{"message": "Too many requests"}]})

    def suspended(self) -> Response:
        return _error(400, "7001", "Invalid domain", "Unconfigured Sending Domain <example.com>")


def _error(status: int, code: str, words: str, description: str) -> Response:
    return reply(status, {"errors": [{"message": words, "description": description, "code": code}]})


def _address(said: dict[str, Any]) -> str:
    address = said["address"]
    return str(address["email"]) if isinstance(address, dict) else str(address)
