"""Wake-ups through a real queue server: a producer's message reaches a worker's engine, and nothing depends on it."""

import threading
from collections.abc import Iterator

import dramatiq
import pytest

from relay.queue import RedisQueue, WakingBroker, connect
from workers import actors


class Woken:
    """What the actors passed on."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self._news = threading.Condition()

    def __call__(self, lane: str, ids: list[int]) -> None:
        with self._news:
            self.calls.append((lane, ids))
            self._news.notify_all()

    def wait(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.calls) >= count, 100), self.calls


@pytest.fixture
def woken(valkey_url: str) -> Iterator[Woken]:
    broker = WakingBroker(connect(valkey_url), namespace="test")
    heard = Woken()
    actors.declare(broker, heard)
    worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=1000)
    ending = threading.Event()
    bells = threading.Thread(target=broker.listen, args=(ending,))
    bells.start()
    worker.start()
    yield heard
    ending.set()
    worker.stop(5000)
    bells.join()
    broker.client.close()


@pytest.fixture
def queue(valkey_url: str) -> Iterator[RedisQueue]:
    broker = WakingBroker(connect(valkey_url), namespace="test")
    made = RedisQueue(broker)
    yield made
    made.close()
    broker.client.close()


def test_ids_arrive_on_their_lane_in_few_messages(woken: Woken, queue: RedisQueue) -> None:
    queue.deliver("normal", range(250))
    queue.deliver("urgent", [1])
    queue.deliver("bulk", [])
    woken.wait(5)
    seen = sorted(one for lane, ids in woken.calls if lane == "normal" for one in ids)
    assert seen == list(range(250))
    assert max(len(ids) for _, ids in woken.calls) <= 100
    assert ("urgent", [1]) in woken.calls
    assert ("bulk", []) in woken.calls


def test_a_dead_queue_server_neither_blocks_nor_raises(tmp_path) -> None:
    broker = WakingBroker(connect(f"unix://{tmp_path}/nobody.sock"), namespace="test")
    queue = RedisQueue(broker)
    for number in range(1000):
        queue.deliver("normal", [number])
    queue.close(timeout=0.5)


def test_delays_have_no_place_in_the_queue(valkey_url: str) -> None:
    broker = WakingBroker(connect(valkey_url), namespace="test")
    message = dramatiq.Message(queue_name="normal", actor_name="x", args=(), kwargs={}, options={})
    with pytest.raises(ValueError, match="record"):
        broker.enqueue(message, delay=1000)
    broker.client.close()
