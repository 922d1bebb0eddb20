"""A fake Mailjet, version 3.1. https://dev.mailjet.com/email/reference/send-emails"""

import base64
import secrets
import uuid
from datetime import datetime
from typing import Any, ClassVar

from providers.fakes.posting import LINK, READER, USER_AGENT, Step, unix, words_of
from providers.fakes.wire import Kept, Request, Response, Vendor, boxes, fate, reply, sent, unknown, uuid_like
from relay.core.parts import Attachment, Parts

_FIELDS = (
    "From Sender To Cc Bcc ReplyTo Subject TextPart HTMLPart Attachments InlinedAttachments CustomID EventPayload "
    "CustomCampaign DeduplicateCampaign Headers TrackOpens TrackClicks URLTags Priority TemplateID "
    "TemplateLanguage Variables"
)


_EVENTS = {
    Step.DEFERRED: "bounce",
    Step.DELIVERED: "sent",
    Step.HARD: "bounce",
    Step.SOFT: "bounce",
    Step.BLOCKED: "bounce",
    Step.DROPPED: "blocked",
    Step.COMPLAINED: "spam",
    Step.OPENED: "open",
    Step.CLICKED: "click",
    Step.UNSUBSCRIBED: "unsub",
}
_ERRORS = {
    Step.DEFERRED: {"error_related_to": "domain", "error": "greylisted"},
    Step.HARD: {"error_related_to": "recipient", "error": "user unknown"},
    Step.SOFT: {"error_related_to": "recipient", "error": "quota exceeded"},
    Step.BLOCKED: {"error_related_to": "spam", "error": "content blocked"},
}


class Mailjet(Vendor):
    """`key` is the private key; any public one goes with it."""

    name: ClassVar[str] = "mailjet"
    batch: ClassVar[int] = 2

    def handle(self, request: Request) -> Response:
        if request.basic()[1] != self.key:
            return _whole(401, "", "API key authentication/authorization failure.")
        if (request.method, request.path) != ("POST", "/v3.1/send"):
            return _whole(404, "", "Unknown resource.")
        said = request.data
        messages = said.get("Messages") if isinstance(said, dict) else None
        if (
            not isinstance(messages, list)
            or not messages
            or unknown(said, "Messages SandboxMode AdvanceErrorHandling Globals")
        ):
            return _whole(400, "mj-0002", "Malformed JSON, please review the syntax and properties types.")
        if len(messages) > 50:
            return _whole(400, "mj-0005", "Too many messages: 50 at most.")
        answers: list[dict[str, Any]] = []
        everyone: list[str] = []
        for one in messages:
            people = [box["Email"] for field in ("To", "Cc", "Bcc") for box in one.get(field) or ()]
            everyone += people
            magic = self.obey(people)
            if magic is not None and magic.status in {429, 500}:
                return magic
            answers.append(self._one(one, people, magic, sandbox=bool(said.get("SandboxMode"))))
        failed = [one["Errors"][0]["StatusCode"] for one in answers if one["Status"] == "error"]
        status = failed[0] if len(failed) == len(answers) else 200
        return sent(everyone, reply(status, {"Messages": answers}))

    def _one(
        self, said: dict[str, Any], people: list[str], magic: Response | None, *, sandbox: bool
    ) -> dict[str, Any]:
        if magic is not None:
            local = people[0].partition("@")[0]
            if local == "suspended":
                return _error(403, "send-0008", "The sender is not validated.", "From.Email")
            return _error(400, "mj-0013", f'"{people[0]}" is an invalid email address.', "To[0].Email")
        if surplus := unknown(said, _FIELDS):
            return _error(400, "mj-0003", "Unknown property.", surplus[0])
        if not people or not said.get("From"):
            return _error(400, "send-0003", "At least From and one recipient must be specified.", "To")
        if not said.get("TextPart") and not said.get("HTMLPart"):
            return _error(400, "send-0003", 'At least "HTMLPart", "TextPart" must be provided.', "TextPart")
        if len(said.get("Subject", "")) > 255:
            return _error(400, "mj-0004", "The subject is too long.", "Subject")
        number = 10**17 + secrets.randbelow(10**16)
        if not sandbox:
            self.keep(
                Kept(
                    self.name,
                    str(number),
                    tuple(people),
                    said.get("CustomID"),
                    said.get("CustomCampaign"),
                    parts=_parts(said),
                    said=said,
                    fate=fate(people),
                )
            )
        taken = {
            field: [
                {
                    "Email": box["Email"],
                    "MessageUUID": uuid_like(),
                    "MessageID": number,
                    "MessageHref": f"https://api.mailjet.com/v3/REST/message/{number}",
                }
                for box in said.get(field) or ()
            ]
            for field in ("To", "Cc", "Bcc")
        }
        return {"Status": "success", "CustomID": said.get("CustomID", ""), **taken}

    def told(self, kept: Kept, step: Step, at: datetime) -> dict[str, Any] | None:
        """https://dev.mailjet.com/email/guides/webhooks/"""
        name = _EVENTS.get(step)
        if name is None:
            return None
        words = words_of(step)
        event: dict[str, Any] = {
            "event": name,
            "time": unix(at),
            "MessageID": int(kept.id),
            "Message_GUID": str(uuid.uuid5(uuid.NAMESPACE_URL, kept.id)),
            "email": kept.recipients[0],
            "mj_campaign_id": 7173,
            "mj_contact_id": 320,
            "customcampaign": kept.tag or "",
            "CustomID": kept.said.get("CustomID", ""),
            "Payload": "",
        }
        if step is Step.DELIVERED:
            event["smtp_reply"] = f"sent ({words})"
        elif name == "bounce":
            event |= {
                "blocked": step is Step.BLOCKED,
                "hard_bounce": step is Step.HARD,
                **_ERRORS[step],
                "comment": str(words),
            }
        elif name == "blocked":
            event |= {"error_related_to": "mailjet", "error": "preblocked"}
        elif step is Step.COMPLAINED:
            event["source"] = "JMRPP"
        else:
            event |= {"ip": READER, "geo": "NO", "agent": USER_AGENT}
            if step is Step.CLICKED:
                event["url"] = LINK
        return event

    def refused(self, recipient: str) -> Response:
        return Response(400)

    def busy(self) -> Response:
        return _whole(500, "", "Internal Server Error")

    def throttled(self) -> Response:
        return _whole(429, "", "Too many requests. Try again later.")

    def suspended(self) -> Response:
        return Response(403)


def _whole(status: int, code: str, words: str) -> Response:
    said: dict[str, Any] = {"ErrorIdentifier": uuid_like(), "StatusCode": status, "ErrorMessage": words}
    return reply(status, {**said, "ErrorCode": code} if code else said)


def _error(status: int, code: str, words: str, related: str) -> dict[str, Any]:
    error = {
        "ErrorIdentifier": uuid_like(),
        "ErrorCode": code,
        "StatusCode": status,
        "ErrorMessage": words,
        "ErrorRelatedTo": [related],
    }
    return {"Status": "error", "Errors": [error]}


def _parts(said: dict[str, Any]) -> Parts:
    files = [(one, False) for one in said.get("Attachments") or ()]
    files += [(one, True) for one in said.get("InlinedAttachments") or ()]
    return Parts(
        from_=boxes([said["From"]], "Email", "Name")[0],
        subject=said.get("Subject", ""),
        to=boxes(said["To"], "Email", "Name"),
        reply_to=boxes([said["ReplyTo"]] if "ReplyTo" in said else [], "Email", "Name"),
        text=said.get("TextPart"),
        html=said.get("HTMLPart"),
        attachments=tuple(
            Attachment(
                one["Filename"],
                one["ContentType"],
                base64.b64decode(one["Base64Content"], validate=True),
                one.get("ContentID"),
                inline,
            )
            for one, inline in files
        ),
        headers=tuple((said.get("Headers") or {}).items()),
    )
