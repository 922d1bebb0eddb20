"""What recipient domains publish about TLS: MTA-STS (RFC 8461).

Policies are kept in memory for as long as they say. DANE (RFC 7672) is left out: it needs a resolver that
validates DNSSEC, and one that merely says so cannot be told from one that does.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import dns.resolver
import httpx2

from providers.mx.lookup import Host, Lookup, NoWay
from providers.mx.options import MxOptions
from providers.smtp.dial import tls_context

_RECORD = re.compile(r"v=STSv1\s*;.*?\bid\s*=\s*([A-Za-z0-9]{1,32})\s*(?:;|\Z)")
#: seconds between looks for a domain's record, and between tries to fetch what could not be fetched
_LOOK = 60.0
_FETCH_AGAIN = 300.0
_LONGEST_AGE = 31_557_600  # RFC 8461 3.2
_LARGEST = 64 * 1024
_PATIENCE = 20.0
_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Policy:
    """One that was read. `mode` is enforce, testing or none."""

    mode: str
    patterns: tuple[str, ...]
    max_age: int

    @property
    def enforced(self) -> bool:
        return self.mode == "enforce"

    def allows(self, host: str) -> bool:
        """Whether a pattern names the host; `*` stands for one label, the first (RFC 8461 4.1)."""
        return any(
            host == pattern or (pattern.startswith("*.") and host.partition(".")[2] == pattern[2:])
            for pattern in self.patterns
        )

    def allowed(self, hosts: Sequence[Host]) -> tuple[Host, ...]:
        return tuple(host for host in hosts if self.allows(host.name))


@dataclass(slots=True)
class _Known:
    """What is known about one domain; `until` is when the policy ends, `look` when to ask again."""

    policy: Policy | None = None
    identifier: str = ""
    until: float = 0.0
    look: float = 0.0
    fetch: float = 0.0
    #: mail that comes while somebody looks must wait for what is found
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Policies:
    """The policies of all domains that got mail lately."""

    def __init__(self, options: MxOptions, lookup: Lookup) -> None:
        self._options = options
        self._lookup = lookup
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def of(self, domain: str) -> Policy | None:
        """The policy in force. A domain whose policy is out of reach is held to the last one while that lasts."""
        if not self._options.mta_sts or domain.startswith("["):
            return None
        known = self._known.get(domain)
        if known is None:
            known = self._known[domain] = _Known()
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(domain)
        async with known.looking:
            moment = time.monotonic()
            if known.look <= moment:
                await self._look(domain, known)
                known.look = moment + _LOOK
        return known.policy if known.until > time.monotonic() else None

    async def _look(self, domain: str, known: _Known) -> None:
        identifier = await self._identifier(domain)
        moment = time.monotonic()
        if identifier is None or (identifier == known.identifier and known.until > moment):
            return
        if known.fetch > moment:
            return
        policy = await self._fetch(domain)
        if policy is None:
            known.fetch = moment + _FETCH_AGAIN
            return
        known.policy, known.identifier = policy, identifier
        known.until = moment + min(policy.max_age, _LONGEST_AGE)

    async def _identifier(self, domain: str) -> str | None:
        """RFC 8461 3.1: exactly one record, or the domain has none."""
        try:
            texts = await self._lookup.records(f"_mta-sts.{domain}", "TXT")
        except (dns.resolver.NXDOMAIN, NoWay):
            return None
        written = ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', text)) for text in texts]
        records = [text for text in written if text.startswith("v=STSv1")]
        found = _RECORD.match(records[0]) if len(records) == 1 else None
        return found[1] if found else None

    async def _fetch(self, domain: str) -> Policy | None:
        """RFC 8461 3.3: over HTTPS with a good certificate, without redirects."""
        name = f"mta-sts.{domain}"
        try:
            addresses = await self._lookup.addresses(name)
        except NoWay:
            return None
        for address in addresses[:2]:
            try:
                written = await self._get(name, address)
            except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError):
                continue
            return parse(written)
        return None

    async def _get(self, name: str, address: str) -> str:
        # To the address that was looked at, so that nothing between look and call can put another in its place.
        where = f"[{address}]" if ":" in address else address
        async with (
            httpx2.AsyncClient(
                verify=tls_context(self._options.ca_file, verify=True),
                trust_env=False,
                follow_redirects=False,
                timeout=_PATIENCE,
            ) as client,
            client.stream(
                "GET",
                f"https://{where}:{self._options.policy_port}/.well-known/mta-sts.txt",
                headers={"host": name},
                extensions={"sni_hostname": name},
            ) as response,
        ):
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if response.status_code != 200 or kind != "text/plain":
                raise ValueError(f"{response.status_code} {kind}")
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _LARGEST:
                    raise ValueError("too long")
            return body.decode("utf-8", "replace")


def parse(text: str) -> Policy | None:
    """A policy as it is written (RFC 8461 3.2); None where it is none. Unknown fields are passed over."""
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == "mx":
            patterns.append(value.lower().rstrip("."))
        elif name:
            fields.setdefault(name, value)
    mode, age = fields.get("mode"), fields.get("max_age", "")
    if fields.get("version") != "STSv1" or mode not in {"enforce", "testing", "none"} or not age.isdecimal():
        return None
    if mode != "none" and not patterns:
        return None
    return Policy(mode, tuple(patterns), int(age[:10]))
