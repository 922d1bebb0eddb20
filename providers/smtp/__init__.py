"""The `smtp` provider: a smarthost, over kept and pipelined connections (RFC 5321, 6409)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from providers.smtp.dial import Dialler, NoLine
from providers.smtp.options import read_options
from providers.smtp.pool import Pool
from relay.core.provider import Capabilities, Outgoing, ProviderProblem, Receipt

__all__ = ["Smtp"]


class Smtp:
    """A smarthost. For the options see `providers.smtp.options`.

    Nothing tells a repeat from a first try here, so a connection lost after the end of the data is `ambiguous`.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(smtputf8=True)

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self._options = read_options(options)
        self._pool = Pool(self._options, ahead=True)

    def __repr__(self) -> str:
        return f"Smtp({self.name!r}, {self._options.host}:{self._options.port})"

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        if len(batch) == 1:
            return (await self._pool.send(batch[0]),)
        return [await self._pool.send(mail) for mail in batch]

    async def check(self) -> str:
        try:
            session = await Dialler(self._options).session()
        except NoLine as failure:
            raise ProviderProblem(str(failure)) from None
        line = session.line(on_free=lambda _: None, on_lost=lambda _: None)
        line.quit()
        await line.gone
        offers = session.offers
        said = [f"{self._options.host}:{self._options.port} answers", session.tls or "without TLS"]
        if self._options.username is not None:
            said.append("signed in")
        if offers.max_size:
            said.append(f"takes mails of up to {offers.max_size} octets")
        if not offers.smtputf8:
            said.append("no international addresses")
        return ", ".join(said)

    async def aclose(self) -> None:
        await self._pool.aclose()
