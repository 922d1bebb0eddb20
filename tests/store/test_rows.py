"""Groups of any size are stored whole and read back as they were."""

import asyncio

import pytest

from relay.core.message import EnvelopeRecipient, MemoryTail, Submission
from relay.core.status import Classification, Door
from relay.store import accounts, messages
from relay.store.database import open_database


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
