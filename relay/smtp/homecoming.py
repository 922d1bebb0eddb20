"""Bounce mail at the door: taken from anybody, without a login, but only to a return path that we have made.

The address is the key. Without a good one nothing is taken, so this is no way to send mail, and a bounce that
was made up cannot have an address suppressed.
"""

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from relay.core.clock import now
from relay.core.message import EnvelopeRecipient
from relay.core.return_path import ReturnPaths, TooOld
from relay.observe import facts
from relay.smtp import commands, replies
from relay.smtp.commands import Mail
from relay.smtp.data import Content, Limits
from relay.smtp.submission import Envelope
from relay.throttle import block

if TYPE_CHECKING:
    from relay.smtp.session import Session

#: senders of bounces that have one, against RFC 3464 2; nothing is ever sent to them
_SERVERS = frozenset({"mailer-daemon", "mailerdaemon", "mail-daemon", "postmaster", "mdaemon"})
#: return paths in one bounce; there is one
_MAX_RECIPIENTS = 10
_WINDOW = 60.0  # seconds


class Keep(Protocol):
    """Stores a bounce; on return it will be read. `headers` say where it came from and went to."""

    async def __call__(self, raw: bytes, headers: dict[str, str]) -> None: ...


@dataclass(slots=True)
class Homecoming:
    """What the connections of one process need to take bounces in."""

    paths: ReturnPaths
    keep: Keep
    limits: Limits
    rate: int  #: bounces per minute from one network address; 0 means any number
    _taken: Counter[str] = field(default_factory=Counter)
    _since: float = 0.0

    @classmethod
    def of(cls, paths: ReturnPaths, keep: Keep, limits: Limits, size: int, rate: int) -> "Homecoming":
        """`size` octets of a bounce are kept, what comes beyond is dropped."""
        return cls(paths, keep, replace(limits, keep=size), rate)

    def too_many(self, peer: str) -> bool:
        """Whether the address has sent its share for now; counts this one."""
        if not self.rate:
            return False
        moment = time.monotonic()
        if moment - self._since > _WINDOW:
            self._taken.clear()
            self._since = moment
        client = block(peer)
        self._taken[client] += 1
        return self._taken[client] > self.rate


def may_begin(said: Mail) -> bool:
    """Whether somebody unknown may begin a mail with this sender: the null sender, or a server's own."""
    return not said.sender or said.sender.partition("@")[0].lower() in _SERVERS


def begin(session: "Session", home: Homecoming, said: Mail) -> bytes:
    if home.too_many(session.peer):
        return replies.TOO_MANY_BOUNCES
    session.transactions += 1
    session.envelope = Envelope(said.sender, said.smtputf8, {}, said.ret, said.envid)
    session.trace.authenticated = False
    return replies.SENDER_OK


def rcpt(home: Homecoming, envelope: Envelope, text: str, *, extended: bool) -> bytes:
    recipient: EnvelopeRecipient = commands.rcpt(text, extended=extended, smtputf8=envelope.smtputf8)
    address = recipient.address
    if not home.paths.owns(address):
        return replies.NO_RELAYING
    try:
        home.paths.read(address, now())
    except TooOld:
        return replies.RETURN_PATH_TOO_OLD
    except ValueError:
        return replies.NO_SUCH_RETURN_PATH
    if address not in envelope.recipients and len(envelope.recipients) >= _MAX_RECIPIENTS:
        return replies.TOO_MANY_RECIPIENTS
    envelope.recipients[address] = recipient
    return replies.RECIPIENT_OK


async def deliver(session: "Session", home: Homecoming, envelope: Envelope, content: Content) -> bytes:
    """Keep the bounce for every return path it was sent to. What is refused for one was refused for all."""
    raw = content.head + b"".join(content.tail.chunks(64 * 1024))
    for address in envelope.recipients:
        await home.keep(
            raw,
            {
                "x-envelope-to": address,
                "x-envelope-from": envelope.sender,
                "x-peer": session.peer,
            },
        )
        facts.bounce_taken("smtp", session.peer, len(raw))
    return replies.BOUNCE_TAKEN
