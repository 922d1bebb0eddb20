"""Mails in a worker's hands, and what may be told of them: the material of the tests about statuses."""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from relay.core.bounce import Bounce, BounceClass, BounceReason
from relay.core.event import EventKind
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.provider import Report
from relay.core.reply import Reply
from relay.core.status import Door, State
from relay.store import accounts, deliveries, messages, settling
from relay.store import tables as t
from relay.store.database import Database
from relay.store.deliveries import Claim
from relay.store.reports import ref_key
from relay.store.settling import Settlement

PROVIDER = "vendor"
#: for addresses that no earlier scene has had suppressed
_NUMBERS = itertools.count()
START = datetime(2026, 1, 2, tzinfo=UTC)
_LATER = datetime(2060, 1, 1, tzinfo=UTC)
HARD = Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER)
SOFT = Bounce(BounceClass.SOFT, BounceReason.MAILBOX_FULL)


@dataclass(frozen=True)
class Fact:
    """What happens to a mail: a report, or, for `settled`, our own record of the send."""

    kind: EventKind
    second: int = 0
    bounce: Bounce | None = None
    machine: bool = False
    settled: State | None = None

    @property
    def at(self) -> datetime:
        return START + timedelta(seconds=self.second)


@dataclass
class Mail:
    """A claimed recipient and everything that is going to be told of it."""

    claim: Claim
    facts: list[Fact] = field(default_factory=list)

    def report(self, fact: Fact, how: str = "token") -> Report:
        who: dict[str, Any] = {
            "token": {"token": f"{self.claim.message_id}.{self.claim.id}"},
            "message": {"token": str(self.claim.message_id), "recipient": self.claim.address.upper()},
            "ref": {"ref": f"<{self.ref}>", "recipient": self.claim.address},
        }[how]
        detail = {"machine": True} if fact.machine else {}
        reply = Reply(550, "5.1.1", "no such user") if fact.bounce else None
        return Report(fact.kind, fact.at, bounce=fact.bounce, reply=reply, detail=detail, **who)

    @property
    def ref(self) -> str:
        return f"ref-{self.claim.id}@vendor.example"

    def settlement(self, fact: Fact) -> Settlement:
        assert fact.settled is not None
        return Settlement(
            self.claim,
            fact.settled,
            fact.kind,
            fact.at,
            "250 ok",
            PROVIDER,
            due_at=_LATER if fact.settled is State.QUEUED else None,
            ref=self.ref,
            ref_key=ref_key(PROVIDER, self.ref),
            bounce=fact.bounce,
        )


async def claimed(database: Database, account: int, count: int) -> list[Mail]:
    """So many mails to one recipient each, in a worker's hands."""
    found: list[Mail] = []
    while len(found) < count:
        group = [
            Submission(
                account_id=account,
                key_id=None,
                door=Door.SMTP,
                sender="from@example.org",
                recipients=[EnvelopeRecipient(f"to{next(_NUMBERS)}@example.net")],
                head=b"Subject: x\r\n\r\n",
                tail=MemoryTail(b"body\r\n"),
                from_="from@example.org",
            )
            for _ in range(min(500, count - len(found)))
        ]
        stored = await database.write(messages.insert, group)
        later = datetime.now(UTC) + timedelta(seconds=5)
        mails = await database.write(deliveries.claim, [one.id for one in stored], now=later, lease=3600)
        mails.sort(key=lambda mail: mail.id)
        found += [Mail(mail.claims[0]) for mail in mails]
    return found


async def account_of(database: Database, name: str = "acme") -> int:
    return await database.write(accounts.create_account, name, senders=["*"])


async def tell(
    database: Database,
    record: Callable[[str, Sequence[Report]], Any],
    told: Sequence[tuple[Mail, Fact]],
    how: Callable[[Fact], str] = lambda _fact: "token",
) -> None:
    """Facts of one moment: settlements by the engine's door, reports by `record`."""
    settlements = [mail.settlement(fact) for mail, fact in told if fact.settled is not None]
    if settlements:
        await database.write(settling.settle, settlements)
    reports = [mail.report(fact, how(fact)) for mail, fact in told if fact.settled is None]
    if reports:
        await record(PROVIDER, reports)


SETTLED = (
    Fact(EventKind.SENT, 1, settled=State.DONE),
    Fact(EventKind.SENT, 1, settled=State.DONE),
    Fact(EventKind.AMBIGUOUS, 1, settled=State.QUEUED),
    Fact(EventKind.PARKED, 1, settled=State.PARKED),
    Fact(EventKind.BOUNCED, 1, HARD, settled=State.DONE),
)
_KINDS = (
    EventKind.SENT,
    EventKind.DEFERRED,
    EventKind.DELIVERED,
    EventKind.OPENED,
    EventKind.CLICKED,
    EventKind.BOUNCED,
    EventKind.COMPLAINED,
    EventKind.UNSUBSCRIBED,
    EventKind.UNKNOWN,
)
_WEIGHTS = (4, 2, 8, 5, 3, 2, 1, 1, 1)


def life(dice: random.Random) -> list[Fact]:
    """What might happen to one mail, its send included, each thing once."""
    facts: dict[Fact, None] = {dice.choice(SETTLED): None}
    for kind in dice.choices(_KINDS, _WEIGHTS, k=dice.randint(1, 6)):
        bounce = dice.choice((HARD, SOFT)) if kind is EventKind.BOUNCED else None
        machine = kind is EventKind.OPENED and dice.random() < 0.3
        facts[Fact(kind, dice.randint(2, 60), bounce, machine)] = None
    return list(facts)


def outcome(facts: Sequence[Fact]) -> str:
    """The status that follows from everything, said independently of the code that is tested."""
    kinds = {EventKind.DELIVERED if fact.machine else fact.kind for fact in facts}
    for status, reported in (
        ("COMPLAINT", {EventKind.COMPLAINED}),
        ("BOUNCED", {EventKind.BOUNCED}),
        ("OPENED", {EventKind.OPENED, EventKind.CLICKED}),
        ("DELIVERED", {EventKind.DELIVERED}),
        ("SENT", {EventKind.SENT}),
    ):
        if kinds & reported:
            return status
    return "ACCEPTED"


_KNOWN = (
    "status",
    "sent_at",
    "delivered_at",
    "opened_at",
    "error_code",
    "error_sub_type",
)


def snapshot(connection: sa.Connection, mails: Sequence[Mail]) -> list[Any]:
    """All that is known of each mail, in order, without the times of our own clock."""
    r, m, e = t.recipient.c, t.message.c, t.event.c
    lines: dict[int, list[Any]] = {}
    for row in connection.execute(sa.select(e.recipient_id, e.kind, e.at, e.reply, e.provider)):
        lines.setdefault(row.recipient_id, []).append((row.kind, row.at, row.reply or "", row.provider))
    columns = [r[name] for name in (*_KNOWN, "state", "due_at", "failed_at", "bounce_class", "bounce_reason")]
    recipients = {row.id: tuple(row[1:]) for row in connection.execute(sa.select(r.id, *columns))}
    shown = connection.execute(sa.select(m.id, *(m[name] for name in _KNOWN)))
    by_message = {row.id: tuple(row[1:]) for row in shown}
    suppressed = set(connection.execute(sa.select(t.suppression.c.address)).scalars())
    return [
        (
            recipients[mail.claim.id],
            by_message[mail.claim.message_id],
            sorted(lines.get(mail.claim.id, [])),
            mail.claim.address in suppressed,
        )
        for mail in mails
    ]
