"""The delivery worker: Dramatiq's consumers in threads, the engine on the event loop."""

import asyncio
import threading
from typing import Any

import dramatiq

from providers import registry
from relay import config
from relay.config import Settings
from relay.core.provider import Provider
from relay.delivery.engine import Engine
from relay.process import DRAIN, Context
from relay.routing import Routes
from workers import actors

#: the actors only pass ids on, so few threads are plenty
_THREADS = 2
#: messages taken ahead; each names up to 100 mails
_PREFETCH = 32
#: milliseconds an idle consumer waits for its bell before it asks by itself
_IDLE = 1000


def build_providers(settings: Settings) -> dict[str, Provider]:
    """The configured providers. Raises `Misconfigured`."""
    configured: dict[str, dict[str, Any]] = {}
    for name, options in settings.ways_out.items():
        resolved = config.resolve(options)
        if options["type"] == "capture":
            resolved.setdefault("directory", str(settings.data_dir / "captured"))
        configured[name] = resolved
    return registry.build(configured)


async def serve(context: Context) -> None:
    """Deliver until `context.stop`, then finish what is in hand."""
    settings = context.settings
    providers = build_providers(settings)
    engine = Engine(context.database, providers, Routes(settings.default_route), settings.delivery)
    actors.declare(context.broker, engine.wake)
    worker = dramatiq.Worker(context.broker, worker_threads=_THREADS, worker_timeout=_IDLE)
    worker.queue_prefetch = _PREFETCH
    ending = threading.Event()
    bells = threading.Thread(target=context.broker.listen, args=(ending,), name="bells", daemon=True)
    bells.start()
    await asyncio.to_thread(worker.start)
    context.ready()
    try:
        await engine.run(context.stop, drain=DRAIN)
    finally:
        ending.set()
        context.broker.ring_all()
        await asyncio.to_thread(worker.stop, 5000)
        for provider in providers.values():
            await provider.aclose()
