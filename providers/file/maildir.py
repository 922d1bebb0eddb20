"""Delivery into a Maildir: written in `tmp`, moved to `new`, so that a reader never sees half a mail."""

import itertools
import os
import socket
import time
from pathlib import Path

from relay.core.provider import Outgoing

_serial = itertools.count()


class Maildir:
    """Methods raise OSError."""

    def __init__(self, directory: str, *, envelope: bool, sync: bool) -> None:
        self.path = Path(directory)
        self._envelope = envelope
        self._sync = sync
        self._host = socket.gethostname().replace("/", r"\057").replace(":", r"\072")

    def prepare(self) -> None:
        for name in ("tmp", "new", "cur"):
            (self.path / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def deliver(self, mail: Outgoing) -> str:
        """Returns the file's name, which names the mail for good."""
        now = time.time_ns()
        name = f"{now // 10**9}.M{now // 1000 % 10**6}P{os.getpid()}Q{next(_serial)}.{self._host}"
        temporary = self.path / "tmp" / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            descriptor = os.open(temporary, flags, 0o600)
        except FileNotFoundError:
            self.prepare()
            descriptor = os.open(temporary, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if self._envelope:
                    file.write(_head(mail))
                file.write(mail.raw)
                if self._sync:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.rename(self.path / "new" / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if self._sync:
            self._sync_directory()
        return name

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path / "new", os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _head(mail: Outgoing) -> bytes:
    lines = [f"Return-Path: <{mail.sender}>\r\n"]
    lines += [f"Delivered-To: {one.address}\r\n" for one in mail.recipients]
    return "".join(lines).encode()
