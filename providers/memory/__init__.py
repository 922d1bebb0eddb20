"""The `memory` provider, for tests: keeps what it was given and answers as it was told.

```toml
[providers.pretend]
type = "memory"
outcomes = { "nobody@example.com" = "rejected", "busy@example.com" = ["retry", "throttled", "accepted"] }
```
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from providers.options import Options
from relay.core.errors import Misconfigured
from relay.core.provider import Capabilities, Outcome, OutcomeKind, Outgoing, OutgoingRecipient, Receipt
from relay.core.reply import Reply

__all__ = ["Memory"]

_REPLIES = {
    OutcomeKind.REJECTED: Reply(550, "5.1.1", "no such mailbox"),
    OutcomeKind.RETRY: Reply(451, "4.2.0", "not now"),
    OutcomeKind.THROTTLED: Reply(451, "4.7.0", "too fast"),
    OutcomeKind.CONFIG: Reply(535, "5.7.8", "wrong credentials"),
    OutcomeKind.AMBIGUOUS: Reply(451, "4.4.2", "the connection was lost after the data was sent"),
}


class Memory:
    """`sent` has every mail in the order given, whatever the outcome; `delivered` what was accepted."""

    capabilities: ClassVar[Capabilities] = Capabilities(batch_size=100, smtputf8=True)

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        read = Options(options)
        planned = read.table("outcomes")
        read.finish()
        self.name = name
        self.sent: list[Outgoing] = []
        self.delivered: list[tuple[Outgoing, OutgoingRecipient]] = []
        #: while cleared, sends wait; what they were given is in `sent` already
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False
        self._planned: dict[str, deque[Outcome | Exception]] = {}
        self._last: dict[str, Outcome | Exception] = {}
        for address, kinds in planned.items():
            self.answer(address, *([kinds] if isinstance(kinds, str) else kinds))

    def __repr__(self) -> str:
        return f"Memory({self.name!r})"

    def answer(self, address: str, *outcomes: Outcome | str | Exception) -> None:
        """What the next sends to `address` bring, one each; the last one stays. An exception is raised."""
        planned = [self._outcome(one) for one in outcomes]
        if not planned:
            raise Misconfigured(f"outcomes for {address} are missing")
        self._planned[address] = deque(planned[:-1])
        self._last[address] = planned[-1]

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        if self.closed:
            shut = Outcome(OutcomeKind.RETRY, Reply(451, "4.3.2", "the provider is being shut down"))
            return [(shut,) * len(mail.recipients) for mail in batch]
        self.sent.extend(batch)
        if not self.gate.is_set():
            await self.gate.wait()
        return [tuple(self._decide(mail, one) for one in mail.recipients) for mail in batch]

    async def check(self) -> str:
        return "keeps mail in memory"

    async def aclose(self) -> None:
        self.closed = True

    def _decide(self, mail: Outgoing, recipient: OutgoingRecipient) -> Outcome:
        planned = self._planned.get(recipient.address)
        outcome = planned.popleft() if planned else self._last.get(recipient.address)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None and outcome.kind is not OutcomeKind.ACCEPTED:
            return outcome
        self.delivered.append((mail, recipient))
        if outcome is not None:
            return outcome
        ref = f"memory-{len(self.delivered)}"
        return Outcome(OutcomeKind.ACCEPTED, Reply(250, "2.0.0", f"kept as {ref}"), ref=ref)

    def _outcome(self, one: Outcome | str | Exception) -> Outcome | Exception:
        if isinstance(one, Outcome | Exception):
            return one
        try:
            kind = OutcomeKind(one)
        except ValueError:
            known = ", ".join(OutcomeKind)
            raise Misconfigured(f"outcomes has {one!r}, which is none of {known}") from None
        return Outcome(kind, _REPLIES.get(kind, Reply(250, "2.0.0", "kept")))
