"""The servers of a destination as one place to open lines to."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from providers.mx.lookup import Host, Lookup, NoWay, in_turn, later
from providers.smtp.dial import Dialler, NoLine, Session
from providers.smtp.options import SmtpOptions, Tls
from relay.core.provider import Outcome, OutcomeKind
from relay.core.reply import Reply

_MOST_TRIES = 8


@dataclass(frozen=True, slots=True)
class Destination:
    """Servers that take the same mail. Domains with the same ones share their lines."""

    hosts: tuple[Host, ...]
    verified: bool  #: an MTA-STS policy wants TLS with a certificate for the host's name


class Room:
    """Connections in all. Whoever finds none left has the idle ones closed, and waits."""

    def __init__(self, most: int, make_room: Callable[[], None]) -> None:
        self._left = most
        self._make_room = make_room
        self._news = asyncio.Event()

    async def take(self) -> None:
        while not self._left:
            self._make_room()
            self._news.clear()
            try:
                # A line that is put aside while we wait tells nobody.
                async with asyncio.timeout(0.2):
                    await self._news.wait()
            except TimeoutError:
                continue
        self._left -= 1

    def give(self) -> None:
        self._left += 1
        self._news.set()


class MxDialler:
    """Opens lines to the first server of a destination that takes one (RFC 5321 5.1)."""

    def __init__(self, destination: Destination, line: SmtpOptions, lookup: Lookup, room: Room) -> None:
        self._destination = destination
        self._line = replace(line, tls=Tls.REQUIRE, verify=True) if destination.verified else line
        self._lookup = lookup
        self._room = room

    async def session(self) -> Session:
        """Raises `NoLine` with what the last server had against it; a refusal to talk is for later."""
        await self._room.take()
        try:
            session = await self._first()
        except BaseException:
            self._room.give()
            raise
        return replace(session, on_gone=self._room.give)

    async def _first(self) -> Session:
        last: Outcome | None = None
        tries = 0
        for host in in_turn(self._destination.hosts):
            try:
                addresses = await self._lookup.addresses(host.name)
            except NoWay as reason:
                last = _better(last, reason.outcome)
                continue
            for address in addresses:
                tries += 1
                if tries > _MOST_TRIES:
                    break
                options = replace(self._line, host=host.name.strip("[]"), address=address)
                try:
                    return await Dialler(options).session()
                except NoLine as failure:
                    last = put_off(failure.outcome, host.name)
        raise NoLine(last or later("4.4.4", "there is no mail server"))


def _better(last: Outcome | None, outcome: Outcome) -> Outcome:
    """A server without an address says less than one that did not answer, and never less than one that might."""
    if last is None or (last.kind is OutcomeKind.REJECTED and outcome.kind is OutcomeKind.RETRY):
        return outcome
    return last


def put_off(outcome: Outcome, host: str) -> Outcome:
    """No line to a recipient's server: it may have a bad day, or not like the look of us; there is time."""
    reply = outcome.reply
    enhanced = f"4{reply.enhanced[1:]}" if reply.enhanced else "4.4.1"
    return replace(
        outcome,
        kind=OutcomeKind.RETRY,
        reply=Reply(reply.code if reply.transient else 451, enhanced, f"{host}: {reply.text}"),
    )
