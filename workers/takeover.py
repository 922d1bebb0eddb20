"""Takes back what vanished workers hold. A worker that could not renew its claims is not a vanished one.

Claims run out by the clock on the wall. When that jumps, or when the record was out of reach, they run out although
their workers are alive, with results in hand that they will record in a moment. So nothing is taken back before the
record has been in reach, and the clock steady, for as long as a lease lasts.
"""

import math
import time
from datetime import timedelta

from relay.core.clock import now
from relay.observe import facts
from relay.process import Context
from relay.store import recovery, setback

#: seconds by which the clock may differ from the time that has passed without anything being done about it
_STEADY = 3.0
#: seconds for which the record may be out of reach
_REACH = 5.0
#: seconds after a jump in which what was reckoned before it may still be written
_LATE = 30.0
#: seconds after which whoever leads has seen to a jump
_SEEN_TO = 20.0


class Takeover:
    """One per clock process; `note` at every tick that reached the record, `run` at those of the leader."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings.delivery
        self._passed, self._wall = time.monotonic(), now()
        #: monotonic time before which nothing is taken back
        self._not_before = -math.inf
        #: by how much the clock was put back, where the record does not know yet, and when
        self._behind, self._jumped = timedelta(), -math.inf
        #: by how much it was, for late-comers, and monotonic time until which they may come
        self._late, self._late_until = timedelta(), -math.inf

    def note(self) -> None:
        """Compare the clock with the time that has passed since the last call."""
        passed, wall = time.monotonic(), now()
        since = passed - self._passed
        jump = (wall - self._wall).total_seconds() - since
        self._passed, self._wall = passed, wall
        if abs(jump) > _STEADY:
            facts.clock_jumped(jump)
            if jump < 0:
                self._behind += timedelta(seconds=-jump)
                self._jumped = passed
        if abs(jump) > _STEADY or since > max(_REACH, self._settings.lease / 2):
            self._not_before = passed + self._settings.lease

    def follow(self) -> None:
        """Another one leads. What it has seen to is not to be done again by whoever leads next."""
        if self._passed > self._jumped + _SEEN_TO:
            self._behind = timedelta()

    async def _set_back(self) -> None:
        database = self._context.database
        if self._behind:
            await database.write(setback.set_back, self._behind, now=now())
            self._late, self._behind = self._behind, timedelta()
            self._late_until = time.monotonic() + max(_LATE, self._settings.lease)
        elif time.monotonic() < self._late_until:
            await database.write(setback.late_comers, self._late, now=now(), lease=self._settings.lease)

    async def run(self) -> None:
        """Put expired claims back into the queue. Raises `Unavailable`."""
        database = self._context.database
        await self._set_back()
        if time.monotonic() < self._not_before:
            return
        moment = now()
        if not await database.read(recovery.any_expired, now=moment):
            return
        settings = self._settings
        for one in await database.write(
            recovery.recover,
            now=moment,
            poison_after=settings.poison_after,
            lease=settings.lease,
            # Whoever waits longer for the record than this may not be the only one who had to.
            by=time.monotonic() + _STEADY,
        ):
            if one.parked:
                facts.parked(one.message_id, one.id, f"{one.crashes} workers vanished with it in hand")
            else:
                facts.recovered(one.message_id, one.id, one.crashes)
