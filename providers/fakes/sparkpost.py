"""A fake SparkPost. https://developers.sparkpost.com/api/transmissions/"""

import secrets
from datetime import datetime
from typing import Any, ClassVar

from providers.fakes.posting import LINK, READER, USER_AGENT, Step, unix, words_of
from providers.fakes.wire import Kept, Request, Response, Vendor, fate, reply, sent, unknown

_EVENTS = {
    Step.SENT: ("injection", "message_event"),
    Step.DEFERRED: ("delay", "message_event"),
    Step.DELIVERED: ("delivery", "message_event"),
    Step.HARD: ("bounce", "message_event"),
    Step.SOFT: ("bounce", "message_event"),
    Step.BLOCKED: ("bounce", "message_event"),
    Step.DROPPED: ("policy_rejection", "message_event"),
    Step.COMPLAINED: ("spam_complaint", "message_event"),
    Step.OPENED: ("open", "track_event"),
    Step.CLICKED: ("click", "track_event"),
    Step.UNSUBSCRIBED: ("list_unsubscribe", "unsubscribe_event"),
}
_CLASSES = {Step.HARD: "10", Step.SOFT: "22", Step.BLOCKED: "51", Step.DROPPED: "25"}


class SparkPost(Vendor):
    name: ClassVar[str] = "sparkpost"
    batch: ClassVar[int] = 2

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

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any]:
        """https://developers.sparkpost.com/api/webhooks/#header-event-types"""
        name, family = _EVENTS[step]
        words, to = words_of(step), kept.recipients[0]
        event: dict[str, Any] = {
            "type": name,
            "event_id": str(10**17 + self.serial()),
            "timestamp": str(unix(at)),
            "transmission_id": kept.id,
            "message_id": secrets.token_hex(10),
            "rcpt_to": to.lower(),
            "raw_rcpt_to": to,
            "rcpt_meta": kept.said["recipients"][0].get("metadata") or {},
            "rcpt_tags": [],
            "campaign_id": kept.tag or "",
            "routing_domain": to.partition("@")[2],
            "sending_ip": "198.51.100.9",
            "subject": "",
        }
        if step in _CLASSES or step is Step.DEFERRED:
            event |= {
                "bounce_class": _CLASSES.get(step, "20"),
                "error_code": str(words.code),
                "reason": str(words).lower(),
                "raw_reason": str(words),
            }
        if step in {Step.OPENED, Step.CLICKED}:
            event |= {
                "ip_address": READER,
                "user_agent": USER_AGENT,
                "user_agent_parsed": {"agent_family": "Firefox", "is_proxy": False, "is_prefetched": False},
            }
        if step is Step.CLICKED:
            event["target_link_url"] = LINK
        if step is Step.COMPLAINED:
            event["fbtype"] = "abuse"
        return {"msys": {family: event}}

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
