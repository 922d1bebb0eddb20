"""Where a request's bytes lie while it is read: in memory at first, beyond a bound in a file without a name."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from relay.core.errors import Full, Unavailable
from relay.core.filetype import OPENING


class Spool:
    """The bytes of one request, one after the other. Everything cut from it ends with `close`."""

    __slots__ = ("_directory", "_file", "_held", "_memory", "size")

    def __init__(self, directory: Path, memory: int) -> None:
        """At most `memory` octets are held; what comes after goes to a file in `directory`."""
        self._directory = directory
        self._memory = memory
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        """Raises `Full` when the disk is, `Unavailable` when it fails otherwise."""
        self.size += len(data)
        if self._file is None:
            self._held += data
            if len(self._held) <= self._memory:
                return
        try:
            if self._file is None:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - see close
                data, self._held = bytes(self._held), bytearray()
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise Full if error.errno in {errno.ENOSPC, errno.EDQUOT} else Unavailable from error

    def read(self, start: int, length: int) -> bytes:
        """May be called from any thread."""
        if self._file is None:
            return bytes(memoryview(self._held)[start : start + length])
        return os.pread(self._file.fileno(), length, start)

    def close(self) -> None:
        self._held = bytearray()
        if self._file is not None:
            self._file.close()


class Slice:
    """Part of a spool, as `relay.core.message.Tail` has it."""

    __slots__ = ("_spool", "_start", "size")

    def __init__(self, spool: Spool, start: int, size: int) -> None:
        self._spool = spool
        self._start = start
        self.size = size

    def chunks(self, size: int) -> Iterator[bytes]:
        for done in range(0, self.size, size):
            yield self._spool.read(self._start + done, min(size, self.size - done))

    def whole(self) -> bytes:
        return self._spool.read(self._start, self.size)

    def close(self) -> None:
        self._spool.close()


class Upload:
    """A file as it arrives. Of one larger than `most` octets only the size is kept."""

    __slots__ = ("_digest", "_most", "_spool", "_start", "name", "opening", "size")

    def __init__(self, spool: Spool, name: str, most: int) -> None:
        self._spool = spool
        self._start = spool.size
        self._most = most
        self._digest = hashlib.md5(usedforsecurity=False)
        self.name = name
        self.size = 0
        self.opening = b""

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._most:
            return
        if len(self.opening) < OPENING:
            self.opening += data[: OPENING - len(self.opening)]
        self._digest.update(data)
        self._spool.write(data)

    @property
    def md5(self) -> str:
        return self._digest.hexdigest()

    @property
    def content(self) -> Slice:
        return Slice(self._spool, self._start, self.size)
