"""Captured mail on disk: one file each, in a folder that any mail reader understands.

A file begins with one header field of ours, folded, with the envelope as JSON; the mail's own bytes follow. It is
written under `tmp/` and renamed to `new/`, as in a maildir, so that no reader meets half a mail. Names sort by time.
"""

import contextlib
import errno
import itertools
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.core.provider import Outgoing

_FIELD = b"X-Pillarbox-Envelope:"
_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]+-[0-9a-f]+\.eml\Z")
_HEAD = 128 * 1024  # holds the envelope of as many recipients as one mail may have here


class NotCaptured(LookupError):
    """There is no captured mail by that id."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One captured mail's envelope. `id` names the file; `size` is the mail's own, in octets."""

    id: str
    message_id: int
    sender: str
    recipients: tuple[str, ...]
    at: float  #: seconds since 1970
    size: int
    smtputf8: bool
    tag: str | None
    #: the header block as it came; what a list shows is in it
    head: bytes


class Folder:
    """Reads and writes one folder of captured mail; blocking, for threads. Processes may share the folder.

    At most `keep` mails stay, the newest ones. Old ones are removed in steps of a tenth of that, so each process
    that writes may let the number grow by a tenth.
    """

    def __init__(self, directory: str | os.PathLike[str], keep: int) -> None:
        self._new = Path(directory) / "new"
        self._tmp = Path(directory) / "tmp"
        self._keep = keep
        self._count = itertools.count()
        self._until_prune = 0
        self._ready = False

    def write(self, mails: Sequence[Outgoing], *, sync: bool) -> list[str | OSError]:
        """Store the mails; returns an id, or what went wrong, for each.

        With `sync` they are on the disk when this returns, at the price of one flush for each.
        """
        done: list[str | OSError] = []
        for mail in mails:
            try:
                done.append(self._write(mail, sync=sync))
            except OSError as error:
                done.append(error)
        if sync:
            try:
                _flush_directory(self._new)
            except OSError as error:
                return [error] * len(done)
        self._until_prune -= len(done)
        if self._until_prune <= 0:
            # Mail that is stored is not refused for what tidying up ran into.
            with contextlib.suppress(OSError):
                self._prune()
            self._until_prune = max(1, self._keep // 10)
        return done

    def prepare(self) -> None:
        """Make the folder, private as mail is; raises `OSError` if it cannot be written to."""
        for directory in (self._new, self._tmp):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def entries(self, *, limit: int = 100, before: str | None = None) -> list[Captured]:
        """The newest first; `before` is the id to go on from."""
        found: list[Captured] = []
        names = sorted(self._names(), reverse=True)
        for name in names:
            if before is not None and name >= f"{before}.eml":
                continue
            if len(found) == limit:
                break
            try:
                with (self._new / name).open("rb") as file:
                    found.append(_captured(name, file.read(_HEAD), os.fstat(file.fileno()).st_size))
            except (FileNotFoundError, ValueError):  # pruned meanwhile, or cut short by a power cut
                continue
        return found

    def read(self, identifier: str) -> tuple[Captured, bytes]:
        """One mail's envelope and its bytes as they were sent; raises `NotCaptured`."""
        name = f"{identifier}.eml"
        if not _NAME.match(name):
            raise NotCaptured(identifier)
        try:
            data = (self._new / name).read_bytes()
            return _captured(name, data[:_HEAD], len(data)), data[_envelope_end(data) :]
        except (FileNotFoundError, ValueError):
            raise NotCaptured(identifier) from None

    def clear(self) -> None:
        """Remove every captured mail."""
        for name in self._names():
            (self._new / name).unlink(missing_ok=True)

    def _write(self, mail: Outgoing, *, sync: bool) -> str:
        identifier = f"{time.time_ns():016x}-{os.getpid():x}-{next(self._count):x}"
        if not self._ready:
            self.prepare()
            self._ready = True
        path = self._tmp / f"{identifier}.eml"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                _write_all(descriptor, _envelope(mail) + mail.raw)
                if sync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            path.rename(self._new / path.name)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return identifier

    def _prune(self) -> None:
        for name in sorted(self._names(), reverse=True)[self._keep :]:
            (self._new / name).unlink(missing_ok=True)

    def _names(self) -> Iterator[str]:
        try:
            with os.scandir(self._new) as entries:
                for entry in entries:
                    if _NAME.match(entry.name):
                        yield entry.name
        except FileNotFoundError:
            return


def _envelope(mail: Outgoing) -> bytes:
    fields: dict[str, Any] = {
        "message_id": mail.message_id,
        "sender": mail.sender,
        "recipients": [one.address for one in mail.recipients],
        "at": round(time.time(), 3),
        "smtputf8": mail.smtputf8,
        "tag": mail.tag,
    }
    # Each value on a line of its own keeps hundreds of recipients within the length of a header line.
    lines = json.dumps(fields, indent=1).split("\n")
    return _FIELD + b" " + "\r\n ".join(lines).encode("ascii") + b"\r\n"


def _envelope_end(data: bytes) -> int:
    """Where the folded field ends, which is at the brace that closes it, and the mail begins."""
    return data.index(b"\r\n }\r\n") + 6


def _captured(name: str, data: bytes, size: int) -> Captured:
    start = _envelope_end(data)
    fields = json.loads(data[len(_FIELD) : start])
    head, _, _ = data[start:].partition(b"\r\n\r\n")
    return Captured(
        id=name.removesuffix(".eml"),
        message_id=fields["message_id"],
        sender=fields["sender"],
        recipients=tuple(fields["recipients"]),
        at=fields["at"],
        size=size - start,
        smtputf8=fields["smtputf8"],
        tag=fields["tag"],
        head=head,
    )


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
