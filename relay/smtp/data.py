"""The octets after DATA: found, cleaned and kept, in memory that does not grow with the mail.

Only CRLF.CRLF ends them. Lines that end in a bare LF are taken as lines and become CRLF, because the commonest
Python snippet sends them so; a bare CR becomes a blank, so that it cannot open a line further on.
"""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from relay.core import mime
from relay.core.errors import BadMessage, Full, RelayError, TooLarge, Unavailable
from relay.core.message import MemoryTail, Tail

#: octets that have to be waiting before a part of a mail is taken out of the connection's buffer
_BLOCK = 64 * 1024
#: octets of the longest line that is passed on as it is
MAX_LINE = 100_000

# The look-behinds keep a long run of CR from being tried again at each of its octets.
_STUFFED_AFTER_LF = re.compile(rb"(?<!\r)\n\.\.")
_CR_RUN = re.compile(rb"(?<!\r)\r+\n")


@dataclass(frozen=True, slots=True)
class Limits:
    """Octets; and the directory of spool files."""

    size: int
    header: int
    memory: int
    spool: Path
    #: of a mail after its header block that are kept, the rest being dropped; None means all
    keep: int | None = None


@dataclass(slots=True)
class Content:
    """A mail as received: the header block with its blank line (if it has one), and the rest."""

    head: bytes
    tail: Tail
    eight_bit: bool


class SpoolTail:
    """A tail in a file that has no name, so that it is gone when this process is."""

    __slots__ = ("_file", "size")

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size

    def chunks(self, size: int) -> Iterator[bytes]:
        # pread: the writer's thread reads while the connection's thread may close.
        descriptor = self._file.fileno()
        for start in range(0, self.size, size):
            yield os.pread(descriptor, size, start)

    def close(self) -> None:
        self._file.close()


class Reader:
    """Keeps one mail as it arrives, and what is wrong with it. How its octets arrive is the subclasses' business."""

    __slots__ = (
        "_eight_bit",
        "_error",
        "_file",
        "_first",
        "_head",
        "_held",
        "_limits",
        "_opened",
        "_parts",
        "_size",
        "_split",
        "received",
    )

    #: whether leading dots are doubled on the wire
    _stuffed = True

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._first = True
        self._opened = False
        #: octets that have arrived, kept or not
        self.received = 0
        self._size = 0
        self._head = b""
        self._split = False
        self._parts: list[bytes] = []
        self._held = 0
        self._file: IO[bytes] | None = None
        self._error: RelayError | None = None
        self._eight_bit = False

    @property
    def overrun(self) -> bool:
        """The mail was refused and so much more of it arrives that hanging up is kinder to both sides."""
        return self._error is not None and self.received > 2 * self._limits.size + _BLOCK

    def content(self) -> Content:
        """The mail; its tail belongs to the caller. Raises the `Refused` or `Unavailable` that befell it."""
        if self._error is not None:
            raise self._error
        if self._file is None:
            return Content(self._head, MemoryTail(b"".join(self._parts)), self._eight_bit)
        return Content(self._head, SpoolTail(self._file, self._held), self._eight_bit)

    def close(self) -> None:
        """Let go of what was kept; for a mail whose end never came."""
        self._parts.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take_some(self, buffer: bytearray) -> None:
        """Take all but the line that is still arriving and the line end before it."""
        end = buffer.rfind(b"\n")
        cut = len(bytes(memoryview(buffer)[:end]).rstrip(b"\r"))
        if cut:
            block = bytes(memoryview(buffer)[:cut])
            del buffer[:cut]
            self._take(block, last=False)
        if len(buffer) > MAX_LINE + 2:
            self._refuse(BadMessage(f"A line is longer than {MAX_LINE} octets."))

    def _take(self, block: bytes, *, last: bool) -> None:
        if self._error is not None:
            return
        if len(block) > MAX_LINE and _has_endless_line(block):
            self._refuse(BadMessage(f"A line is longer than {MAX_LINE} octets."))
            return
        block = clean(block, stuffed=self._stuffed)
        if self._first:
            self._first = False
            block = block[2:]
        self._size += len(block)
        if b"\0" in block:
            self._refuse(BadMessage("The message has a NUL octet."))
        elif self._size > self._limits.size:
            self._refuse(TooLarge())
        else:
            if not self._eight_bit and not block.isascii():
                self._eight_bit = True
            if not self._split:
                block = self._take_head(block, last=last)
            if block and self._error is None:
                self._keep(block)

    def _take_head(self, block: bytes, *, last: bool) -> bytes:
        """Move what belongs to the header block there; returns the rest."""
        data = self._head + block if self._head else block
        if not self._opened:
            if not last and b"\n" not in data:
                # The first line is there, but not yet its end, which belongs to the next block.
                self._head = data
                return b""
            self._opened = True
            data = data[mime.mailbox_line(data) :]
        end = mime.split_head(data)
        if end > self._limits.header:
            self._refuse(TooLarge("The header block is larger than this server takes."))
            return b""
        self._head = data[:end]
        self._split = last or end < len(data) or data.endswith(b"\r\n\r\n")
        return data[end:]

    def _keep(self, block: bytes) -> None:
        if self._limits.keep is not None:
            block = block[: max(0, self._limits.keep - self._held)]
        self._parts.append(block)
        self._held += len(block)
        if self._file is None and self._held <= self._limits.memory:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._limits.spool, buffering=0)  # noqa: SIM115 - the tail closes it
            for part in self._parts:
                _write(self._file, part)
        except OSError as error:
            self._refuse(Full() if error.errno in {errno.ENOSPC, errno.EDQUOT} else Unavailable())
            self._error.__cause__ = error  # type: ignore[union-attr]
        self._parts.clear()

    def _refuse(self, error: RelayError) -> None:
        self._error = error
        self._head = b""
        self.close()


class DataReader(Reader):
    """Takes one mail out of a connection's buffer, after DATA.

    Call `feed` with the buffer whenever octets were added to it, until it returns true; then `content`.
    """

    __slots__ = ("_begun", "_scanned")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._begun = False
        self._scanned = 0

    def feed(self, buffer: bytearray) -> bool:
        """Take what can be taken; true once the end of data was found and removed. What follows it stays."""
        if not self._begun:
            # The line end of the DATA command opens the first line: a mail of "." alone is an empty one. From
            # here on every block that is taken begins with the line end before it.
            buffer[:0] = b"\r\n"
            self._begun = True
        end = buffer.find(b"\r\n.\r\n", self._scanned)
        if end >= 0:
            self._take(bytes(memoryview(buffer)[: end + 2]), last=True)
            del buffer[: end + 5]
            return True
        if self._error is not None:
            self.received += max(0, len(buffer) - 4)
            del buffer[:-4]
        elif len(buffer) >= _BLOCK:
            before = len(buffer)
            self._take_some(buffer)
            self.received += before - len(buffer)
        self._scanned = max(0, len(buffer) - 4)
        return False


class ChunkReader(Reader):
    """Puts one mail together from the chunks of BDAT (RFC 3030), whose octets are counted and not stuffed."""

    __slots__ = ("_lines",)

    _stuffed = False

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        # Every block begins with the line end before it.
        self._lines = bytearray(b"\r\n")

    def add(self, octets: bytes) -> None:
        self.received += len(octets)
        if self._error is not None:
            return
        self._lines += octets
        if len(self._lines) >= _BLOCK:
            self._take_some(self._lines)

    def finish(self) -> None:
        """The last chunk is there. A mail ends with a line end, which BDAT does not make its client send."""
        if not self._lines.endswith(b"\n"):
            self._lines += b"\r\n"
        self._take(bytes(self._lines), last=True)


def clean(block: bytes, *, stuffed: bool = True) -> bytes:
    """Dots unstuffed and line ends made CRLF, in a block that begins with the line end before it.

    After CRLF a leading dot goes, as RFC 5321 4.5.2 has it. After a bare LF only one of two dots does: clients that
    stuff there (smtplib) never send one alone, and those that do not mean the dot.
    """
    if not mime.has_bare_ends(block):
        return block.replace(b"\r\n.", b"\r\n") if stuffed and mime.has_dotted_line(block) else block
    if stuffed:
        block = _STUFFED_AFTER_LF.sub(b"\n.", block.replace(b"\r\n.", b"\r\n"))
    return _CR_RUN.sub(b"\n", block).replace(b"\r", b" ").replace(b"\n", b"\r\n")


def _has_endless_line(block: bytes) -> bool:
    position = 0
    while position + MAX_LINE < len(block):
        found = block.rfind(b"\n", position, position + MAX_LINE + 2)
        if found < position:
            return True
        position = found + 1
    return False


def _write(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
