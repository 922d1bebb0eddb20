"""Where everything told of mail goes first: durable when `put` returns, read by a worker soon after."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from relay.core.clock import now
from relay.core.errors import RelayError, Unavailable
from relay.core.inbox import InboxKind
from relay.core.provider import Report
from relay.core.status import Lane
from relay.observe import facts
from relay.queue import Queue
from relay.store import inbox
from relay.store.database import Database
from relay.store.inbox import Told
from relay.store.reports import decode_reports, encode_reports
from relay.store.writer import GroupWriter

__all__ = ["Inbox", "InboxKind", "decode_reports", "encode_reports"]

#: octets written in one transaction before the next group starts
_GROUP_BYTES = 8 * 1024 * 1024
#: seconds that a busy door waits for company before a commit
_LINGER = 0.002
#: seconds between two wake-ups of a busy door: one is enough for all that is there
_QUIET = 0.05


class Inbox:
    """One per process that hears of mail."""

    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue
        self._waking: asyncio.TimerHandle | None = None
        self._more = False
        self._writer: GroupWriter[Told, None] = GroupWriter(
            self._commit,
            limit=500,
            weigh=lambda told: len(told.payload),
            weight_limit=_GROUP_BYTES,
            linger=_LINGER,
        )

    async def put(
        self,
        source: str,
        kind: InboxKind,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        query: str = "",
        at: datetime | None = None,
    ) -> None:
        """Keep what was told; on return it will be read, whatever happens to this process.

        `at` is when it came. The commit goes on when the caller is cancelled. Raises `Unavailable` when it could
        not be stored.
        """
        told = Told(kind, source, payload, at or now(), dict(headers) if headers else None, query)
        try:
            await asyncio.shield(self._writer.submit(told))
        except RelayError:
            raise
        except Exception as error:
            facts.store_failed(error)
            raise Unavailable from error

    async def report(self, source: str, reports: Sequence[Report]) -> None:
        """`put` for reports that need no reading."""
        await self.put(source, InboxKind.REPORTS, encode_reports(reports))

    async def close(self) -> None:
        """Wait for commits in flight."""
        await self._writer.join()
        if self._waking is not None:
            self._waking.cancel()
            self._wake_again()

    async def _commit(self, group: Sequence[Told]) -> Sequence[None]:
        await self._database.write(inbox.put, group)
        if self._waking is None:
            self._queue.deliver(Lane.EVENTS, ())
            self._waking = asyncio.get_running_loop().call_later(_QUIET, self._wake_again)
        else:
            self._more = True
        return [None] * len(group)

    def _wake_again(self) -> None:
        self._waking = None
        if self._more:
            self._more = False
            self._queue.deliver(Lane.EVENTS, ())
