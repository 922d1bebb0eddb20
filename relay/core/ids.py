"""Time-ordered 63-bit ids, made in the process without a system call beyond the clock.

Layout: 41 bits of milliseconds since 2024-01-01 UTC (lasts until 2093), then 22 bits that start at a random
value in each new millisecond and count up. Ids of one process always grow. Two processes pick the same id with
a chance of about one in a million for each millisecond in which both make several; the primary key refuses the
second and the writer gives that record a new id (see `relay.store.writer`).
"""

import random
import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
_EPOCH_MS = int(EPOCH.timestamp() * 1000)
_LOW_BITS = 22
MAX_ID = (1 << 63) - 1

_last = 0


def new_id() -> int:
    """The next id of this process. Call from one thread, or accept that two threads may race for a value."""
    global _last
    fresh = ((time.time_ns() // 1_000_000 - _EPOCH_MS) << _LOW_BITS) | random.getrandbits(_LOW_BITS - 1)
    # A clock set back, or a busy millisecond, must not break the order within the process.
    _last = fresh if fresh >> _LOW_BITS > _last >> _LOW_BITS else _last + 1
    return _last


def made_at(identifier: int) -> datetime:
    """When an id was made, to the millisecond (UTC)."""
    return EPOCH + timedelta(milliseconds=identifier >> _LOW_BITS)


def floor_at(moment: datetime) -> int:
    """The smallest id that can have been made at or after `moment`; negative for times before 2024."""
    elapsed = moment - EPOCH
    milliseconds, rest = divmod(elapsed, timedelta(milliseconds=1))
    return (milliseconds + (1 if rest else 0)) << _LOW_BITS
