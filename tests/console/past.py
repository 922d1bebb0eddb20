"""Weeks of a shop's mail in a record that nobody has used yet, so that statistics have something to show."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from relay.core.clock import now
from relay.core.ids import floor_at
from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Door
from relay.store import accounts, messages
from relay.store import tables as t
from relay.store.database import open_database
from relay.store.rows import insert_rows

_DAY = timedelta(days=1)
_TAGS = ("orders", "invoices", "account", "newsletter", None)
_DOMAINS = ("customer", "mail", "firm", "post", "school", "office", "partner", "club")
#: mails of an hour, from midnight on, in comparison
_HOURS = (1, 1, 1, 1, 1, 2, 4, 7, 10, 12, 12, 11, 9, 10, 11, 11, 10, 9, 8, 6, 5, 4, 3, 2)
_BOUNCES = ({"class": "hard", "reason": "no_such_user"}, {"class": "soft", "reason": "mailbox_full"})


def write(record: Path, days: int, mails: int) -> None:
    """About so many mails on each of the last days, and more in the last hour, so that its minutes have some."""
    asyncio.run(_write(record, days, mails))


async def _write(record: Path, days: int, mails: int) -> None:
    database = open_database(f"sqlite:///{record}")
    chance = random.Random(7)
    account = await database.read(accounts.account_by_name, "default")
    latest = now() - timedelta(hours=1)
    lately = [
        latest + timedelta(minutes=minute, seconds=chance.random() * 60)
        for minute in range(59)
        for _ in range(max(0, round(chance.gauss(6, 3))))
    ]
    for day in range(days, -1, -1):
        start = (now() - day * _DAY).replace(hour=0, minute=0, second=0, microsecond=0)
        # Less on Sundays, and a little more every week.
        count = round(mails * (0.4 if start.weekday() == 6 else 1) * (1 + (days - day) / (2 * days)))
        seconds = [3600 * chance.choices(range(24), _HOURS)[0] + chance.random() * 3600 for _ in range(count)]
        times = [start + timedelta(seconds=one) for one in sorted(seconds)]
        some = [_mail(account, at, place, chance) for place, at in enumerate(times) if at < latest]
        if some:
            await database.write(_insert, some, chance)
    some = [_mail(account, at, place, chance) for place, at in enumerate(sorted(lately))]
    await database.write(_insert, some, chance)
    await database.close()


def _mail(account: int, at: Any, place: int, chance: random.Random) -> Submission:
    tag = chance.choices(_TAGS, (40, 25, 15, 12, 8))[0]
    domain = chance.choices(_DOMAINS, (40, 25, 12, 8, 6, 4, 3, 2))[0]
    return Submission(
        account_id=account,
        key_id=None,
        door=Door.REST if chance.random() < 0.3 else Door.SMTP,
        sender="shop@shop.example",
        recipients=[EnvelopeRecipient(f"reader{chance.randrange(4000)}@{domain}.example")],
        head=b"Subject: Your order\r\n\r\n",
        tail=MemoryTail(b"Thank you.\r\n"),
        from_="The shop <shop@shop.example>",
        subject=f"Order {chance.randrange(10_000, 99_999)}",
        tag=tag,
        id=floor_at(at) + place * 100,
        options={"stream": "bulk"} if tag == "newsletter" else {},
    )


def _insert(connection: Any, mails: Sequence[Submission], chance: random.Random) -> None:
    group = messages.prepare(mails)
    events = []
    for message, recipient in zip(group.messages, group.recipients, strict=True):
        recipient["id"] = message["id"] + 1
        told = _fate(message, chance)
        status = "BOUNCED" if told[-1]["kind"] == "bounced" else told[-1]["kind"].upper()
        message["status"] = status = {"CLICKED": "OPENED", "DEFERRED": "SENT"}.get(status, status)
        recipient |= {"state": "done", "status": status, "attempts": 1, "due_at": None}
        at = message["created_at"]
        for place, one in enumerate(told, 2):
            # A provider's answer takes a moment, and whatever comes after it longer.
            at += timedelta(
                seconds=chance.lognormvariate(-1.2, 0.8) if place == 2 else chance.expovariate(0.05)
            )
            if at > now():
                break
            common = {"id": floor_at(at) + len(events), "message_id": message["id"], "at": at}
            events.append({**common, "recipient_id": recipient["id"], "detail": None, "attempt": 1, **one})
    insert_rows(connection, t.message, group.messages)
    insert_rows(connection, t.recipient, group.recipients)
    insert_rows(connection, t.body, group.bodies)
    insert_rows(connection, t.event, events)


def _fate(message: dict[str, Any], chance: random.Random) -> list[dict[str, Any]]:
    provider = "spare" if chance.random() < 0.12 else "main"
    sent = {"kind": "sent", "provider": provider, "reply": "250 2.0.0 Ok"}
    told: list[dict[str, Any]] = [sent]
    if chance.random() < 0.05:
        told.insert(0, {"kind": "deferred", "provider": provider, "reply": "451 4.7.1 try again later"})
    lost = 0.06 if message["tag"] == "newsletter" else 0.02
    if chance.random() < lost:
        detail = {"bounce": chance.choices(_BOUNCES, (2, 1))[0]}
        return [*told, {"kind": "bounced", "provider": provider, "reply": "550 5.1.1", "detail": detail}]
    told.append({"kind": "delivered", "provider": provider, "reply": None})
    if chance.random() < 0.35:
        told.append({"kind": "opened", "provider": provider, "reply": None})
        if chance.random() < 0.3:
            told.append({"kind": "clicked", "provider": provider, "reply": None})
    if message["tag"] == "newsletter" and chance.random() < 0.004:
        told.append({"kind": "complained", "provider": provider, "reply": None})
    return told
