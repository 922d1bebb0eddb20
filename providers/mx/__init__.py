"""The `mx` provider: straight to the recipients' own servers, without a smarthost (RFC 5321 5). Experimental.

Most networks do not let port 25 out, and an address without a name and a reputation is not listened to.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import dns.resolver
import dns.reversename

from providers import outcomes
from providers.api import domain_in_dns
from providers.mx.destination import Destination, MxDialler, Room
from providers.mx.lookup import Host, Lookup, NoWay, later, literal_of, never
from providers.mx.options import read_options
from providers.mx.sts import Policies
from providers.smtp.dial import tls_context
from providers.smtp.pool import Pool
from relay.core.provider import (
    Capabilities,
    Outcome,
    OutcomeKind,
    Outgoing,
    OutgoingRecipient,
    ProviderProblem,
    Receipt,
)

__all__ = ["Mx"]

#: destinations whose pools are looked through when a new one comes
_MANY = 256


class Mx:
    """Delivers by MX. For the options see `providers.mx.options`.

    What one recipient's server does says nothing about another's: outcomes are never `config`, and what a server
    asks of us is for its domain.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(smtputf8=True, direct=True, experimental=True)

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self._options = read_options(options)
        tls_context(self._options.ca_file, verify=True)
        self._lookup = Lookup(self._options)
        self._policies = Policies(self._options, self._lookup)
        self._room = Room(self._options.max_connections, self._make_room)
        self._pools: OrderedDict[Destination, Pool] = OrderedDict()
        self._in_flight = 0
        self._landed = asyncio.Event()
        self._landed.set()
        self._closed = False

    def __repr__(self) -> str:
        return f"Mx({self.name!r}, {self._options.hostname})"

    async def send(self, batch: Sequence[Outgoing]) -> Sequence[Receipt]:
        if self._closed:
            return [(outcomes.SHUT,) * len(mail.recipients) for mail in batch]
        self._in_flight += 1
        self._landed.clear()
        try:
            return [await self._send(mail) for mail in batch]
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._landed.set()

    async def _send(self, mail: Outgoing) -> Receipt:
        domains: dict[str, list[int]] = {}
        for place, one in enumerate(mail.recipients):
            domains.setdefault(one.address.rpartition("@")[2].lower(), []).append(place)
        found: dict[int, Outcome] = {}
        groups: dict[Destination, list[int]] = {}
        for places, where in zip(
            domains.values(), await asyncio.gather(*map(self._destination, domains)), strict=True
        ):
            if isinstance(where, Destination):
                groups.setdefault(where, []).extend(places)
            else:
                found.update(dict.fromkeys(places, where))
        receipts = await asyncio.gather(
            *(self._hand_over(mail, where, places) for where, places in groups.items())
        )
        for places, receipt in zip(groups.values(), receipts, strict=True):
            found.update(zip(places, receipt, strict=True))
        return tuple(found[place] for place in range(len(mail.recipients)))

    async def _destination(self, domain: str) -> Destination | Outcome:
        try:
            literal = literal_of(domain)
            if literal is not None:
                return Destination((Host(0, domain),), verified=False)
            written = domain_in_dns(domain)
            if written is None:
                return never(553, "5.1.2", "the recipient's domain has no form that DNS knows")
            hosts = await self._lookup.hosts(written)
        except NoWay as reason:
            return reason.outcome
        policy = await self._policies.of(written)
        if policy is None or not policy.enforced:
            return Destination(hosts, verified=False)
        allowed = policy.allowed(hosts)
        if not allowed:
            return later("4.7.5", f"the MTA-STS policy of {domain} names none of its mail servers")
        return Destination(allowed, verified=True)

    async def _hand_over(self, mail: Outgoing, where: Destination, places: Sequence[int]) -> Receipt:
        part = replace(mail, recipients=tuple(_in_dns(mail.recipients[place]) for place in places))
        return tuple(theirs(outcome) for outcome in await self._pool(where).send(part))

    def _pool(self, where: Destination) -> Pool:
        pool = self._pools.get(where)
        if pool is None:
            if len(self._pools) >= _MANY:
                for known in [key for key, one in self._pools.items() if one.unused]:
                    del self._pools[known]
            line = self._options.line()
            pool = Pool(line, MxDialler(where, line, self._lookup, self._room))
            self._pools[where] = pool
        return pool

    def _make_room(self) -> None:
        for pool in self._pools.values():
            pool.spare()

    async def check(self) -> str:
        name = self._options.hostname
        try:
            addresses = (
                [literal_of(name) or ""] if name.startswith("[") else await self._lookup.addresses(name)
            )
        except NoWay as reason:
            raise ProviderProblem(f"hostname: {reason.outcome.reply.text}") from None
        said = [f"{name} is at {', '.join(addresses)}"]
        astray = [one for one in addresses if name.lower() not in await self._names(one)]
        if astray:
            said.append(f"but {', '.join(astray)} does not lead back to it, which receivers mind")
        said.append("experimental: whether port 25 is open is seen when mail is sent")
        return ", ".join(said)

    async def _names(self, address: str) -> list[str]:
        try:
            found = await self._lookup.records(dns.reversename.from_address(address).to_text(), "PTR")
        except (dns.resolver.NXDOMAIN, NoWay):
            return []
        return [one.rstrip(".").lower() for one in found]

    async def aclose(self) -> None:
        self._closed = True
        await self._landed.wait()
        await asyncio.gather(*(pool.aclose() for pool in self._pools.values()))


def _in_dns(recipient: OutgoingRecipient) -> OutgoingRecipient:
    """A server without SMTPUTF8 takes an international domain in the spelling of DNS (RFC 5890)."""
    local, _, domain = recipient.address.rpartition("@")
    written = domain_in_dns(domain) if local.isascii() else None
    return recipient if written in {None, domain} else replace(recipient, address=f"{local}@{written}")


def theirs(outcome: Outcome) -> Outcome:
    """What a smarthost says of us and our account, a recipient's server says of this mail."""
    if outcome.kind is OutcomeKind.CONFIG:
        return replace(outcome, kind=OutcomeKind.REJECTED)
    if outcome.kind is OutcomeKind.THROTTLED:
        return replace(outcome, scope="domain")
    return outcome
