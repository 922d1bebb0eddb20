"""Counts held against a recount of the events, on both databases: late ones, repeats, ends in between, two clocks."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from relay.core.clock import now
from relay.core.event import EventKind
from relay.core.ids import floor_at, made_at, new_id
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door
from relay.store import accounts, messages, statistics, timeline
from relay.store import tables as t
from relay.store.database import open_database
from relay.store.statistics import COUNTS, Dimension, Query
from workers.statistics import count_some

MINUTE = timedelta(minutes=1)
KINDS = ["sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed", "deferred"]
KINDS += ["expired", "cancelled", "recovered", "unknown"]


def mail(account, identifier, chance):
    """A mail whose ids are of its time."""
    count = chance.randint(1, 3)
    return Submission(
        account_id=account,
        key_id=chance.choice([None, 11, 12]),
        door=Door.REST,
        sender="from@example.org",
        recipients=[
            EnvelopeRecipient(
                f"{chance.randint(1, 9)}@{chance.choice('abc')}.example", id=identifier + 1 + place
            )
            for place in range(count)
        ],
        head=b"Subject: x\r\n\r\n",
        tail=MemoryTail(b"x"),
        from_="from@example.org",
        tag=chance.choice([None, "welcome", "=1+1"]),
        id=identifier,
        options=chance.choice([{}, {"stream": "news"}, {"error_code": "Error 400: Blacklisted recipient"}]),
    )


class Record:
    """A record in which things happen at times of our choice."""

    def __init__(self, url):
        self.database = open_database(url)
        self.chance = random.Random(7)
        self.recipients = []
        self.ids = 0

    async def open(self):
        self.accounts = [await self.database.write(accounts.create_account, name) for name in ("one", "two")]

    def _id(self, moment):
        self.ids += 10
        return floor_at(moment) + self.ids

    async def accept(self, moment, count):
        mails = [
            mail(
                self.chance.choice(self.accounts),
                self._id(moment + MINUTE * self.chance.random()),
                self.chance,
            )
            for _ in range(count)
        ]
        await self.database.write(messages.insert, mails)
        self.recipients += [(one.id, to.id, one.account_id) for one in mails for to in one.recipients]

    async def happen(self, moment, count):
        """Heard of in that minute; of what happened up to two days before."""
        rows, whose = [], {}
        for _ in range(count):
            message, recipient, account = self.chance.choice(self.recipients[1:])
            whose[message] = account
            detail = self.chance.choice(
                [
                    None,
                    {"machine": True},
                    {"bounce": {"class": self.chance.choice(["hard", "soft", "block"])}},
                ]
            )
            rows.append(
                {
                    "id": self._id(moment + MINUTE * self.chance.random()),
                    "message_id": message,
                    "recipient_id": recipient,
                    "kind": self.chance.choice(KINDS),
                    "at": moment - timedelta(minutes=self.chance.choice([0, 1, 50, 70, 2000])),
                    "provider": self.chance.choice(["ses", "smtp", None]),
                    "detail": detail,
                }
            )
        await self.database.write(timeline.add, rows, whose)

    async def told(self, kind, moment, detail):
        """Of the first recipient, who does not take part in what happens by chance."""
        message, recipient, account = self.recipients[0]
        row = {
            "message_id": message,
            "recipient_id": recipient,
            "kind": kind,
            "at": moment,
            "provider": "ses",
        }
        rows = [{"id": self._id(moment), **row, "detail": detail}]
        await self.database.write(timeline.add, rows, {message: account})

    async def counted(self, dimension, account=None, by="hour"):
        wanted = Query(
            dimension, datetime(2024, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC), account, by=by
        )
        rows = await self.database.read(statistics.read, wanted, limit=100_000)
        return {(row["at"], row["value"]): {name: row[name] for name in COUNTS if row[name]} for row in rows}

    async def recounted(self, dimension):
        """The plain way: every row of the record, one after the other."""
        found = {}
        rows = await self.database.read(_everything)
        known = {row["id"]: row for row in rows["message"]}
        addresses = {row["id"]: row["address"] for row in rows["recipient"]}

        def add(message, address, at, provider, what):
            value = {
                Dimension.ACCOUNT: "",
                Dimension.KEY: message["key_id"] and str(message["key_id"]),
                Dimension.TAG: message["tag"],
                Dimension.STREAM: (message["options"] or {}).get("stream", "transactional"),
                Dimension.PROVIDER: provider,
                Dimension.DOMAIN: address.split("@")[1],
            }[dimension]
            if value is not None:
                hour = at.replace(minute=0, second=0, microsecond=0)
                found.setdefault((hour, value), Counter())[what] += 1

        for row in rows["recipient"]:
            message = known[row["message_id"]]
            what = "refused" if message["accepted_at"] is None else "accepted"
            for one in [what, "messages"] if row["position"] == 0 else [what]:
                add(message, row["address"], made_at(message["id"]), None, one)
        seen = set()
        for row in rows["event"]:
            kind, detail = EventKind(row["kind"]), row["detail"] or {}
            key = (row["recipient_id"], kind)
            machine = kind is EventKind.OPENED and detail.get("machine") is True
            first = key not in seen
            if not machine:
                seen.add(key)
            whats = []
            if kind is EventKind.OPENED:
                whats = ["machine_opens"] if machine else ["opens"]
            elif kind is EventKind.CLICKED:
                whats = ["clicks"]
            elif kind is EventKind.DEFERRED:
                whats = ["deferred"]
            if first and not machine:
                if kind is EventKind.BOUNCED:
                    whats.append("bounced_" + detail.get("bounce", {}).get("class", "soft"))
                elif kind.value in COUNTS and kind is not EventKind.DEFERRED:
                    whats.append(kind.value)
            for what in whats:
                add(
                    known[row["message_id"]], addresses[row["recipient_id"]], row["at"], row["provider"], what
                )
        return {key: dict(counts) for key, counts in found.items()}


def _everything(connection):
    return {
        table.name: [
            dict(row) for row in connection.execute(sa.select(table).order_by(table.c.id)).mappings()
        ]
        for table in (t.message, t.recipient, t.event)
    }


async def count_all(database, at, known=None):
    known = set() if known is None else known
    while await count_some(database, known, at):
        if (await database.read(statistics.counted_until)) is not None and not known.isdisjoint(
            {statistics.minute_of(at) - 2}
        ):
            break


async def agrees(record):
    for dimension in Dimension:
        assert await record.counted(dimension) == await record.recounted(dimension), dimension


@pytest.mark.anyio
async def test_counts_are_those_of_a_recount(database_url):
    record = Record(database_url)
    try:
        await record.open()
        start = (now() - timedelta(days=3)).replace(second=0, microsecond=0)
        await record.accept(start, 12)
        await record.happen(start + MINUTE, 60)
        # A machine looked at the mail before a person did.
        await record.told("opened", start + MINUTE, {"machine": True})
        await record.told("opened", start + MINUTE, None)
        await record.told("opened", start + MINUTE, None)
        # Hours later, and hours after that, with counts in between.
        await count_all(record.database, start + 3 * MINUTE)
        await agrees(record)
        await record.accept(start + 3 * MINUTE, 8)
        await record.happen(start + 4 * MINUTE, 60)
        # A transaction of a minute that was counted already commits late.
        await record.happen(start + 2 * MINUTE, 30)
        at = start + 5 * MINUTE
        await count_all(record.database, at)
        await agrees(record)
        # Everything is counted for good, by a clock that ends in the middle and by another one beside it.
        at = start + 40 * MINUTE
        work = (await record.database.read(statistics.due, at))[0]
        assert work.closed
        counts = await record.database.read(
            statistics.count, statistics.start_of(work.first), statistics.start_of(work.before)
        )
        assert await record.database.write(statistics.keep, work, counts)
        assert not await record.database.write(statistics.keep, work, counts)
        await agrees(record)
        await count_all(record.database, at)
        await agrees(record)
        # Reports that come a day later count in the hours of which they tell.
        await record.happen(start + timedelta(days=1), 60)
        await count_all(record.database, start + timedelta(days=1, hours=1))
        await agrees(record)
        open_ = sa.select(sa.func.count()).select_from(t.rollup).where(t.rollup.c.heard != 0)
        assert await record.database.read(lambda c: c.execute(open_).scalar()) == 0
        # Counts outlive what they were made of.
        before = await record.counted(Dimension.TAG)
        await record.database.write(lambda c: c.execute(t.event.delete()))
        assert await record.counted(Dimension.TAG) == before
        whole = (await record.counted(Dimension.ACCOUNT, by="total"))[None, ""]
        parts = [
            (await record.counted(Dimension.ACCOUNT, account=one, by="total")).get((None, ""), {})
            for one in record.accounts
        ]
        assert whole == {name: sum(one.get(name, 0) for one in parts) for name in whole}
    finally:
        await record.database.close()


@pytest.mark.anyio
async def test_nothing_is_counted_where_nothing_was_sent(sqlite_url):
    database = open_database(sqlite_url)
    try:
        assert await count_some(database, set()) == 0
        assert await database.read(statistics.counted_until) is None
        assert new_id()
    finally:
        await database.close()
