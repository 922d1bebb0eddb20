"""Messages as doors write them and clients read them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.core.clock import now
from relay.core.ids import EPOCH, MAX_ID, floor_at, made_at, new_id
from relay.core.message import MemoryTail, RecipientKind, Submission
from relay.core.status import Lane, State, Status, lane_of
from relay.core.timing import options_with
from relay.store import outbox
from relay.store import tables as t
from relay.store.database import Database
from relay.store.idempotency import Claim, Earlier, claim
from relay.store.rows import Bound, bind, insert_rows, insertion
from relay.store.tables.mail import NOT_SENT
from relay.store.types import BigInt

#: octets of mail per row of `body`
PART_SIZE = 512 * 1024
#: columns in which most mail has nothing
_SELDOM = frozenset(
    {"cc", "bcc", "tag", "batch_id", "classification", "metadata", "attachments", "options", "ret", "envid"}
    | {"error_code", "notify", "orcpt"}
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the record knows of a message just written."""

    id: int
    at: datetime
    lane: Lane
    #: set when an idempotency key stood for an earlier message: this is that one, and nothing was written
    earlier: Earlier | None = None


@dataclass(slots=True)
class Group:
    """Submissions with the rows they become, made before a transaction begins that keeps others from writing."""

    submissions: Sequence[Submission]
    identifiers: list[int] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    recipients: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    params: list[dict[str, Any]] = field(default_factory=list)
    #: whose bodies are read in the transaction, from a file or piece by piece
    large: list[tuple[int, Submission]] = field(default_factory=list)
    #: all but the large ones, as the driver takes them
    bound: Bound | None = None

    def bind(self, dialect: str) -> Bound:
        tables = (
            (t.message, self.messages),
            (t.recipient, self.recipients),
            (t.body, self.bodies),
            (t.params, self.params),
        )
        return bind([insertion(table, rows, _SELDOM) for table, rows in tables if rows], dialect)

    def alone(self, engine: sa.Engine) -> Bound | None:
        """What there is to write, if that is all: nothing to ask before, to read from a file, to tell anybody."""
        if self.large or any(one.idempotency is not None for one in self.submissions):
            return None
        return self.bound if outbox.quiet(engine, (one.account_id for one in self.submissions)) else None

    def without(self, repeats: Mapping[int, Earlier]) -> None:
        """Leave out what is there already; its receipt is the earlier one's."""
        self.bound = None
        self.stored = [
            one
            if (earlier := repeats.get(one.id)) is None
            else Stored(earlier.message_id, made_at(earlier.message_id), one.lane, earlier)
            for one in self.stored
        ]
        self.messages = [row for row in self.messages if row["id"] not in repeats]
        self.recipients = [row for row in self.recipients if row["message_id"] not in repeats]
        self.bodies = [row for row in self.bodies if row["message_id"] not in repeats]
        self.params = [row for row in self.params if row["message_id"] not in repeats]
        self.large = [one for one in self.large if one[0] not in repeats]


def prepare(submissions: Sequence[Submission], dialect: str | None = None) -> Group:
    """The rows of a group to be inserted; where the dialect is known, with the statements for it.

    Ids are made here, as far as submissions do not bring one, so a group that failed on an id already taken gets new
    ones when it is prepared again.
    """
    group = Group(submissions)
    for submission in submissions:
        identifier = submission.id or new_id()
        at = made_at(identifier)
        lane = submission.options.get("lane") or lane_of(submission.classification)
        group.identifiers.append(identifier)
        group.stored.append(Stored(identifier, at, lane))
        group.messages.append(_message_row(submission, identifier, at, lane))
        group.recipients.extend(_recipient_rows(submission, identifier, at, lane))
        if submission.params is not None:
            group.params.append({"message_id": identifier, "params": submission.params})
        if isinstance(submission.tail, MemoryTail) and submission.size <= PART_SIZE:
            data = submission.head + submission.tail.data
            group.bodies.append({"message_id": identifier, "part": 0, "data": data})
        else:
            group.large.append((identifier, submission))
    if dialect is not None:
        group.bound = group.bind(dialect)
    return group


async def store(database: Database, group: Group) -> list[Stored]:
    """Write a group durably, in the cheapest way. Raises `Unavailable`."""
    bound = group.alone(database.engine)
    if bound is None:
        return await database.write(insert, group)
    await database.write_alone(bound)
    return group.stored


def insert(connection: sa.Connection, submissions: Sequence[Submission] | Group) -> list[Stored]:
    """Write a group of submissions: one multi-row statement per table, whatever the size of the group.

    A submission whose idempotency key stands for a message already is not written.
    """
    group = submissions if isinstance(submissions, Group) else prepare(submissions)
    repeats = _claim_keys(connection, group.submissions, group.identifiers)
    if repeats:
        group.without(repeats)
    if not group.messages:
        return group.stored
    (group.bound or group.bind(connection.dialect.name)).run(connection)
    for identifier, submission in group.large:
        for number, piece in enumerate(_pieces(submission)):
            insert_rows(connection, t.body, [{"message_id": identifier, "part": number, "data": piece}])
    outbox.accepted(connection, group.messages, group.recipients)
    return group.stored


def _claim_keys(
    connection: sa.Connection, submissions: Sequence[Submission], identifiers: Sequence[int]
) -> dict[int, Earlier]:
    claims = [
        Claim(
            submission.account_id,
            wish.key,
            wish.fingerprint,
            identifier,
            made_at(identifier),
            wish.answer(identifier, made_at(identifier)) if wish.answer else None,
        )
        for identifier, submission in zip(identifiers, submissions, strict=True)
        if (wish := submission.idempotency) is not None
    ]
    return claim(connection, claims) if claims else {}


def _pieces(submission: Submission) -> Iterable[bytes]:
    if submission.size <= PART_SIZE:
        yield submission.head + b"".join(submission.tail.chunks(PART_SIZE))
        return
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
        "door": submission.door.value,
        "lane": str(lane),
        "sender": submission.sender,
        "from": submission.from_,
        "from_address": submission.from_[submission.from_.rfind("<") + 1 :].rstrip(">").lower()[:255],
        "recipient": submission.recipients[0].address,
        "cc": (addresses["cc"] if submission.cc is None else submission.cc) or None,
        "bcc": (addresses["bcc"] if submission.bcc is None else submission.bcc) or None,
        "subject": submission.subject,
        "tag": submission.tag,
        "batch_id": submission.batch_id,
        "classification": submission.classification,
        "metadata": submission.metadata,
        "attachments": submission.attachments,
        "options": options_with(submission.options, submission.send_at, submission.expires_at) or None,
        "size": submission.size,
        "smtputf8": submission.smtputf8,
        "eight_bit": submission.eight_bit,
        "ret": submission.ret,
        "envid": submission.envid,
        "status": (Status.UNSENT if refused else Status.ACCEPTED).value,
        "error_code": refused,
        "created_at": at,
        "updated_at": at,
        "accepted_at": None if refused else at,
    }


def _recipient_rows(
    submission: Submission, identifier: int, at: datetime, lane: Lane
) -> Iterable[dict[str, Any]]:
    refused = "error_code" in submission.options
    state = (State.CANCELLED if refused else State.QUEUED).value
    status = (Status.UNSENT if refused else Status.ACCEPTED).value
    lane_name = str(lane)
    for position, recipient in enumerate(submission.recipients):
        yield {
            "id": recipient.id or new_id(),
            "message_id": identifier,
            "account_id": submission.account_id,
            "position": position,
            "address": recipient.address,
            "kind": recipient.kind.value,
            "lane": lane_name,
            "state": state,
            "status": status,
            "attempts": 0,
            "crashes": 0,
            "fence": 0,
            # Ids never go back, and where the clock was put back they are ahead of it.
            "due_at": None if refused else submission.send_at or min(at, now()),
            "notify": recipient.notify,
            "orcpt": recipient.orcpt,
            "updated_at": at,
        }


def exists(connection: sa.Connection, identifier: int) -> bool:
    return connection.execute(_HERE, {"b_id": identifier}).first() is not None


# Built once: building a statement costs more than running it.
_HERE = sa.select(t.message.c.id).where(t.message.c.id == sa.bindparam("b_id", type_=BigInt))
_ONE = sa.select(t.message).where(t.message.c.id == sa.bindparam("b_id", type_=BigInt))
_OWN = _ONE.where(t.message.c.account_id == sa.bindparam("b_account_id", type_=BigInt))
_PARAMS = sa.select(t.params.c.message_id, t.params.c.params).where(
    t.params.c.message_id.in_(sa.bindparam("b_ids", expanding=True, type_=BigInt))
)
_OPENING = (
    sa.select(t.body.c.data)
    .where(t.body.c.message_id == sa.bindparam("b_id", type_=BigInt))
    .order_by(t.body.c.part)
    .limit(sa.bindparam("b_parts", type_=sa.Integer()))
)


def get(connection: sa.Connection, account_id: int | None, identifier: int) -> dict[str, Any] | None:
    """One message, or None; `account_id` None reads across accounts (operators)."""
    if account_id is None:
        row = connection.execute(_ONE, {"b_id": identifier}).mappings().first()
    else:
        row = connection.execute(_OWN, {"b_id": identifier, "b_account_id": account_id}).mappings().first()
    return dict(row) if row else None


@dataclass(frozen=True, slots=True)
class Content:
    """What a message said: the `params` of the REST client that sent it, else the opening octets of the mail."""

    params: dict[str, Any] | None
    opening: bytes = b""


#: rows of `body` that make an opening: enough for the header block and a long text, whatever is attached
_OPENING_PARTS = 3


def contents(connection: sa.Connection, identifiers: Sequence[int]) -> dict[int, Content]:
    """The contents of some messages by id; ask for few at a time, as each may be megabytes."""
    if not identifiers:
        return {}
    rows = connection.execute(_PARAMS, {"b_ids": list(identifiers)})
    found = {row.message_id: Content(row.params) for row in rows}
    for identifier in identifiers:
        if identifier not in found:
            parts = connection.execute(_OPENING, {"b_id": identifier, "b_parts": _OPENING_PARTS})
            found[identifier] = Content(None, b"".join(parts.scalars()))
    return found


def with_content(
    connection: sa.Connection, account_id: int | None, identifier: int
) -> tuple[dict[str, Any], Content] | None:
    """One message and what it said, or None."""
    row = get(connection, account_id, identifier)
    return None if row is None else (row, contents(connection, [identifier])[identifier])


def with_history(
    connection: sa.Connection, account_id: int | None, identifier: int
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]] | None:
    """One message, its recipients and its timeline, or None."""
    row = get(connection, account_id, identifier)
    if row is None:
        return None
    return row, recipients(connection, identifier), timeline(connection, identifier)


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


def listing(
    connection: sa.Connection, account_id: int | None, query: Query
) -> tuple[list[dict[str, Any]], bool]:
    """A page of messages and whether there are more. The order is total: equal times go by id."""
    m = t.message.c
    statement = sa.select(t.message)
    if account_id is not None:
        statement = statement.where(m.account_id == account_id)
    if query.status is not None:
        statement = having_status(statement, query.status)
    if query.tag is not None:
        statement = statement.where(m.tag == query.tag)
    # created_at is the time in the id, to the millisecond, so its bounds are bounds on the primary key.
    if query.created_gt is not None:
        statement = statement.where(m.id >= _first_after(query.created_gt))
    if query.created_gte is not None:
        statement = statement.where(m.id >= _first_at(query.created_gte))
    if query.created_lt is not None:
        statement = statement.where(m.id < _first_at(query.created_lt))
    if query.created_lte is not None:
        statement = statement.where(m.id < _first_after(query.created_lte))
    keys = (m.updated_at, m.id) if query.by_updated else (m.id,)
    statement = statement.order_by(*(key.asc() if query.ascending else key.desc() for key in keys))
    rows = connection.execute(statement.limit(query.limit + 1).offset(query.offset)).mappings().all()
    return [dict(row) for row in rows[: query.limit]], len(rows) > query.limit


def has_index(status: Status) -> bool:
    """Whether messages of this status are found without looking at others."""
    return status is not Status.SENT


def having_status(statement: sa.Select[Any], status: Status) -> sa.Select[Any]:
    """Messages of this status only. SQLite uses the index of a part where a query has its very words."""
    statement = statement.where(t.message.c.status == status)
    return statement.where(sa.text(NOT_SENT)) if has_index(status) else statement


_LAST = made_at(MAX_ID) - timedelta(seconds=1)


def _first_at(moment: datetime) -> int:
    """The first id of `moment` or later. Times outside of what ids can say are as good as the nearest inside."""
    return floor_at(min(max(moment, EPOCH), _LAST))


def _first_after(moment: datetime) -> int:
    return floor_at(min(max(moment, EPOCH - timedelta(microseconds=1)), _LAST) + timedelta(microseconds=1))


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
