"""Messages as doors write them and clients read them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from relay.core.ids import floor_at, made_at, new_id
from relay.core.message import RecipientKind, Submission
from relay.core.status import Lane, State, Status, lane_of
from relay.store import tables as t

#: octets of mail per row of `body`
PART_SIZE = 512 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """What the record knows of a message just written."""

    id: int
    at: datetime
    lane: Lane


def insert(connection: sa.Connection, submissions: Sequence[Submission]) -> list[Stored]:
    """Write a group of submissions: one multi-row statement per table, whatever the size of the group.

    Ids are made here, so a group that failed on an id already taken gets new ones when it is tried again.
    """
    stored: list[Stored] = []
    messages: list[dict[str, Any]] = []
    recipients: list[dict[str, Any]] = []
    bodies: list[dict[str, Any]] = []
    params: list[dict[str, Any]] = []
    large: list[tuple[int, Submission]] = []
    for submission in submissions:
        identifier = new_id()
        at = made_at(identifier)
        lane = submission.options.get("lane") or lane_of(submission.classification)
        stored.append(Stored(identifier, at, lane))
        messages.append(_message_row(submission, identifier, at, lane))
        recipients.extend(_recipient_rows(submission, identifier, at, lane))
        if submission.params is not None:
            params.append({"message_id": identifier, "params": submission.params})
        if submission.size <= PART_SIZE:
            data = submission.head + b"".join(submission.tail.chunks(PART_SIZE))
            bodies.append({"message_id": identifier, "part": 0, "data": data})
        else:
            large.append((identifier, submission))
    connection.execute(t.message.insert(), messages)
    connection.execute(t.recipient.insert(), recipients)
    if bodies:
        connection.execute(t.body.insert(), bodies)
    if params:
        connection.execute(t.params.insert(), params)
    for identifier, submission in large:
        for number, piece in enumerate(_pieces(submission)):
            connection.execute(t.body.insert(), {"message_id": identifier, "part": number, "data": piece})
    return stored


def _pieces(submission: Submission) -> Iterable[bytes]:
    yield submission.head
    yield from submission.tail.chunks(PART_SIZE)


def _message_row(submission: Submission, identifier: int, at: datetime, lane: Lane) -> dict[str, Any]:
    refused = submission.options.get("error_code")
    addresses: dict[str, list[str]] = {"cc": [], "bcc": []}
    for recipient in submission.recipients[1:]:
        if recipient.kind is not RecipientKind.TO:
            addresses[recipient.kind].append(recipient.address)
    return {
        "id": identifier,
        "account_id": submission.account_id,
        "key_id": submission.key_id,
        "door": submission.door,
        "lane": lane,
        "sender": submission.sender,
        "from": submission.from_,
        "recipient": submission.recipients[0].address,
        "cc": addresses["cc"] or None,
        "bcc": addresses["bcc"] or None,
        "subject": submission.subject,
        "tag": submission.tag,
        "classification": submission.classification,
        "metadata": submission.metadata,
        "attachments": submission.attachments,
        "options": submission.options or None,
        "size": submission.size,
        "smtputf8": submission.smtputf8,
        "eight_bit": submission.eight_bit,
        "ret": submission.ret,
        "envid": submission.envid,
        "status": Status.UNSENT if refused else Status.ACCEPTED,
        "error_code": refused,
        "created_at": at,
        "updated_at": at,
        "accepted_at": None if refused else at,
    }


def _recipient_rows(
    submission: Submission, identifier: int, at: datetime, lane: Lane
) -> Iterable[dict[str, Any]]:
    refused = "error_code" in submission.options
    for position, recipient in enumerate(submission.recipients):
        yield {
            "id": new_id(),
            "message_id": identifier,
            "account_id": submission.account_id,
            "position": position,
            "address": recipient.address,
            "kind": recipient.kind,
            "lane": lane,
            "state": State.CANCELLED if refused else State.QUEUED,
            "status": Status.UNSENT if refused else Status.ACCEPTED,
            "attempts": 0,
            "crashes": 0,
            "fence": 0,
            "due_at": None if refused else submission.send_at or at,
            "notify": recipient.notify,
            "orcpt": recipient.orcpt,
            "updated_at": at,
        }


def get(connection: sa.Connection, account_id: int | None, identifier: int) -> dict[str, Any] | None:
    """One message with its params, or None; `account_id` None reads across accounts (operators)."""
    wanted = t.message.c.id == identifier
    if account_id is not None:
        wanted &= t.message.c.account_id == account_id
    statement = sa.select(t.message, t.params.c.params).outerjoin(t.params).where(wanted)
    row = connection.execute(statement).mappings().first()
    return dict(row) if row else None


@dataclass(frozen=True, slots=True)
class Query:
    """A listing, as both doors' clients and the operators ask for it."""

    limit: int = 10
    offset: int = 0
    status: Status | None = None
    tag: str | None = None
    created_gt: datetime | None = None
    created_gte: datetime | None = None
    created_lt: datetime | None = None
    created_lte: datetime | None = None
    by_updated: bool = False
    ascending: bool = False
    with_params: bool = True


def listing(
    connection: sa.Connection, account_id: int | None, query: Query
) -> tuple[list[dict[str, Any]], bool]:
    """A page of messages and whether there are more. The order is total: equal times go by id."""
    m = t.message.c
    statement = (
        sa.select(t.message, t.params.c.params).outerjoin(t.params)
        if query.with_params
        else sa.select(t.message)
    )
    if account_id is not None:
        statement = statement.where(m.account_id == account_id)
    if query.status is not None:
        statement = statement.where(m.status == query.status)
    if query.tag is not None:
        statement = statement.where(m.tag == query.tag)
    # created_at is the time in the id, to the millisecond; the bounds become bounds on the primary key.
    if query.created_gt is not None:
        statement = statement.where(m.created_at > query.created_gt, m.id >= floor_at(query.created_gt))
    if query.created_gte is not None:
        statement = statement.where(m.id >= floor_at(query.created_gte))
    if query.created_lt is not None:
        statement = statement.where(m.id < floor_at(query.created_lt))
    if query.created_lte is not None:
        statement = statement.where(m.created_at <= query.created_lte)
    keys = (m.updated_at, m.id) if query.by_updated else (m.id,)
    statement = statement.order_by(*(key.asc() if query.ascending else key.desc() for key in keys))
    rows = connection.execute(statement.limit(query.limit + 1).offset(query.offset)).mappings().all()
    return [dict(row) for row in rows[: query.limit]], len(rows) > query.limit


def raw(connection: sa.Connection, identifier: int) -> bytes:
    """The stored mail, whole; empty once it has been redacted."""
    statement = sa.select(t.body.c.data).where(t.body.c.message_id == identifier).order_by(t.body.c.part)
    return b"".join(connection.execute(statement).scalars())


def recipients(connection: sa.Connection, identifier: int) -> list[dict[str, Any]]:
    """The envelope recipients in order, with what is known of each."""
    statement = (
        sa.select(t.recipient).where(t.recipient.c.message_id == identifier).order_by(t.recipient.c.position)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def timeline(connection: sa.Connection, identifier: int) -> list[dict[str, Any]]:
    """What happened to a message, in the order in which it happened."""
    statement = (
        sa.select(t.event).where(t.event.c.message_id == identifier).order_by(t.event.c.at, t.event.c.id)
    )
    return [dict(row) for row in connection.execute(statement).mappings()]
