"""The group-committing writer: what waits while one commit runs goes into the next one, together.

A lone item is committed at once, and the busier the door, the larger the groups. An item's future is resolved only
after the commit that holds it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from relay.core.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")


class GroupWriter(Generic[T, R]):
    """Collects items and hands them to `commit` in groups of at most `limit`.

    `commit` stores a group in one transaction and returns one result per item. When a group fails, its items are
    tried one by one, so that one bad item does not take the others down; a lone failure is raised to its caller.
    Where the database is `Unavailable` no item is to blame, and all are told at once: each would wait as long again.

    Soon after a group of several, the writer waits for as many again, at most `linger` seconds: most of a commit's
    cost does not depend on what is in it. Where items come one at a time nothing ever waits.

    Where the database does several commits `at_once`, as many as were in the last groups on average do not wait for
    the commit in hand to end.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        limit: int = 200,
        weigh: Callable[[T], int] | None = None,
        weight_limit: int = 0,
        linger: float = 0.0,
        occupies: Callable[[T], int] | None = None,
        at_once: int = 1,
    ) -> None:
        """`occupies` says what an item takes of memory; `held` is the sum of all that is not committed yet."""
        self._commit = commit
        self._limit = limit
        self._weigh = weigh
        self._weight_limit = weight_limit
        self._linger = linger
        self._occupies = occupies
        self.held = 0
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: while the task commits, others may beside it
        self._committing = False
        self._beside: set[asyncio.Task[None]] = set()
        self._at_once = at_once
        #: the sizes of the last groups, their mean, and when the last commit ended
        self._sizes = deque([0] * at_once, at_once)
        self._company = 0
        self._ended = 0.0
        #: done when as many wait
        self._quorum: asyncio.Future[None] | None = None

    def submit(self, item: T) -> asyncio.Future[R]:
        """The future result of `item`. Cancelling it does not take the item out of its group."""
        if self._loop is None:
            # Kept: to ask for it is a system call.
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = self._loop.create_future()
        self._waiting.append((item, future))
        if self._occupies is not None:
            self.held += self._occupies(item)
        if self._quorum is not None and len(self._waiting) >= self._company:
            _release(self._quorum)
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        elif (
            self._committing and len(self._beside) < self._at_once - 1 and len(self._waiting) >= self._company
        ):
            task = asyncio.create_task(self._store(self._take()))
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)
        return future

    async def join(self) -> None:
        """Wait until nothing is waiting."""
        while self._task is not None or self._beside:
            await asyncio.wait([*self._beside, *([self._task] if self._task is not None else [])])

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if len(self._waiting) < self._company and loop.time() - self._ended < self._linger:
                    self._quorum = loop.create_future()
                    alarm = loop.call_later(self._linger, _release, self._quorum)
                    await self._quorum
                    alarm.cancel()
                    self._quorum = None
                self._committing = True
                await self._store(self._take())
                self._committing = False
        finally:
            self._committing, self._task = False, None

    async def _store(self, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        taken = sum(self._occupies(item) for item, _ in group) if self._occupies is not None else 0
        try:
            results = await self._commit([item for item, _ in group])
        except Exception as error:
            if len(group) > 1 and not isinstance(error, Unavailable):
                await self._one_by_one(group)
                return
            for _, future in group:
                _fail(future, error)
        else:
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():
                    future.set_result(result)
        finally:
            self._sizes.append(len(group))
            self._company = -(-sum(self._sizes) // self._at_once)
            self._ended = asyncio.get_running_loop().time()
            self.held -= taken

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        """The longest prefix within both limits, and at least one item."""
        count = min(len(self._waiting), self._limit)
        if self._weigh is not None:
            weight = 0
            for index in range(count):
                weight += self._weigh(self._waiting[index][0])
                if weight > self._weight_limit and index:
                    count = index
                    break
        group = self._waiting[:count]
        del self._waiting[:count]
        return group

    async def _one_by_one(self, group: list[tuple[T, asyncio.Future[R]]]) -> None:
        for item, future in group:
            try:
                (result,) = await self._commit([item])
            except Exception as error:
                _fail(future, error)
            else:
                if not future.done():
                    future.set_result(result)


def _release(quorum: asyncio.Future[None]) -> None:
    if not quorum.done():
        quorum.set_result(None)


def _fail(future: asyncio.Future[R], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
