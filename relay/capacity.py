"""Room for more mail: whether the disk that mail is kept on has space left."""

import contextlib
import os
import time
from pathlib import Path

from relay.core.errors import Full

#: seconds for which a look at the disk counts
_FRESH = 1.0


class Space:
    """Watches the disk of one directory. Both doors ask before they take a mail.

    A look costs a system call and is made once a second at most, however often one asks.
    """

    def __init__(self, directory: Path, minimum: int) -> None:
        """`minimum` is in octets; 0 takes mail until the disk is full."""
        self._directory = directory
        self._minimum = minimum
        self._looked = 0.0
        self._full = False

    @property
    def full(self) -> bool:
        """Whether less than the minimum is free now."""
        moment = time.monotonic()
        if self._minimum and moment - self._looked >= _FRESH:
            self._looked = moment
            # A directory that cannot be looked at is found out by whoever writes there.
            with contextlib.suppress(OSError):
                disk = os.statvfs(self._directory)
                self._full = disk.f_bavail * disk.f_frsize < self._minimum
        return self._full

    def check(self) -> None:
        """Raises `Full` while less than the minimum is free."""
        if self.full:
            raise Full
