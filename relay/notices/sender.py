"""Telling customers: claims what is due, calls endpoints side by side, and records how it went.

Each endpoint has a few places of its own, so that a slow one holds up nobody else; one that fails again and again is
tried with one notice at a time, at longer intervals up to a minute, until it takes one.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from relay.core import clock
from relay.core.errors import Misconfigured, Unavailable
from relay.notices import secrets
from relay.notices.post import Post, Reply
from relay.notices.secrets import Safe
from relay.observe import facts
from relay.sections import NoticeSettings
from relay.store import notices
from relay.store.database import Database
from relay.store.notices import FAILING, Claimed, Result
from relay.store.writer import GroupWriter

#: seconds between two looks at an outbox in which nothing was due
_LOOK = 1.0
#: seconds from the first place that comes free to the next look
_GATHER = 0.005
#: seconds beyond the longest call after which a silent worker's notices are given to another
_LEASE = 30.0
#: the longest that an endpoint can have itself left alone, in seconds
_MAX_PAUSE = 24 * 3600.0
#: answers with which an endpoint says that it is too much for it
_THROTTLED = (429, 502, 503, 504)


class Sender:
    """One per worker process."""

    def __init__(
        self,
        database: Database,
        settings: NoticeSettings,
        safe: Callable[[], Awaitable[Safe]],
        *,
        post: Post | None = None,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        """`safe` opens the endpoints' secrets; `now` is the clock that schedules go by."""
        self._database = database
        self._settings = settings
        self._open_safe = safe
        self._now = now
        self._post = post or Post(settings)
        self._schedule = settings.retry.schedule()
        self._safe: Safe | None = None
        self._in_hand: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bell = asyncio.Event()
        self._writer: GroupWriter[Result, None] = GroupWriter(self._commit, limit=100)

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop`, then finish what is in hand."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                try:
                    await self.look()
                except Unavailable as error:
                    facts.fault("webhooks", error)
                    self._bell.clear()
                except Exception as error:
                    facts.fault("webhooks", error)
                    self._bell.clear()
                bell = asyncio.create_task(self._bell.wait())
                await asyncio.wait((stopping, bell), timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
                bell.cancel()
                if self._bell.is_set():
                    # Places come free one by one; claiming for several at once costs hardly more than for one.
                    await asyncio.sleep(_GATHER)
        finally:
            stopping.cancel()
            await self.aclose()

    async def look(self) -> int:
        """Start sending what is due and has a place; returns how much that was."""
        self._bell.clear()
        moment = self._now()
        rows = await self._database.read(notices.waiting, now=moment)
        if not rows:
            return 0
        if self._safe is None:
            self._safe = await self._open_safe()
        places = self._places(rows)
        if not places:
            return 0
        lease = self._settings.timeout + _LEASE
        claimed = await self._database.write(notices.claim, places, now=moment, lease=lease)
        by_id = {row["id"]: row for row in rows}
        for one in claimed:
            self._in_hand[one.endpoint_id] += 1
            task = asyncio.create_task(self._tell(one, by_id[one.endpoint_id]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(claimed)

    async def settled(self) -> None:
        """Wait until nothing is in hand."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self) -> None:
        """Finish what is in hand, and close connections."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._settings.timeout + 2)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        with contextlib.suppress(Unavailable):
            await self._writer.join()
        await self._post.aclose()

    def _places(self, rows: Sequence[Mapping[str, Any]]) -> dict[int, int]:
        """How many more notices each endpoint may be sent now; those with the least in hand choose first."""
        left = self._settings.max_concurrency - self._in_hand.total()
        places: dict[int, int] = {}
        ordered = sorted(rows, key=lambda row: self._in_hand[row["id"]])
        for number, row in enumerate(ordered):
            most = 1 if row["failures"] >= FAILING else self._settings.concurrency
            fair = -(-left // (len(ordered) - number))
            room = min(most - self._in_hand[row["id"]], fair)
            if room > 0:
                places[row["id"]] = room
                left -= room
        return places

    async def _tell(self, one: Claimed, endpoint: Mapping[str, Any]) -> None:
        try:
            at = self._now()
            reply = await self._call(one, endpoint, at)
            facts.endpoint_called(delivered=reply.delivered, status=reply.status)
            await self._writer.submit(self._result(one, reply, at))
        except Exception as error:
            # Its lease ends by itself, and then it is tried again.
            facts.fault("webhooks", error, endpoint=one.endpoint_id, notice=one.id)
        finally:
            self._in_hand[one.endpoint_id] -= 1
            if not self._in_hand[one.endpoint_id]:
                del self._in_hand[one.endpoint_id]
            self._bell.set()

    async def _call(self, one: Claimed, endpoint: Mapping[str, Any], at: datetime) -> Reply:
        assert self._safe is not None
        try:
            known = valid_secrets(self._safe, endpoint, at)
        except Misconfigured as error:
            return Reply(0, error=str(error))
        signed = secrets.headers(known, name_of(one.id), int(at.timestamp()), one.payload)
        return await self._post.send(endpoint["url"], signed, one.payload)

    def _result(self, one: Claimed, reply: Reply, at: datetime) -> Result:
        moment = self._now()
        due_at = pause = None
        if not reply.delivered:
            due_at = self._schedule.next_due(
                attempts=one.attempts + 1, accepted_at=one.first_at or at, now=moment
            )
            if reply.retry_after is not None:
                wished = moment + timedelta(seconds=min(reply.retry_after, _MAX_PAUSE))
                due_at = max(due_at, wished) if due_at is not None else None
                pause = wished if reply.status in _THROTTLED else None
        return result_of(one, reply, at, due_at=due_at, pause_until=pause)

    async def _commit(self, results: Sequence[Result]) -> Sequence[None]:
        disabled = await self._database.write(
            notices.settle, results, now=self._now(), disable_after=self._settings.disable_after
        )
        for one in disabled:
            facts.endpoint_disabled(one.id, one.account_id, one.url, one.reason)
        return [None] * len(results)


def name_of(notice_id: int) -> str:
    """The `webhook-id` of a notice: the same for every try, and for a replay."""
    return f"msg_{notice_id}"


def valid_secrets(safe: Safe, endpoint: Mapping[str, Any], at: datetime) -> list[str]:
    """The secrets that a receiver may know at a time, the newest first."""
    known = [safe.unseal(endpoint["id"], endpoint["secret"])]
    until = endpoint["previous_until"]
    if endpoint["previous_secret"] is not None and until is not None and until > at:
        known.append(safe.unseal(endpoint["id"], endpoint["previous_secret"]))
    return known


def result_of(
    one: Claimed,
    reply: Reply,
    at: datetime,
    *,
    due_at: datetime | None = None,
    pause_until: datetime | None = None,
) -> Result:
    return Result(
        one,
        at,
        reply.ms,
        reply.delivered,
        status=reply.status,
        error=reply.error,
        answer=reply.answer,
        due_at=due_at,
        pause_until=pause_until,
        gone=reply.status == 410,
    )
