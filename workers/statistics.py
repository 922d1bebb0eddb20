"""The clock's job of counting; see `relay.store.statistics`."""

import asyncio
from datetime import datetime

from relay.core.clock import now
from relay.process import Context
from relay.store import statistics
from relay.store.database import Database

#: seconds between two counts
_PAUSE = 15.0
#: minutes in which a transaction that began in one may still commit, but for the slowest
_SETTLED = 2
#: pieces of work at one time
_MOST = 20
_next = 0.0
_known: set[int] = set()


async def count(context: Context) -> None:
    """Count what is new, a bounded part of it at a time."""
    global _next
    moment = asyncio.get_running_loop().time()
    if moment < _next:
        return
    if await count_some(context.database, _known) < _MOST:
        _next = moment + _PAUSE


async def count_some(database: Database, known: set[int], at: datetime | None = None) -> int:
    """Do up to so many pieces of work; returns how many. `known` has the minutes that need no other count yet."""
    done = 0
    while done < _MOST:
        current = at or now()
        settled = statistics.minute_of(current) - _SETTLED
        work = await database.read(statistics.due, current)
        open_ = [one for one in work if one.closed or one.first not in known]
        if not open_:
            break
        for one in open_[: _MOST - done]:
            counts = await database.read(
                statistics.count, statistics.start_of(one.first), statistics.start_of(one.before)
            )
            await database.write(statistics.keep, one, counts)
            done += 1
            if one.closed:
                known.difference_update([minute for minute in known if minute < one.before])
            elif one.first <= settled:
                known.add(one.first)
        if not open_[0].closed:
            break
    return done
