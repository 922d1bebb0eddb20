"""The clock: one process at a time asks again for what is due and takes back what a vanished worker held."""

import asyncio
import contextlib
import os
import secrets
import socket

from relay.core.clock import now
from relay.core.errors import Unavailable
from relay.observe import facts
from relay.process import Context
from relay.store import deliveries, leader

#: seconds between ticks
_TICK = 2.0
#: seconds for which leadership holds without being renewed
_LEASE = 10.0
_JOB = "clock"


async def serve(context: Context) -> None:
    """Tick until `context.stop`. Any number of clocks may run; one of them leads."""
    owner = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
    database = context.database
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
    with contextlib.suppress(Unavailable):
        await leader.resign(database, _JOB, owner)


async def tick(context: Context) -> None:
    """Everything that is late: expired claims go back into the queue, and lanes with due mail are named."""
    settings = context.settings.delivery
    moment = now()
    if await context.database.read(deliveries.any_expired, now=moment):
        for one in await context.database.write(
            deliveries.recover, now=moment, poison_after=settings.poison_after
        ):
            if one.parked:
                facts.parked(one.message_id, one.id, f"{one.crashes} workers vanished with it in hand")
            else:
                facts.recovered(one.message_id, one.id, one.crashes)
    for lane in await context.database.read(deliveries.due_lanes, now=now()):
        context.queue.deliver(lane, ())
