"""When a deferred recipient is tried again, and when we give up."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_MINUTE = 60.0
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Delays between tries, in seconds; the last one repeats until the mail is `give_up_after` old.

    The defaults suit transactional mail: codes and receipts are worth nothing tomorrow, so the first tries are
    close together and the last is a day after acceptance.
    """

    delays: Sequence[float] = (
        30,
        2 * _MINUTE,
        5 * _MINUTE,
        10 * _MINUTE,
        20 * _MINUTE,
        40 * _MINUTE,
        1 * _HOUR,
        2 * _HOUR,
        4 * _HOUR,
        8 * _HOUR,
    )
    give_up_after: float = 24 * _HOUR
    #: Each delay is stretched or shrunk by up to this share, so that deferred mail does not return in one wave.
    jitter: float = 0.2

    def next_due(self, *, attempts: int, accepted_at: datetime, now: datetime) -> datetime | None:
        """When to try again after `attempts` tries, or None when it is time to give up.

        The last try falls on the end of the allowed time rather than beyond it.
        """
        end = accepted_at + timedelta(seconds=self.give_up_after)
        if now >= end:
            return None
        delay = self.delays[min(attempts, len(self.delays)) - 1] if attempts > 0 else 0.0
        delay *= 1 + random.uniform(-self.jitter, self.jitter)
        return min(now + timedelta(seconds=delay), end)
