"""The `pigeon` provider: each mail flies to a loft, which is a directory. https://pigeon.example/docs/errors"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from providers import outcomes, signatures
from providers.options import Options
from providers.reporting import Reporting, read_keys
from providers.told import Told, address_of, token_of
from relay.core.event import EventKind
from relay.core.provider import (
    Capabilities,
    Outcome,
    Outgoing,
    ProviderProblem,
    Receipt,
    Report,
    WebhookRequest,
)

_KINDS = {"landed": EventKind.DELIVERED, "caught by a falcon": EventKind.BOUNCED, "fed": EventKind.OPENED}


class Pigeon(Reporting):
    capabilities: ClassVar[Capabilities] = Capabilities(max_bytes=10_000, envelope_sender=False, events=True)

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        read = Options(options)
        self.name = name
        self._loft = Path(read.needed("loft"))
        self._birds = asyncio.Semaphore(read.integer("birds", 3, least=1, most=50))
        self._keys = read_keys(read)
        self._closed = False
        read.finish()

    def refuses(self, mail: Outgoing) -> str | None:
        limit = self.capabilities.max_bytes
        if limit is not None and len(mail.raw) > limit:
            return f"more than the {limit} octets a pigeon carries"
        return None if all(one.address.isascii() for one in mail.recipients) else "pigeons read ASCII only"

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        return [tuple([await self._fly(mail, one.address) for one in mail.recipients]) for mail in batch]

    async def check(self) -> str:
        if not self._loft.is_dir():
            raise ProviderProblem(f"there is no loft at {self._loft}")
        return f"the loft at {self._loft} is open"

    async def aclose(self) -> None:
        self._closed = True

    async def _fly(self, mail: Outgoing, address: str) -> Outcome:
        if reason := self.refuses(mail):
            return outcomes.rejected(reason)
        if address.startswith("refused@"):
            return outcomes.rejected("the falcon's address", "5.1.1")
        if self._closed:
            return outcomes.SHUT
        async with self._birds:
            try:
                (self._loft / f"{mail.token}-{address}").write_bytes(mail.raw)
            except OSError:
                return outcomes.retry("the loft is shut")
        return outcomes.accepted(mail.token, "landed")

    def _verify(self, request: WebhookRequest) -> None:
        given = request.headers.get("pigeon-signature")
        self._keys.check(lambda key: signatures.hex_hmac(key, given, request.body))

    def _reports(self, told: Told, request: WebhookRequest) -> Iterable[Report]:
        yield Report(
            _KINDS.get(told.word("event"), EventKind.UNKNOWN),
            told.moment("at") or request.at,
            token=token_of(told.text("token")),
            recipient=address_of(told.text("address")),
            key=told.text("id"),
            original=told.data,
        )
