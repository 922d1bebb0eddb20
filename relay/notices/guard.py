"""Nobody has us connect to where he must not: what a URL may say, and which addresses its name may have.

A name is looked up once for each connection; all of its addresses are checked, and the connection is made to one of
those that were checked, so a name that changes its mind in between gains nothing (DNS rebinding, CWE-918). TLS and
the Host field go by the name.
"""

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2

from relay.core import reachable
from relay.core.errors import Refused
from relay.core.reachable import Address, Network
from relay.sections import NoticeSettings

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

_MAX_URL = 2000
#: threads that look up names, apart from all others: a stranger's name server may take its time
_LOOKUPS = 16


class Forbidden(Exception):
    """A connection that is not made; says why, in words for the customer."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows."""

    allowed: tuple[Network, ...] = ()
    http: bool = False
    ports: tuple[int, ...] = ()  #: empty means any

    @classmethod
    def of(cls, settings: NoticeSettings) -> "Rules":
        return cls(settings.allowed, settings.allow_http, settings.ports)


def checked(url: str, rules: Rules) -> httpx2.URL:
    """A URL that we may be told to call, as far as its own words show. Raises `Refused` saying what is wrong."""
    try:
        parts = urlsplit(url)
        read = httpx2.URL(url)
        host, port = read.raw_host.decode("ascii"), parts.port
    except (ValueError, httpx2.InvalidURL):
        raise Refused('"url" is not a URL') from None
    if len(url) > _MAX_URL or not url.isprintable() or " " in url:
        raise Refused('"url" is not a URL')
    if read.scheme not in {"https", "http"} or not host:
        raise Refused('"url" must begin with https://')
    if read.scheme == "http" and not rules.http:
        raise Refused('"url" must be https: what customers are told must not be read on the way')
    if parts.username is not None or parts.password is not None:
        raise Refused('"url" must not have a user name or a password; signatures show who is calling')
    if parts.fragment or url.endswith("#"):
        raise Refused('"url" must not have a fragment')
    port = port if port is not None else (443 if read.scheme == "https" else 80)
    if port == 0 or (rules.ports and port not in rules.ports):
        raise Refused(f'"url" must not have the port {port}; allowed: {_ports(rules)}')
    address = reachable.literal(host)
    if address is not None:
        _check(host, [address], rules, Refused)
    return read


def _ports(rules: Rules) -> str:
    return ", ".join(str(port) for port in rules.ports if rules.http or port != 80)


def _check(
    host: str, addresses: Sequence[Address], rules: Rules, error: type[Refused] | type[Forbidden]
) -> None:
    found = reachable.first_refusal(addresses, rules.allowed)
    if found is not None:
        address, words = found
        what = f"{address}" if host == str(address) else f"{host} has the address {address}, which"
        raise error(f"{what} is not allowed: it is {words}")


async def look_up(url: httpx2.URL, rules: Rules, resolve: Resolve) -> None:
    """Raises `Refused` when the name of a URL has a forbidden address now; a name nobody knows may come to be."""
    host = url.raw_host.decode("ascii")
    try:
        async with asyncio.timeout(5):
            addresses = await resolve(host, url.port or 443)
    except (OSError, TimeoutError):
        return
    _check(host, addresses, rules, Refused)


class Resolver:
    """The system's name service. `resolve` raises `OSError`."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, "webhook-names")

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        work = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await loop.run_in_executor(self._threads, work)
        # A zone would name an interface of ours; addresses that need one are refused in any case.
        return [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Makes the connections of a pool, to addresses that were checked. Raises `Forbidden` for others."""

    def __init__(self, rules: Rules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = list(dict.fromkeys(await self._resolve(host, port)))
        except OSError:
            raise httpcore2.ConnectError(f"{host} cannot be found") from None
        if not addresses:
            raise httpcore2.ConnectError(f"{host} cannot be found")
        if self._rules.ports and port not in self._rules.ports:
            raise Forbidden(f"the port {port} is not allowed")
        _check(host, addresses, self._rules, Forbidden)
        failure: Exception = httpcore2.ConnectError("no address")
        for address in addresses[:4]:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise Forbidden("sockets of this machine are not allowed")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
