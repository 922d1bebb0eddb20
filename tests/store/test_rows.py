"""Groups of any size are stored whole and read back as they were."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from relay.core.message import EnvelopeRecipient, Idempotency, MemoryTail, Submission
from relay.core.status import Classification, Door
from relay.store import accounts, messages, outbox
from relay.store import tables as t
from relay.store.database import Database, open_database
from relay.store.rows import Bound
from tests.submissions import submission


@pytest.mark.parametrize("count", [1, 2, 3, 64, 65, 200])
def test_a_group_is_stored_whole(database_url: str, count: int) -> None:
    async def talk() -> None:
        database = open_database(database_url)
        try:
            account_id = await database.write(accounts.create_account, "acme")
            group = [
                Submission(
                    account_id=account_id,
                    key_id=None,
                    door=Door.REST,
                    sender="a@acme.example",
                    recipients=[EnvelopeRecipient(f"r{n}.{m}@example.com") for m in range(1 + n % 3)],
                    head=b"Subject: %d\r\n\r\n" % n,
                    tail=MemoryTail(bytes(range(256))),
                    from_="a@acme.example",
                    subject=f"mail {n}",
                    classification=Classification.URGENT if n % 2 else None,
                    params={"body": "ក", "from": "a@acme.example", "subject": f"mail {n}"},
                    metadata={"n": [n, None]},
                )
                for n in range(count)
            ]
            stored = await database.write(messages.insert, group)
            assert len({one.id for one in stored}) == count
            for n, one in enumerate(stored):
                row = await database.read(messages.get, account_id, one.id)
                assert row is not None
                assert (row["subject"], row["created_at"], row["metadata"]) == (
                    f"mail {n}",
                    one.at,
                    {"n": [n, None]},
                )
                assert row["classification"] == ("URGENT" if n % 2 else None)
                assert await database.read(messages.raw, one.id) == b"Subject: %d\r\n\r\n" % n + bytes(
                    range(256)
                )
                recipients = await database.read(messages.recipients, one.id)
                assert [r["address"] for r in recipients] == [
                    f"r{n}.{m}@example.com" for m in range(1 + n % 3)
                ]
                assert all(r["due_at"] == one.at for r in recipients)
            contents = await database.read(messages.contents, [one.id for one in stored])
            assert [contents[one.id].params for one in stored] == [one.params for one in group]
        finally:
            await database.close()

    asyncio.run(talk())


_MADE = {"id", "message_id", "created_at", "updated_at", "accepted_at", "due_at"}


def test_the_short_way_stores_what_the_long_one_does(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short: list[int] = []
    # However slow this machine is.
    monkeypatch.setattr(outbox, "MAX_AGE", 3600.0)

    async def talk() -> None:
        database = open_database(database_url)
        original = type(database).write_alone

        async def alone(self: Database, bound: Bound, *, expecting: int | None = None) -> int:
            short.append(await original(self, bound, expecting=expecting))
            return short[-1]

        monkeypatch.setattr(type(database), "write_alone", alone)

        async def stored(**fields: Any) -> list[tuple[Any, ...]]:
            mails = [submission(account, "a@x.example", "b@x.example", **fields), submission(account)]
            found = []
            for one in await messages.store(database, messages.prepare(mails, database.dialect)):
                row = await database.read(messages.get, account, one.id)
                people = await database.read(messages.recipients, one.id)
                assert row is not None
                raw = await database.read(messages.raw, one.id)
                found.append((raw, *[_kept(each) for each in (row, *people)]))
            return found

        try:
            account = await database.write(accounts.create_account, "acme")
            # Nobody has looked yet who wants to hear of it.
            plain = await stored()
            assert short == []
            assert await stored() == plain
            assert short == [2]
            tagged = await stored(tag="one", metadata={"a": 1})
            assert short == [2, 2]
            assert [row[1]["tag"] for row in tagged] == ["one", None]
            await stored(idempotency=Idempotency("key", "f", None))
            assert short == [2, 2]
            await database.write(endpoint_of, account)
            await stored()
            told = await database.read(lambda c: c.execute(sa.select(t.notice.c.kind)).scalars().all())
            assert (short, told) == ([2, 2], ["email.accepted"] * 3)
        finally:
            await database.close()

    asyncio.run(talk())


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _MADE}


def endpoint_of(connection: sa.Connection, account: int) -> None:
    connection.execute(
        t.endpoint.insert(),
        {"account_id": account, "url": "https://hook.example/", "secret": b"x"},
    )
    outbox.forget(connection)
