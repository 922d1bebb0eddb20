"""Who takes a domain's mail, asked of DNS (RFC 5321 5.1, RFC 7505)."""

import asyncio
import ipaddress
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from providers.mx.options import MxOptions
from relay.core.provider import Outcome, OutcomeKind
from relay.core.reply import Reply

_CACHED = 20_000
#: seconds for which an answer is believed at most, and one of "no" (RFC 2308)
_LONGEST_KEPT = 3_600.0
_LONGEST_KEPT_NO = 300.0
#: hosts and addresses that a mail may cost us, whatever a domain publishes
_MOST_HOSTS = 20
_MOST_ADDRESSES = 8


class NoWay(Exception):
    """The domain's mail cannot go anywhere, now or ever; the outcome says which."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome.reply))
        self.outcome = outcome


def never(code: int, enhanced: str, words: str) -> Outcome:
    return Outcome(OutcomeKind.REJECTED, Reply(code, enhanced, words))


def later(enhanced: str, words: str) -> Outcome:
    return Outcome(OutcomeKind.RETRY, Reply(451, enhanced, words))


@dataclass(frozen=True, slots=True)
class Host:
    """A server for a domain, without a dot at the end; the lowest preference is asked first."""

    preference: int
    name: str


class _Cache(dns.resolver.LRUCache):
    """dnspython would keep an answer of "no such name" that does not say how long it holds for good."""

    def put(self, key: dns.resolver.CacheKey, value: dns.resolver.Answer) -> None:
        now = time.time()
        if value.rrset is not None:
            value.expiration = min(value.expiration, now + _LONGEST_KEPT)
        elif any(one.rdtype == dns.rdatatype.SOA for one in value.response.authority):
            value.expiration = min(value.expiration, now + _LONGEST_KEPT_NO)
        else:
            return
        super().put(key, value)


class Lookup:
    """Answers are kept for as long as their owners allow."""

    def __init__(self, options: MxOptions) -> None:
        self._options = options
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._asking: dict[tuple[str, str], asyncio.Task[list[str]]] = {}

    @property
    def _asked(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            given = self._options.resolver
            resolver = dns.asyncresolver.Resolver(configure=given is None)
            if given is not None:
                resolver.nameservers = [dns.nameserver.Do53Nameserver(*given)]
            resolver.lifetime = self._options.dns_timeout
            resolver.cache = _Cache(_CACHED)
            self._resolver = resolver
        return self._resolver

    async def records(self, name: str, kind: str) -> list[str]:
        """The records' texts; empty where there are none of that kind. Who asks meanwhile gets the same answer.

        Raises `dns.resolver.NXDOMAIN` where there is no such name, and `NoWay` where DNS does not answer.
        """
        key = (name.lower(), kind)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.get_running_loop().create_task(self._records(name, kind))
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def _answered(self, key: tuple[str, str], task: "asyncio.Task[list[str]]") -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            # Whoever wanted to know may be gone.
            task.exception()

    async def _records(self, name: str, kind: str) -> list[str]:
        try:
            asked = dns.name.from_text(name)
        except dns.exception.DNSException:
            raise NoWay(never(553, "5.1.2", "the domain is no name that DNS can have")) from None
        try:
            answer = await self._asked.resolve(asked, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            raise
        except (dns.exception.DNSException, OSError) as error:
            raise NoWay(later("4.4.3", f"DNS does not answer about {name} ({_words(error)})")) from None
        return [record.to_text() for record in answer]

    async def hosts(self, domain: str) -> tuple[Host, ...]:
        """The servers for `domain`, sorted, those of one preference by name.

        Raises `NoWay` where there are none: a domain that does not exist, or says that it takes no mail.
        """
        try:
            found = await self._exchanges(domain)
        except dns.resolver.NXDOMAIN:
            raise NoWay(never(550, "5.1.2", f"the domain {domain} does not exist")) from None
        if [host.name for host in found] == [""]:
            raise NoWay(never(556, "5.1.10", f"the domain {domain} takes no mail (null MX)"))
        own = [host.preference for host in found if host.name == self._options.hostname.lower()]
        if own:
            # Only those who are nearer to the mailbox than we are (RFC 5321 5.1), or it would go in circles.
            found = [host for host in found if host.preference < min(own)]
            if not found:
                raise NoWay(never(554, "5.4.6", f"the mail for {domain} leads back to this server"))
        named = sorted((host.preference, host.name) for host in found if host.name)
        return tuple(Host(*one) for one in named[:_MOST_HOSTS])

    async def _exchanges(self, domain: str) -> list[Host]:
        found = []
        for text in await self.records(domain, "MX"):
            preference, _, name = text.partition(" ")
            found.append(Host(int(preference), name.rstrip(".").lower()))
        if found:
            return found
        if await self._any_address(domain):
            return [Host(0, domain)]
        raise NoWay(never(550, "5.1.2", f"the domain {domain} has neither mail servers nor an address"))

    async def _any_address(self, name: str) -> bool:
        return any([await self.records(name, kind) for kind in ("A", "AAAA")])

    async def addresses(self, name: str) -> list[str]:
        """Where to connect to for a host, shuffled within each version of IP. Raises `NoWay`."""
        literal = literal_of(name)
        found: list[str] = [literal] if literal else []
        if literal is None:
            for version in self._options.ip:
                try:
                    records = await self.records(name, "A" if version == 4 else "AAAA")
                except dns.resolver.NXDOMAIN:
                    break
                random.shuffle(records)
                found += records[:_MOST_ADDRESSES]
        if not found:
            raise NoWay(later("4.4.4", f"the mail server {name} has no address"))
        public = found if self._options.allow_private else [one for one in found if is_public(one)]
        if not public:
            raise NoWay(never(550, "5.4.4", f"the mail server {name} has no public address"))
        return public


def is_public(address: str) -> bool:
    """Whether it is one that a stranger's domain may send us to; 6to4 and the like count as what they wrap."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if wrapped is None and found in _NAT64:
            wrapped = ipaddress.IPv4Address(found.packed[12:])
        if wrapped is not None:
            return is_public(str(wrapped))
    return found.is_global and not found.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def literal_of(domain: str) -> str | None:
    """The address in `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 4.1.3); None for a name."""
    if not domain.startswith("["):
        return None
    inner = domain.strip("[]")
    if inner[:5].lower() == "ipv6:":
        inner = inner[5:]
    try:
        return str(ipaddress.ip_address(inner))
    except ValueError:
        raise NoWay(never(553, "5.1.3", "the recipient's domain is no address that we know")) from None


def in_turn(hosts: Sequence[Host]) -> list[Host]:
    """By preference, and shuffled within one (RFC 5321 5.1)."""
    return sorted(hosts, key=lambda host: (host.preference, random.random()))


def _words(error: Exception) -> str:
    if isinstance(error, dns.resolver.NoNameservers):
        return "every name server failed"
    if isinstance(error, dns.exception.Timeout):
        return "no answer in time"
    return type(error).__name__
