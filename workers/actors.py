"""What Dramatiq calls. An actor only passes its wake-up on, so a worker thread is never busy for long."""

from collections.abc import Callable, Sequence

import dramatiq

from relay.core.status import MAIL_LANES, Lane
from relay.queue import DELIVER


def declare(broker: dramatiq.Broker, wake: Callable[[str, Sequence[int]], None]) -> None:
    """Declare one actor per lane on `broker`; nothing is global and import order does not matter."""
    for priority, lane in enumerate(MAIL_LANES):
        declared = dramatiq.actor(
            actor_name=f"{DELIVER}_{lane.value}", queue_name=lane.value, priority=priority, broker=broker
        )
        declared(_deliver(wake, lane.value))


def declare_events(broker: dramatiq.Broker, wake: Callable[[], None]) -> None:
    """Declare the actor that says that something was told of mail."""
    lane = Lane.EVENTS.value

    def look(_ids: list[int]) -> None:
        wake()

    declared = dramatiq.actor(
        actor_name=f"{DELIVER}_{lane}", queue_name=lane, priority=len(MAIL_LANES), broker=broker
    )
    declared(look)


def _deliver(wake: Callable[[str, Sequence[int]], None], lane: str) -> Callable[[list[int]], None]:
    def deliver(ids: list[int]) -> None:
        wake(lane, ids)

    return deliver
