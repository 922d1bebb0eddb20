"""The clock: one process at a time asks again for what is due and takes back what a vanished worker held."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Awaitable, Callable

from relay.core.clock import now
from relay.core.errors import Unavailable
from relay.observe import facts
from relay.process import Context
from relay.store import deliveries, idempotency, leader
from workers import batches, ingest, mailboxes, notify, retention, statistics
from workers.takeover import Takeover

#: seconds between ticks
_TICK = 2.0
#: seconds for which leadership holds without being renewed
_LEASE = 10.0
_JOB = "clock"


async def serve(context: Context) -> None:
    """Tick until `context.stop`. Any number of clocks may run; one of them leads."""
    owner = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
    database = context.database
    takeover = Takeover(context)
    looking = asyncio.create_task(mailboxes.run(context))
    context.ready()
    while not context.stop.is_set():
        try:
            leads = await leader.lead(database, _JOB, owner, lease=_LEASE)
            takeover.note()
            if leads:
                await takeover.run()
                await tick(context)
            else:
                takeover.follow()
        except Unavailable as error:
            facts.fault("clock", error)
        except Exception as error:
            facts.fault("clock", error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(context.stop.wait(), _TICK)
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    with contextlib.suppress(Unavailable):
        await leader.resign(database, _JOB, owner)


async def tick(context: Context) -> None:
    """Everything that is late, one job after the other; see `JOBS`."""
    for job in JOBS:
        await job(context)


async def _wake(context: Context) -> None:
    """Lanes with due mail are named."""
    for lane in await context.database.read(deliveries.due_lanes, now=now()):
        context.queue.deliver(lane, ())


async def _forget_keys(context: Context) -> None:
    """A few of the idempotency keys whose time is over; the rest at the next ticks."""
    if await context.database.read(idempotency.any_expired, now=now()):
        await context.database.write(idempotency.prune, now=now())


#: what the leader does at every tick, most pressing first
JOBS: tuple[Callable[[Context], Awaitable[None]], ...] = (
    _wake,
    batches.watch,
    _forget_keys,
    notify.prune,
    ingest.prune,
    batches.prune,
    retention.erase,
    retention.sweep,
    statistics.count,
)
