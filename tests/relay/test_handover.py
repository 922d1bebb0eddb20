"""A door leaves the port that it shares with another, and nobody who comes meanwhile is refused."""

import asyncio
import contextlib
import select
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from relay.handover import deafen, let_in

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells sockets that share a port apart"
)

MANY = 64  # of whom about half come to either door


@pytest.fixture
def doors() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket() as one, socket.socket() as other:
        for door in (one, other):
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            door.bind(("127.0.0.1", one.getsockname()[1]))
            door.listen(MANY)
            door.setblocking(False)
        yield one, other


def coming(stack: contextlib.ExitStack, door: socket.socket) -> list[socket.socket]:
    """Clients who have asked for a connection."""
    clients = [stack.enter_context(socket.socket()) for _ in range(MANY)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(door.getsockname())
    return clients


def waiting(stack: contextlib.ExitStack, door: socket.socket) -> int:
    """How many are let in, of those who are before a door."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            stack.enter_context(door.accept()[0])
            count += 1
    return count


def test_who_comes_to_a_door_that_is_about_to_close_gets_the_other(
    doors: tuple[socket.socket, socket.socket],
) -> None:
    one, other = doors
    with contextlib.ExitStack() as stack:
        deafen(one)
        clients = coming(stack, one)
        assert waiting(stack, one) == 0
        one.close()
        deadline = time.monotonic() + 60
        let_in_by_other = 0
        while let_in_by_other < MANY:
            assert time.monotonic() < deadline
            select.select([other], [], [], 1)
            let_in_by_other += waiting(stack, other)
        assert [client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for client in clients] == [0] * MANY


def test_who_has_come_is_let_in_first(doors: tuple[socket.socket, socket.socket]) -> None:
    one, other = doors
    with contextlib.ExitStack() as stack:
        coming(stack, one)
        count = 0

        async def serve() -> None:
            def arrived() -> None:
                nonlocal count
                count += waiting(stack, one)

            asyncio.get_running_loop().add_reader(one, arrived)
            await let_in([one])
            asyncio.get_running_loop().remove_reader(one)

        asyncio.run(serve())
        assert count + waiting(stack, other) == MANY
        assert waiting(stack, one) == 0
