"""What customers are told by webhook: the kinds, the shape of a payload, and when a failed one is tried again."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from relay.core.clock import wire_time
from relay.core.event import STATUS_OF, EventKind
from relay.core.retry import Schedule
from relay.core.status import Status, advance

PING = "endpoint.ping"
DISABLED = "endpoint.disabled"

#: The events that are told, and the `type` they are told under. What is not here is our own business.
TYPES: Mapping[str, str] = {
    kind.value: f"email.{kind.value}"
    for kind in (
        EventKind.ACCEPTED,
        EventKind.REFUSED,
        EventKind.SENT,
        EventKind.DEFERRED,
        EventKind.DELIVERED,
        EventKind.BOUNCED,
        EventKind.COMPLAINED,
        EventKind.OPENED,
        EventKind.CLICKED,
        EventKind.UNSUBSCRIBED,
        EventKind.CANCELLED,
        EventKind.EXPIRED,
        EventKind.PARKED,
        EventKind.HELD,
        EventKind.RELEASED,
        EventKind.RESENT,
    )
}

#: what an endpoint may ask for; a ping is always sent to where it was asked for
KINDS = (*TYPES.values(), DISABLED)

#: Octets of a payload (Standard Webhooks, "Payload structure": smaller than 20 kb).
MAX_PAYLOAD = 20_000

_HOUR = 3600.0

#: Delays between tries (Standard Webhooks, "Sending best practices"): ten tries over 75.6 hours.
STANDARD = Schedule(
    delays=(
        5,
        300,
        1800,
        2 * _HOUR,
        5 * _HOUR,
        10 * _HOUR,
        14 * _HOUR,
        20 * _HOUR,
        24 * _HOUR,
    ),
    give_up_after=75 * _HOUR + 2105,
    jitter=0.1,
)


class NoticeState(StrEnum):
    """Where a notice stands."""

    PENDING = "pending"  #: to be tried at `due_at`
    SENDING = "sending"  #: in a worker's hands until `due_at`
    DELIVERED = "delivered"
    FAILED = "failed"  #: given up


class EndpointState(StrEnum):
    """Whether an endpoint is told anything."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    DELETED = "deleted"  #: no longer there, but for its notices, which are removed bit by bit


#: what an event's own detail may add to a payload
_DETAILS = ("url", "ip", "user_agent", "machine", "feedback_type", "list")
#: characters of a text that somebody else wrote
_MAX_TEXT = 1000


def payload(kind: str, at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    """A payload of the type `kind`; times are the event's own."""
    return {"type": kind, "timestamp": wire_time(at), "data": data}


def data_of(
    event: Mapping[str, Any], message: Mapping[str, Any], recipient: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What is said of an event: rows of the timeline, of its message and of its recipient.

    `message` needs id, from, tag, metadata and options, `recipient` id, address and status.
    """
    detail = event.get("detail") or {}
    status = None
    if recipient is not None:
        # The row may be brought up to date before or after its timeline.
        reported = STATUS_OF.get(event["kind"])
        status = Status(recipient["status"])
        status = advance(status, reported) if reported is not None else status
    bounce = None
    if event["kind"] == EventKind.BOUNCED:
        told = detail.get("bounce") or detail
        bounce = {"class": told.get("class"), "reason": told.get("reason")}
    return {
        "event_id": str(event["id"]) if event.get("id") is not None else None,
        "message_id": str(message["id"]),
        "recipient_id": str(recipient["id"]) if recipient is not None else None,
        "recipient": recipient["address"] if recipient is not None else None,
        "from": message["from"][:_MAX_TEXT],
        "status": status.value if status is not None else None,
        "tag": message["tag"],
        "stream": stream_of(message),
        "metadata": message["metadata"],
        "attempt": event.get("attempt"),
        "provider": event.get("provider"),
        "reply": _cut(event.get("reply")),
        "bounce": bounce,
        **{name: _cut(detail[name]) for name in _DETAILS if detail.get(name) is not None},
    }


def stream_of(message: Mapping[str, Any]) -> str | None:
    """The stream of a message's row."""
    own = message.get("stream") or (message.get("options") or {}).get("stream")
    return str(own) if own else None


def _cut(value: Any) -> Any:
    return value[:_MAX_TEXT] if isinstance(value, str) else value
