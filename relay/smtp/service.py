"""What the connections of one door process share."""

import asyncio
import contextlib
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Protocol

from relay.config import ListenerSettings, SmtpSettings
from relay.core.identity import Identity
from relay.core.message import Accepted, Submission
from relay.smtp.data import Limits


class Intake(Protocol):
    """The part of `relay.intake.Intake` that the door needs."""

    async def accept(self, submission: Submission) -> Accepted: ...


class Authenticator(Protocol):
    """The part of `relay.policy.Authenticator` that the door needs."""

    async def identify(self, secret: str, peer: str | None = None) -> Identity: ...


class Suppressions(Protocol):
    """The part of `relay.policy.Suppressions` that the door needs."""

    def knows(self, account_id: int) -> bool: ...

    def check_known(self, account_id: int, address: str) -> None: ...

    async def check(self, account_id: int, address: str) -> None: ...


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
    connections: set[Stoppable] = field(default_factory=set)
    #: what goes on even when its client is gone: commits above all
    work: set[asyncio.Task[None]] = field(default_factory=set)
    stopping: bool = False
    #: set when the last connection has ended, once we are stopping
    empty: asyncio.Event = field(default_factory=asyncio.Event)

    def leave(self, connection: Stoppable) -> None:
        self.connections.discard(connection)
        if self.stopping and not self.connections:
            self.empty.set()

    async def drain(self, seconds: float) -> None:
        """Stop: end every connection as soon as it is between transactions, at the latest after `seconds`."""
        self.stopping = True
        for connection in list(self.connections):
            connection.stop_when_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if self.connections:
                    await self.empty.wait()
                if self.work:
                    await asyncio.wait(self.work)
        for connection in list(self.connections):
            connection.abort()

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(coroutine)
        self.work.add(task)
        task.add_done_callback(self.work.discard)


@dataclass(frozen=True, slots=True)
class Listener:
    """One address the door listens on, and what is allowed there."""

    settings: ListenerSettings
    tls: ssl.SSLContext | None

    @property
    def starttls(self) -> bool:
        return self.tls is not None and self.settings.tls == "starttls"

    def trusts(self, address: str) -> bool:
        """Whether clients there may log in without TLS."""
        return _inside(address, self.settings.plain_auth_from)


@lru_cache(maxsize=1024)
def _inside(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)
