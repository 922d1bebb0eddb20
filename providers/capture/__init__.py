"""The `capture` provider: mail is kept on this machine to be looked at, and goes nowhere."""

import asyncio
import errno
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from providers.capture.folder import Captured, Folder, NotCaptured
from providers.options import Options
from relay.core.provider import (
    Capabilities,
    Outcome,
    OutcomeKind,
    Outgoing,
    ProviderProblem,
    Receipt,
)
from relay.core.reply import Reply

__all__ = ["Capture", "Captured", "Folder", "NotCaptured"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_BARRED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


class Capture:
    """Options: `directory` (made when missing), `keep` (the newest so many mails stay, 1000), `sync` (false).

    Without `sync` a captured mail survives the end of the process but perhaps not a power cut: the mail itself
    is in the record, and this is a copy to look at.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(batch_size=50, smtputf8=True)

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        read = Options(options)
        self.name = name
        self._directory = read.needed("directory")
        self._sync = read.flag("sync", default=False)
        self._folder = Folder(self._directory, read.integer("keep", 1_000, least=1, most=1_000_000))
        self._in_flight: set[asyncio.Future[Sequence[Receipt]]] = set()
        self._closed = False
        read.finish()

    def __repr__(self) -> str:
        return f"Capture({self.name!r}, {self._directory})"

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        if self._closed:
            shut = Outcome(OutcomeKind.RETRY, Reply(451, "4.3.2", "the provider is being shut down"))
            return [(shut,) * len(mail.recipients) for mail in batch]
        writing = asyncio.get_running_loop().run_in_executor(None, self._store, tuple(batch))
        self._in_flight.add(writing)
        try:
            return await writing
        finally:
            self._in_flight.discard(writing)

    async def list(self, *, limit: int = 100, before: str | None = None) -> Sequence[Captured]:
        """The newest first; `before` is the id to go on from."""
        return await asyncio.to_thread(self._folder.entries, limit=limit, before=before)

    async def read(self, identifier: str) -> tuple[Captured, bytes]:
        """One mail's envelope and its bytes as they were sent; raises `NotCaptured`."""
        return await asyncio.to_thread(self._folder.read, identifier)

    async def check(self) -> str:
        try:
            await asyncio.to_thread(self._folder.prepare)
        except OSError as error:
            raise ProviderProblem(f"{self._directory} cannot be written: {error.strerror}") from None
        return f"mail is kept in {self._directory} and goes nowhere"

    async def aclose(self) -> None:
        self._closed = True
        await asyncio.gather(*self._in_flight, return_exceptions=True)

    def _store(self, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [
            (_outcome(done),) * len(mail.recipients)
            for mail, done in zip(mails, self._folder.write(mails, sync=self._sync), strict=True)
        ]


def _outcome(done: str | OSError) -> Outcome:
    if isinstance(done, OSError):
        return _failed(done)
    return Outcome(OutcomeKind.ACCEPTED, Reply(250, "2.0.0", f"captured as {done}"), ref=done)


def _failed(error: OSError) -> Outcome:
    if error.errno in _FULL:
        return Outcome(OutcomeKind.RETRY, Reply(452, "4.3.1", "no room to capture mail"))
    if error.errno in _BARRED:
        return Outcome(
            OutcomeKind.CONFIG, Reply(554, "5.3.5", "the folder for captured mail cannot be written")
        )
    return Outcome(OutcomeKind.RETRY, Reply(451, "4.3.0", "the mail could not be captured"))
