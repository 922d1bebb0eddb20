"""Asking for work: Dramatiq messages on Redis or Valkey, as wake-ups only.

A message says "these mails are due" or "look at this lane". Losing one costs the time until the clock asks again;
the record alone decides what is sent. Nothing is ever delayed or retried here.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from redis.backoff import NoBackoff
from redis.retry import Retry

from relay.child import call_thread
from relay.core.status import Lane
from relay.observe import facts

#: ids in one message; 20 to 100 move ten to thirty times as many ids a second as one does
_IDS_PER_MESSAGE = 100
#: ids kept for sending while the queue server is away; beyond it the clock finds the mail
_MAX_PENDING = 100_000
#: seconds without contact after which a consumer's unacknowledged messages are given to another
_HEARTBEAT = 15_000

#: seconds between two wake-ups of one process at least; a message costs the same whether it names one mail or a
#: hundred, and the first one after a pause goes at once
_LINGER = 0.05

DELIVER = "deliver"
LANES: tuple[str, ...] = tuple(lane.value for lane in Lane)


class Queue(Protocol):
    """What the doors and the clock need of the queue."""

    def deliver(self, lane: str, ids: Sequence[int]) -> None:
        """Ask for delivery of these messages; without ids, ask a worker to look at the lane. Never blocks."""
        ...


def connect(url: str) -> redis.Redis:
    """A client that fails at once rather than holding up its caller; retries are made by those who can wait.

    `unix:///path`, `redis://`, `rediss://` and `valkey://` are understood.
    """
    pool = redis.ConnectionPool.from_url(
        url.replace("valkey://", "redis://", 1),
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=2,
        socket_timeout=5,
        health_check_interval=30,
    )
    return redis.Redis(connection_pool=pool)


def answers(url: str) -> bool:
    """Whether the queue server answers now; takes up to two seconds to find out that it does not."""
    client = connect(url)
    try:
        client.ping()
    except (redis.RedisError, OSError):
        return False
    finally:
        client.close()
    return True


class WakingBroker(RedisBroker):
    """A RedisBroker whose idle consumers sleep until a producer rings, instead of polling.

    The stock consumer polls with growing pauses of up to a second. Here each enqueue also publishes on a channel
    that one listening thread per worker process waits on, so that a wake-up arrives within a millisecond and an
    idle worker asks once a second per queue.
    """

    def __init__(self, client: redis.Redis, *, namespace: str) -> None:
        # Dramatiq's own recovery of messages held by a dead worker is a matter of chance; make it certain.
        super().__init__(
            middleware=[],
            client=client,
            namespace=f"{namespace}:queue",
            maintenance_chance=1_000_000,
            heartbeat_timeout=_HEARTBEAT,
        )
        self.channel = f"{namespace}:wake"
        self.bells: dict[str, threading.Event] = {}

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue without its delay queue, which would cost every worker another polling thread."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        if delay is not None:
            raise ValueError("due times are kept in the record, not in the queue")
        enqueued = super().enqueue(message)
        self.client.publish(self.channel, message.queue_name)
        return enqueued

    @property
    def consumer_class(self) -> type[_RedisConsumer]:
        return _BellConsumer

    def listen(self, stopping: threading.Event) -> None:
        """Ring the bells of waiting consumers as producers ask; returns once `stopping` is set."""
        while not stopping.is_set():
            try:
                with self.client.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(self.channel)
                    self.ring_all()
                    while not stopping.is_set():
                        heard = channel.get_message(timeout=1.0)
                        if heard is not None:
                            bell = self.bells.get(heard["data"].decode())
                            if bell is not None:
                                bell.set()
            except (redis.RedisError, OSError):
                stopping.wait(1.0)

    def ring_all(self) -> None:
        """Let every waiting consumer look at its queue now."""
        for bell in list(self.bells.values()):
            bell.set()


class _BellConsumer(_RedisConsumer):
    """Waits for its bell where the parent would sleep."""

    def __init__(self, broker: WakingBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)
        self._bell = broker.bells.setdefault(queue_name, threading.Event())

    def __next__(self) -> Any:
        try:
            if not self.message_cache and self.outstanding_message_count < self.prefetch:
                self._bell.clear()
                self.message_cache = self.broker.do_fetch(
                    self.queue_name, self.prefetch - self.outstanding_message_count
                )
                if not self.message_cache:
                    self._bell.wait(self.timeout / 1000)
                    return None
        except redis.RedisError as error:
            raise dramatiq.errors.ConnectionClosed(error) from None
        if not self.message_cache:
            # The window is full: the workers are busy with what this consumer fetched.
            time.sleep(0.005)
            return None
        return super().__next__()


class RedisQueue:
    """Sends wake-ups from a thread of its own, so that a slow or absent server never holds up a door."""

    def __init__(self, broker: dramatiq.Broker) -> None:
        self._broker = broker
        self._pending: dict[str, list[int]] = {}
        self._nudges: set[str] = set()
        self._count = 0
        self._ready = threading.Condition()
        self._idle = False
        self._hurry = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="queue", daemon=True)
        self._thread.start()

    def deliver(self, lane: str, ids: Sequence[int]) -> None:
        with self._ready:
            if not ids or self._count > _MAX_PENDING:
                self._nudges.add(lane)
            else:
                self._pending.setdefault(lane, []).extend(ids)
                self._count += len(ids)
            if lane == Lane.URGENT:
                self._hurry = True
            if self._idle or self._hurry:
                self._ready.notify()

    def close(self, timeout: float = 5) -> None:
        """Send what is waiting, for at most `timeout` seconds."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        call_thread("wake-ups")
        sent = 0.0
        while True:
            with self._ready:
                self._gather(sent + _LINGER)
                if self._closing and not self._pending and not self._nudges:
                    return
                pending, self._pending = self._pending, {}
                nudges, self._nudges = self._nudges, set()
                count, self._count = self._count, 0
                self._hurry = False
            sent = time.monotonic()
            try:
                for lane, ids in pending.items():
                    for start in range(0, len(ids), _IDS_PER_MESSAGE):
                        self._send(lane, ids[start : start + _IDS_PER_MESSAGE])
                for lane in nudges - pending.keys():
                    self._send(lane, [])
            except (redis.RedisError, dramatiq.errors.BrokerError, OSError) as error:
                facts.wake_up_lost(count, error)
                time.sleep(0.2)

    def _gather(self, until: float) -> None:
        """Wait for something to send, and, unless it is urgent, for company until that time."""
        self._idle = True
        while not (self._pending or self._nudges or self._closing):
            self._ready.wait()
        self._idle = False
        while not (self._hurry or self._closing) and (left := until - time.monotonic()) > 0:
            self._ready.wait(left)

    def _send(self, lane: str, ids: Sequence[int]) -> None:
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=lane, actor_name=f"{DELIVER}_{lane}", args=(list(ids),), kwargs={}, options={}
        )
        self._broker.enqueue(message)


class NoQueue:
    """Asks nobody: the workers' own look at the record finds everything. For tools that only write a little."""

    def deliver(self, lane: str, ids: Sequence[int]) -> None:
        pass
