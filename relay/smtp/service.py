"""What the connections of one door process share."""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from relay.capacity import Space
from relay.core.identity import Identity, inside
from relay.core.message import Accepted, Submission
from relay.observe import facts
from relay.observe.sparing import Sparing
from relay.sections import ListenerSettings, SmtpSettings
from relay.smtp import replies
from relay.smtp.data import Limits
from relay.smtp.homecoming import Homecoming
from relay.throttle import Throttle, block

if TYPE_CHECKING:
    from relay.ratelimit import Verdict


class Intake(Protocol):
    """The part of `relay.intake.Intake` that the door needs."""

    async def accept(self, submission: Submission) -> Accepted: ...


class Authenticator(Protocol):
    """The part of `relay.policy.Authenticator` that the door needs."""

    async def identify(self, secret: str, peer: str | None = None) -> Identity: ...

    async def account(self, name: str) -> Identity: ...


class Limiter(Protocol):
    """The part of `relay.ratelimit.RateLimiter` that the door needs."""

    async def hit(self, identity: Identity) -> "Verdict": ...


class Suppressions(Protocol):
    """The part of `relay.policy.Suppressions` that the door needs."""

    def knows(self, account_id: int) -> bool: ...

    def check_known(self, account_id: int, address: str) -> None: ...

    async def check(self, account_id: int, address: str) -> None: ...

    async def among(self, account_id: int, addresses: Sequence[str], stream: str = "") -> Collection[str]: ...


class Stoppable(Protocol):
    """A connection as the service sees it."""

    def stop_when_idle(self) -> None: ...

    def abort(self) -> None: ...


@dataclass(slots=True)
class Service:
    """One per process."""

    settings: SmtpSettings
    hostname: str
    limits: Limits
    intake: Intake
    authenticator: Authenticator
    suppressions: Suppressions
    loop: asyncio.AbstractEventLoop
    throttle: Throttle
    space: Space
    #: names of the ways out, one of which a mail may ask for
    providers: frozenset[str]
    limiter: Limiter | None = None
    #: takes bounces in; None while they are not to come here
    homecoming: Homecoming | None = None
    sends_per_second: int = 0
    connections: set[Stoppable] = field(default_factory=set)
    #: those that are not admitted: refused and about to end, or not yet known
    guests: set[Stoppable] = field(default_factory=set)
    by_address: Counter[str] = field(default_factory=Counter)
    by_account: Counter[int] = field(default_factory=Counter)
    #: what goes on even when its client is gone: commits above all
    work: set[asyncio.Task[None]] = field(default_factory=set)
    #: too far behind to take on more clients
    overloaded: bool = False
    stopping: bool = False
    #: set when the last connection has ended, once we are stopping
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: Sparing = field(default_factory=lambda: Sparing(partial(facts.refusals_hidden, "smtp")))

    def enter(self, connection: Stoppable, listener: "Listener", address: str) -> bytes:
        """Admit a connection; returns the reply that says why not, or nothing."""
        settings = self.settings
        if self.stopping:
            return replies.SHUTTING_DOWN
        if self.overloaded:
            return replies.OVERLOADED
        if len(self.connections) >= settings.max_connections or listener.crowded:
            return replies.TOO_MANY_CONNECTIONS
        client = block(address)
        most = settings.max_connections_per_address
        if most and self.by_address[client] >= most:
            return replies.TOO_MANY_FROM_ADDRESS
        self.guests.discard(connection)
        self.connections.add(connection)
        self.by_address[client] += 1
        listener.connections += 1
        return b""

    def leave(self, connection: Stoppable, listener: "Listener", address: str) -> None:
        self.guests.discard(connection)
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        listener.connections -= 1
        _less(self.by_address, block(address))
        if self.stopping and not self.connections:
            self.empty.set()

    def enter_account(self, account_id: int) -> bool:
        """Whether another connection may send for the account; if so it is counted."""
        most = self.settings.max_connections_per_account
        if most and self.by_account[account_id] >= most:
            return False
        self.by_account[account_id] += 1
        return True

    def leave_account(self, account_id: int) -> None:
        _less(self.by_account, account_id)

    def limited(self, identity: Identity) -> bool:
        """Whether the limiter has to be asked about this client's mails."""
        return self.limiter is not None and bool(
            identity.rate_limit
            or identity.daily_quota is not None
            or (self.sends_per_second and identity.rate_limit is None)
        )

    async def drain(self, seconds: float) -> None:
        """Stop: end every connection as soon as it is between transactions, at the latest after `seconds`."""
        self.stopping = True
        for guest in list(self.guests):
            guest.abort()
        for connection in list(self.connections):
            connection.stop_when_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self.connections:
                    await self.empty.wait()
                if self.work:
                    await asyncio.wait(self.work)
        for connection in [*self.connections, *self.guests]:
            connection.abort()
        # Sockets are closed in the next turn of the loop.
        await asyncio.sleep(0)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(coroutine)
        self.work.add(task)
        task.add_done_callback(self.work.discard)


@dataclass(slots=True)
class Listener:
    """One address the door listens on, and what is allowed there."""

    settings: ListenerSettings
    tls: ssl.SSLContext | None
    connections: int = 0

    @property
    def starttls(self) -> bool:
        return self.tls is not None and self.settings.tls == "starttls"

    @property
    def crowded(self) -> bool:
        return 0 < self.settings.max_connections <= self.connections

    def trusts(self, address: str) -> bool:
        """Whether clients there may log in without TLS."""
        return inside(address, self.settings.plain_auth_from)

    def serves(self, address: str) -> bool:
        """Whether clients there are served at all."""
        return not self.settings.allow_from or inside(address, self.settings.allow_from)


K = TypeVar("K")


def _less(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
