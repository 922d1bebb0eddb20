"""Webhooks to customers: sent by every worker, from the outbox in the record."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

from relay.config import Settings, sealing_secrets
from relay.core.clock import now
from relay.notices.secrets import open_safe
from relay.notices.sender import Sender
from relay.process import Context
from relay.store import notices

#: seconds between two times at which old notices are removed
_PRUNE = 60.0
_pruned = 0.0


@contextlib.asynccontextmanager
async def sending(context: Context, settings: Settings) -> AsyncIterator[None]:
    """Send for as long as the block runs; at its end what is in hand is finished."""
    stop = asyncio.Event()
    # Looked up here, so that a worker which cannot sign does not start.
    safe = partial(open_safe, sealing_secrets(settings), context.database)
    sender = Sender(context.database, settings.webhooks, safe)
    task = asyncio.create_task(sender.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def prune(context: Context) -> None:
    """The clock's job: remove some of what is older than `webhooks.keep_days`, and of deleted endpoints."""
    global _pruned
    moment = asyncio.get_running_loop().time()
    if _pruned and moment - _pruned < _PRUNE:
        return
    keep = timedelta(days=context.settings.webhooks.keep_days)
    if not await context.database.write(notices.prune, before=now() - keep):
        _pruned = moment
