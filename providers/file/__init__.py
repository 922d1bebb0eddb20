"""The `file` provider: delivers into a Maildir on this machine. https://cr.yp.to/proto/maildir.html"""

import asyncio
import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from providers import outcomes
from providers.file.maildir import Maildir
from providers.options import Options
from relay.core.provider import Capabilities, Outcome, OutcomeKind, Outgoing, ProviderProblem, Receipt
from relay.core.reply import Reply

__all__ = ["File"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_BARRED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


class File:
    """Options: `directory` (made when missing), `envelope` (false: whether a delivered mail begins with Return-Path
    and Delivered-To, RFC 5321 4.4), `sync` (true: a delivered mail survives a power cut).
    """

    capabilities: ClassVar[Capabilities] = Capabilities(batch_size=50, smtputf8=True)

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        read = Options(options)
        self.name = name
        self._maildir = Maildir(
            read.needed("directory"),
            envelope=read.flag("envelope", default=False),
            sync=read.flag("sync", default=True),
        )
        read.finish()
        self._in_flight: set[asyncio.Future[Sequence[Receipt]]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"File({self.name!r}, {self._maildir.path})"

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        if self._closed:
            return [(outcomes.SHUT,) * len(mail.recipients) for mail in batch]
        writing = asyncio.get_running_loop().run_in_executor(None, self._deliver, tuple(batch))
        self._in_flight.add(writing)
        try:
            return await writing
        finally:
            self._in_flight.discard(writing)

    async def check(self) -> str:
        try:
            await asyncio.to_thread(self._maildir.prepare)
        except OSError as error:
            raise ProviderProblem(f"{self._maildir.path} cannot be made: {error.strerror}") from None
        if not os.access(self._maildir.path / "tmp", os.W_OK):
            raise ProviderProblem(f"{self._maildir.path} cannot be written")
        return f"mail is delivered into {self._maildir.path}"

    async def aclose(self) -> None:
        self._closed = True
        await asyncio.gather(*self._in_flight, return_exceptions=True)

    def _deliver(self, mails: Sequence[Outgoing]) -> Sequence[Receipt]:
        receipts: list[Receipt] = []
        for mail in mails:
            try:
                outcome = outcomes.accepted(self._maildir.deliver(mail), "delivered")
            except OSError as error:
                outcome = _failed(error)
            receipts.append((outcome,) * len(mail.recipients))
        return receipts


def _failed(error: OSError) -> Outcome:
    if error.errno in _FULL:
        return Outcome(OutcomeKind.RETRY, Reply(452, "4.3.1", "no room in the mail directory"))
    if error.errno in _BARRED:
        return outcomes.config("the mail directory cannot be written", "5.3.5")
    return Outcome(OutcomeKind.RETRY, Reply(451, "4.3.0", "the mail could not be written"))
