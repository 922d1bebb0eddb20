"""Which addresses of a send are not written to, asked of the record for many sends at a time."""

from collections.abc import Sequence
from typing import Any

from relay.core.stream import DEFAULT
from relay.store.database import Database
from relay.store.suppressions import blocked
from relay.store.writer import GroupWriter

_Question = tuple[int, str, Sequence[str]]


class Blacklist:
    """What is asked while one question is under way goes into the next, together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._questions: GroupWriter[_Question, set[str]] = GroupWriter(self._ask, limit=100)

    async def among(self, account_id: int, addresses: Sequence[str], stream: str | None = None) -> set[str]:
        """Those of `addresses` that mail of the stream may not go to. Raises `Unavailable` without the record."""
        return await self._questions.submit((account_id, stream or DEFAULT, addresses))

    async def _ask(self, group: Sequence[_Question]) -> Sequence[set[str]]:
        return await self._database.read(_answer, group)


def _answer(connection: Any, group: Sequence[_Question]) -> list[set[str]]:
    found = blocked(
        connection,
        {(account_id, stream, address) for account_id, stream, addresses in group for address in addresses},
    )
    return [
        {address for address in addresses if (account_id, stream, address) in found}
        for account_id, stream, addresses in group
    ]
