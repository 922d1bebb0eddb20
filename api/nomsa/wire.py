"""The contract's Email object: its keys, their order, and nothing else."""

from collections.abc import Mapping
from typing import Any

from relay.core.clock import wire_time
from relay.core.message import Accepted, Submission
from relay.core.status import Status


def params(*, body: str, from_: str, subject: str, reply_to: str | None) -> dict[str, str]:
    """What the client gave, in the order in which the reference server's database returns it."""
    given = {"body": body, "from": from_, "subject": subject}
    if reply_to is not None:
        given["reply_to"] = reply_to
    return given


def email(row: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """A stored message; without `given` the key `params` is left out."""
    return {
        "id": str(row["id"]),
        "from": row["from"],
        "recipient": row["recipient"],
        **({} if given is None else {"params": given}),
        "attachments_metadata": row["attachments"],
        "status": row["status"],
        "error_code": row["error_code"],
        "error_sub_type": row["error_sub_type"],
        "accepted_at": wire_time(row["accepted_at"]),
        "sent_at": wire_time(row["sent_at"]),
        "delivered_at": wire_time(row["delivered_at"]),
        "opened_at": wire_time(row["opened_at"]),
        "created_at": wire_time(row["created_at"]),
        "updated_at": wire_time(row["updated_at"]),
        "classification": row["classification"],
        "tag": row["tag"],
        "cc": row["cc"] or [],
        "bcc": row["bcc"] or [],
    }


def accepted(submission: Submission, receipt: Accepted) -> dict[str, Any]:
    """A submission just stored, as reading it back would show it."""
    at = wire_time(receipt.at)
    return {
        "id": str(receipt.id),
        "from": submission.from_,
        "recipient": submission.recipients[0].address,
        "params": submission.params,
        "attachments_metadata": submission.attachments,
        "status": Status.ACCEPTED,
        "error_code": None,
        "error_sub_type": None,
        "accepted_at": at,
        "sent_at": None,
        "delivered_at": None,
        "opened_at": None,
        "created_at": at,
        "updated_at": at,
        "classification": submission.classification,
        "tag": submission.tag,
        "cc": submission.cc or [],
        "bcc": submission.bcc or [],
    }
