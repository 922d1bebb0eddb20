"""The group-committing writer."""

import asyncio
from collections.abc import Sequence

import pytest

from relay.store.writer import GroupWriter


def test_what_waits_during_a_commit_goes_together_into_the_next() -> None:
    async def main() -> list[list[int]]:
        groups: list[list[int]] = []
        gate = asyncio.Event()

        async def commit(items: Sequence[int]) -> list[int]:
            groups.append(list(items))
            await gate.wait()
            return [item * 10 for item in items]

        writer = GroupWriter(commit, limit=3)
        first = writer.submit(1)
        await asyncio.sleep(0)
        rest = [writer.submit(n) for n in range(2, 7)]
        gate.set()
        assert await asyncio.gather(first, *rest) == [10, 20, 30, 40, 50, 60]
        return groups

    assert asyncio.run(main()) == [[1], [2, 3, 4], [5, 6]]


def test_one_bad_item_does_not_take_the_others_down() -> None:
    async def main() -> None:
        async def commit(items: Sequence[int]) -> list[int]:
            await asyncio.sleep(0)
            if 2 in items:
                raise ValueError("two")
            return list(items)

        writer = GroupWriter(commit)
        results = await asyncio.gather(*(writer.submit(n) for n in (1, 2, 3)), return_exceptions=True)
        assert results[0] == 1
        assert isinstance(results[1], ValueError)
        assert results[2] == 3

    asyncio.run(main())


def test_an_item_is_committed_although_its_caller_is_gone() -> None:
    async def main() -> None:
        committed: list[int] = []

        async def commit(items: Sequence[int]) -> list[int]:
            await asyncio.sleep(0)
            committed.extend(items)
            return list(items)

        writer = GroupWriter(commit)
        waiting = asyncio.create_task(_await(writer.submit(7)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await writer.join()
        assert committed == [7]

    asyncio.run(main())


def test_commits_side_by_side_share_what_is_there() -> None:
    """Eight clients, each with one item at a time: two commits at once, of about half of them each."""

    async def main() -> tuple[list[int], int]:
        sizes: list[int] = []
        running = most = 0

        async def commit(items: Sequence[int]) -> list[int]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            sizes.append(len(items))
            await asyncio.sleep(0.002)
            running -= 1
            return list(items)

        writer = GroupWriter(commit, linger=0.02, at_once=2)

        async def client(number: int) -> None:
            for turn in range(25):
                await asyncio.sleep(0.0003 * number)
                assert await writer.submit(number * 100 + turn) == number * 100 + turn

        await asyncio.gather(*map(client, range(8)))
        await writer.join()
        assert running == 0
        return sizes, most

    sizes, most = asyncio.run(main())
    assert sum(sizes) == 200
    assert most == 2
    # Never one by one: that would take 200.
    assert len(sizes) < 100


async def _await(future: asyncio.Future[int]) -> int:
    return await asyncio.shield(future)


def test_weight_limits_a_group_but_never_stops_one_item() -> None:
    async def main() -> list[list[int]]:
        groups: list[list[int]] = []

        async def commit(items: Sequence[int]) -> list[int]:
            groups.append(list(items))
            await asyncio.sleep(0)
            return list(items)

        writer = GroupWriter(commit, weigh=lambda n: n, weight_limit=10)
        await asyncio.gather(*(writer.submit(n) for n in (4, 5, 6, 50, 1)))
        return groups

    assert asyncio.run(main()) == [[4, 5], [6], [50], [1]]
