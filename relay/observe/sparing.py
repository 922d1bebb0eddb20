"""Log lines that a client can cause at will: enough of them to see what happens, and a count of the rest."""

import time
from collections.abc import Callable

#: lines of one client in one period, and of all clients together
_EACH = 10
_ALL = 200
_PERIOD = 10.0  # seconds


class Sparing:
    """Decides which lines are written; `report(hidden, clients)` is called when a period with hidden ones is over."""

    def __init__(
        self, report: Callable[[int, int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._clock = clock
        self._since = clock()
        self._lines: dict[str, int] = {}
        self._written = 0
        self._hidden = 0

    def allows(self, client: str) -> bool:
        now = self._clock()
        if now - self._since >= _PERIOD:
            if self._hidden:
                self._report(self._hidden, sum(count > _EACH for count in self._lines.values()))
            self._since = now
            self._lines.clear()
            self._written = self._hidden = 0
        count = self._lines.get(client, 0) + 1
        self._lines[client] = count
        if count > _EACH or self._written >= _ALL:
            self._hidden += 1
            return False
        self._written += 1
        return True
