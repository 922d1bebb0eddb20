"""A database for the length of a scene."""

import asyncio
from collections.abc import Awaitable, Callable

from relay.store.database import Database, open_database


def play(url: str, scene: Callable[[Database], Awaitable[None]]) -> None:
    """Open the database at `url`, play the scene on it and close it, in an event loop of its own."""

    async def main() -> None:
        database = open_database(url)
        try:
            await scene(database)
        finally:
            await database.close()

    asyncio.run(main())
