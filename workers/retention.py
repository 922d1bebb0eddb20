"""The clock's jobs of cleaning up: sweeps by `retention`, and erasures."""

import asyncio
import time

from relay import retention
from relay.observe import facts
from relay.process import Context
from relay.store import erasure

#: steps of each walk at one tick
_STEPS = 3
#: seconds after which mail that others waited for is looked at again
_AGAIN = 600.0
_looked: dict[int, float] = {}


async def sweep(context: Context) -> None:
    """What was kept for long enough goes, a little at every tick."""
    count = await retention.sweep_some(context.database, context.settings, steps=_STEPS)
    if count:
        facts.swept(count)


async def erase(context: Context) -> None:
    """Whoever is to be erased, a little at every tick."""
    for row in await context.database.read(erasure.waiting):
        if time.monotonic() < _looked.get(row["id"], 0.0):
            continue
        after = await retention.erase_some(context.database, row, steps=_STEPS * 5)
        if after["state"] == erasure.DONE:
            _looked.pop(row["id"], None)
            files = await asyncio.to_thread(retention.erase_files, context.settings, row["address"])
            facts.erased(row["id"], sum(after["counts"].values()), files)
        elif after["place"].get("waits"):
            _looked[row["id"]] = time.monotonic() + _AGAIN
