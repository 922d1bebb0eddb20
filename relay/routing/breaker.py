"""When to stop asking a provider. Pure, but for the counts it keeps.

A circuit is about the provider: lost connections, refused credentials, failures of its own. What a recipient's
server says (greylisting, a full mailbox) passes through a provider that is perfectly well.
"""

import re
from dataclasses import dataclass

from relay.core.provider import Outcome, OutcomeKind

#: enhanced codes (RFC 3463) about the way there and the system itself: 4.3.x system, 4.4.x network and routing
_SYSTEM = re.compile(r"[45]\.[34]\.")
#: 421 closes the line (RFC 5321 3.8), 454 is a failed sign-in of no fault of ours (RFC 4954 6)
_CODES = frozenset({421, 454})


def is_fault(outcome: Outcome) -> bool:
    """Whether an outcome speaks against the provider."""
    if outcome.kind in {OutcomeKind.CONFIG, OutcomeKind.AMBIGUOUS}:
        return True
    if outcome.kind is not OutcomeKind.RETRY:
        return False
    reply = outcome.reply
    return reply.code in _CODES or (reply.enhanced is not None and bool(_SYSTEM.match(reply.enhanced)))


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much of it to take."""

    #: faults in a row, without one good answer between them and within `window` seconds
    failures: int = 5
    window: float = 30.0
    #: seconds before the first probe, and what it grows to by doubling
    pause: float = 5.0
    longest_pause: float = 30.0

    @property
    def pauses(self) -> tuple[float, ...]:
        """Seconds that the circuit stays open the first, second … time in a row."""
        found = [self.pause]
        while found[-1] < self.longest_pause:
            found.append(min(found[-1] * 2, self.longest_pause))
        return tuple(found)


#: faults in one window that, being half of all answers, open the circuit although good answers come between them
_MANY = 20


class Breaker:
    """One worker's count of a provider's answers."""

    __slots__ = ("_answers", "_faults", "_first", "_started", "_streak", "tolerance")

    def __init__(self, tolerance: Tolerance) -> None:
        self.tolerance = tolerance
        self._streak = 0
        self._first = 0.0
        self._started = 0.0
        self._answers = self._faults = 0

    def report(self, *, fault: bool, at: float) -> bool:
        """Count an answer at `at` (seconds, monotonic); returns whether the circuit should open."""
        if at - self._started > self.tolerance.window:
            self._started, self._answers, self._faults = at, 0, 0
        self._answers += 1
        if not fault:
            self._streak = 0
            return False
        self._faults += 1
        if not self._streak or at - self._first > self.tolerance.window:
            self._streak, self._first = 0, at
        self._streak += 1
        return self._streak >= self.tolerance.failures or (
            self._faults >= _MANY and 2 * self._faults >= self._answers
        )

    def reset(self) -> None:
        self._streak = self._answers = self._faults = 0
