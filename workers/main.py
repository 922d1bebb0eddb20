"""The delivery worker: Dramatiq's consumers in threads, the engine on the event loop."""

import asyncio
import contextlib
import threading

import dramatiq

from relay import config
from relay.config import Settings
from relay.core.errors import Misconfigured
from relay.delivery.engine import Engine
from relay.observe import facts
from relay.process import DRAIN, Context
from workers import actors, batches, ingest, notify
from workers.reload import Reloader
from workers.setups import Builder

#: the actors only pass ids on, so few threads are plenty
_THREADS = 2
#: messages taken ahead; each names up to 100 mails
_PREFETCH = 32
#: milliseconds an idle consumer waits for its bell before it asks by itself
_IDLE = 1000


def latest(settings: Settings) -> Settings:
    """The settings as their file has them now; the parent that a worker was forked from has read it only once."""
    if settings.source is None:
        return settings
    try:
        return config.load(settings.source)
    except Misconfigured as error:
        facts.reload_refused("start", str(error))
        return settings


async def serve(context: Context) -> None:
    """Deliver until `context.stop`, then finish what is in hand."""
    settings = latest(context.settings)
    builder = Builder(await context.secret())
    engine = Engine(context.database, builder.build(settings), settings.delivery)
    reloader = Reloader(settings, builder, engine.swap)
    engine.on_reload(lambda: reloader.ask("asked for"))
    actors.declare(context.broker, engine.wake)
    async with ingest.reading(context, settings.ingest, lambda: engine.fleet.setup):
        await _work(context, settings, engine, reloader)


async def _work(context: Context, settings: Settings, engine: Engine, reloader: Reloader) -> None:
    """Listen to the queue server and deliver."""
    worker = dramatiq.Worker(context.broker, worker_threads=_THREADS, worker_timeout=_IDLE)
    worker.queue_prefetch = _PREFETCH
    ending = threading.Event()
    bells = threading.Thread(target=context.broker.listen, args=(ending,), name="bells", daemon=True)
    bells.start()
    await asyncio.to_thread(worker.start)
    reloading = asyncio.create_task(reloader.run())
    context.ready()
    try:
        async with notify.sending(context, settings), batches.sending(context):
            await engine.run(context.stop, drain=DRAIN)
    finally:
        reloading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reloading
        ending.set()
        context.broker.ring_all()
        await asyncio.to_thread(worker.stop, 5000)
        await engine.fleet.aclose()
