"""What every process of ours shares: settings, the record, the queue, signals, a clean end."""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from relay import embedded, signing
from relay.capacity import Space
from relay.child import call_thread
from relay.config import Settings, secret
from relay.core.errors import Misconfigured
from relay.intake import Intake
from relay.observe import counts, facts, logs, traces
from relay.observe.sharing import Shared
from relay.policy import Authenticator, Streams, Suppressions
from relay.queue import RedisQueue, WakingBroker, connect
from relay.ratelimit import RateLimiter
from relay.signing import Signer
from relay.store import secrets
from relay.store.database import Database, open_database
from relay.tracking.edit import Editor

#: seconds for which the event loop may keep the interpreter from the thread that writes, and others from the lock
#: that this thread holds
_TURN = 0.001
#: objects after which garbage is looked for; what a mail leaves behind goes by itself
_COLLECT = 20_000
#: seconds a process may take to finish what it has in hand after it was told to stop
DRAIN = 25.0
#: seconds that a door with others beside it on its port goes on serving those who have just come to it
HANDOVER = 1.0


@dataclass(frozen=True, slots=True)
class Context:
    """What a role is given. It returns once `stop` is set and everything it had in hand is finished."""

    settings: Settings
    database: Database
    broker: WakingBroker
    queue: RedisQueue
    stop: asyncio.Event
    #: to be called once, when the role is able to work
    ready: Callable[[], None]
    #: the counts of the processes beside this one, where there are any
    shared: Shared | None = None

    def intake(self) -> Intake:
        space = Space(self.settings.data_dir, self.settings.min_free_space)
        settings = self.settings.tracking
        url = settings.url or self.settings.public_url
        editor = Editor(settings, url, Streams(self.database), self.secret)
        return Intake(self.database, self.queue, self._signer(), space, editor)

    def _signer(self) -> Signer:
        passphrase = secret(self.settings.dkim_passphrase.get_secret_value())
        return signing.load(self.settings.dkim, self.database, passphrase)

    def limiter(self) -> RateLimiter:
        return RateLimiter(
            queue_url(self.settings),
            per_second=self.settings.limits.sends_per_second,
            namespace=self.settings.queue.namespace,
        )

    async def secret(self) -> bytes:
        """The installation's own secret, which signs return paths and links; see `relay.core.seal`."""
        return await secrets.load(self.database)

    def authenticator(self) -> Authenticator:
        return Authenticator(self.database)

    def suppressions(self) -> Suppressions:
        return Suppressions(self.database)


Role = Callable[[Context], Awaitable[None]]


def queue_url(settings: Settings) -> str:
    """The configured queue server, or the embedded one of this data directory."""
    if not settings.embedded_queue:
        return settings.queue.url.get_secret_value()
    return f"unix://{embedded.socket_path(settings.data_dir)}"


def run(
    role: Role,
    name: str,
    settings: Settings,
    *,
    ready: Callable[[], None] = lambda: None,
    together: bool = False,
) -> int:
    """Run one role until SIGTERM or SIGINT; returns the exit code. Call from the main thread.

    `together` with others of this data directory, it shares its counts with them under its name; alone, it answers
    for them itself where `metrics.port` says so.
    """
    logs.configure(settings.log, role=name)
    call_thread(f"pb-{name}")
    gc.set_threshold(_COLLECT)
    # What is here now stays: it need not be looked at again, nor copied from the parent's memory for that.
    gc.freeze()
    sys.setswitchinterval(_TURN)
    counts.reset()
    try:
        traces.configure(settings.traces, name)
    except Misconfigured as error:
        facts.fault("start", error)
        return 2
    shared = Shared(counts_directory(settings), name) if together else None
    if shared is not None:
        shared.start()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(_main(role, settings, ready, shared))
        finally:
            traces.close()
            if shared is not None:
                shared.stop()


def counts_directory(settings: Settings) -> Path:
    """Where the processes of `pillarbox up` leave their counts for each other."""
    return settings.data_dir / "counts"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster loop where it is installed (the `fast` extra)."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


async def _main(role: Role, settings: Settings, ready: Callable[[], None], shared: Shared | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        # It asks for a reload; a role that has nothing to reload must not end.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stop, number)
    database = open_database(settings.database_url, pool_size=settings.database.pool_size)
    broker = WakingBroker(connect(queue_url(settings)), namespace=settings.queue.namespace)
    queue = RedisQueue(broker)
    try:
        if shared is None and settings.metrics.port:
            _answer_for_counts(settings)
        await role(Context(settings, database, broker, queue, stop, ready, shared))
    except Misconfigured as error:
        facts.fault("start", error)
        return 2
    except OSError as error:
        facts.fault("start", error)
        return 1
    finally:
        await asyncio.to_thread(queue.close)
        with contextlib.suppress(Exception):
            broker.client.close()
        await database.close()
        facts.stopped()
    return 0


def _answer_for_counts(settings: Settings) -> None:
    from relay.observe import exposition

    host, port = settings.metrics.host, settings.metrics.port
    try:
        exposition.serve(host, port)
    except OSError as error:
        raise Misconfigured(f"metrics.port: {host}:{port} cannot be listened on: {error.strerror}") from None


def _stop(stop: asyncio.Event, number: int) -> None:
    if not stop.is_set():
        facts.stopping(signal.Signals(number).name)
        stop.set()
