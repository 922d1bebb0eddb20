"""A nearly full disk: both doors put mail off, by the one way in that they share."""

import asyncio
from pathlib import Path

import pytest

from relay.capacity import Space
from relay.core.errors import Full
from relay.intake import Intake
from relay.queue import NoQueue
from relay.store import accounts
from relay.store.database import open_database
from tests.installation import Installation, wait_for
from tests.submissions import submission


def test_nothing_is_stored_until_there_is_room(sqlite_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        database = open_database(sqlite_url)
        account = await database.write(accounts.create_account, "a", senders=("*",))
        space = Space(tmp_path, 10**30)
        intake = Intake(database, NoQueue(), None, space)
        mail = submission(account)
        with pytest.raises(Full):
            await intake.accept(mail)
        space._minimum, space._looked = 1, 0.0
        await intake.accept(mail)
        await intake.close()
        await database.close()

    asyncio.run(main())


def test_the_rest_door_says_503(tmp_path: Path) -> None:
    with Installation(tmp_path) as here:
        here.config.write_text(f"min_free_space = 999999999999999999\n{here.config.read_text()}")
        assert here.run("migrate").returncode == 0
        here.key = here.run("keys", "create").stdout.strip()
        process = here.start("api")
        wait_for(lambda: "listening" in process.output, "the door's opening")
        status, answer = here.request(
            "/v1/transactional/email/send",
            {"from": "a@example.org", "recipient": "b@example.net", "subject": "x", "body": "<p>x</p>"},
        )
        assert status == 503, answer
        assert here.request("/v1/transactional/email?limit=1")[0] == 200
