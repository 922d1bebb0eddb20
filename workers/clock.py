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
from relay.store import deliveries, idempotency, leader, recovery
from workers import ingest, mailboxes, notify

#: seconds between ticks
_TICK = 2.0
#: seconds for which leadership holds without being renewed
_LEASE = 10.0
_JOB = "clock"


async def serve(context: Context) -> None:
    """Tick until `context.stop`. Any number of clocks may run; one of them leads."""
    owner = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
    database = context.database
    looking = asyncio.create_task(mailboxes.run(context))
    context.ready()
    while not context.stop.is_set():
        try:
            if await leader.lead(database, _JOB, owner, lease=_LEASE):
                await tick(context)
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


async def _recover(context: Context) -> None:
    """Expired claims go back into the queue."""
    moment = now()
    if not await context.database.read(recovery.any_expired, now=moment):
        return
    settings = context.settings.delivery
    for one in await context.database.write(
        recovery.recover, now=moment, poison_after=settings.poison_after, lease=settings.lease
    ):
        if one.parked:
            facts.parked(one.message_id, one.id, f"{one.crashes} workers vanished with it in hand")
        else:
            facts.recovered(one.message_id, one.id, one.crashes)


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
    _recover,
    _wake,
    _forget_keys,
    notify.prune,
    ingest.prune,
)
