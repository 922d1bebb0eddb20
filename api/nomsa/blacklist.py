"""Which addresses of a send are not written to, asked of the record for many sends at a time."""

from collections.abc import Sequence
from typing import Any

from relay.store.database import Database
from relay.store.suppressions import suppressed
from relay.store.writer import GroupWriter

_Question = tuple[int, Sequence[str]]


class Blacklist:
    """What is asked while one question is under way goes into the next, together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._questions: GroupWriter[_Question, set[str]] = GroupWriter(self._ask, limit=100)

    async def among(self, account_id: int, addresses: Sequence[str]) -> set[str]:
        """Those of `addresses` that the account may not write to. Raises `Unavailable` without the record."""
        return await self._questions.submit((account_id, addresses))

    async def _ask(self, group: Sequence[_Question]) -> Sequence[set[str]]:
        return await self._database.read(_answer, group)


def _answer(connection: Any, group: Sequence[_Question]) -> list[set[str]]:
    by_account: dict[int, set[str]] = {}
    for account_id, addresses in group:
        by_account.setdefault(account_id, set()).update(addresses)
    found = {
        account_id: suppressed(connection, account_id, sorted(addresses))
        for account_id, addresses in by_account.items()
    }
    return [found[account_id].intersection(addresses) for account_id, addresses in group]
