"""Who is handing mail in."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from relay.core.stream import UNSAID, Track

Network = IPv4Network | IPv6Network
#: what a key may be allowed: handing mail in, reading the account's mail, managing the account, everything
SCOPES = ("send", "read", "manage", "admin")


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated key and the account behind it."""

    account_id: int
    key_id: int
    account: str  #: the account's name
    email: str | None  #: the account's own address
    scopes: frozenset[str]
    expires_at: datetime | None
    senders: tuple[str, ...]  #: addresses, domains or `*`, in lower case
    rate_limit: int | None = None  #: sends per second by this key; None means the installation's
    daily_quota: int | None = None  #: sends per day (UTC) by this key; None means no end
    networks: tuple[Network, ...] = ()  #: where the key may be used from; empty means anywhere
    track: Track = UNSAID  #: whether its mail is tracked where neither the mail nor its stream says

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def may_send_as(self, address: str) -> bool:
        """Whether `address` (normalised) is one of the account's senders: exactly, by its domain, or by `*`."""
        senders = self.senders
        if "*" in senders:
            return True
        lowered = address.lower()
        return lowered in senders or lowered.rpartition("@")[2] in senders

    def may_come_from(self, peer: str | None) -> bool:
        """Whether the key may be used from this IP address. Where places are named, an unknown one is refused."""
        return not self.networks or (peer is not None and inside(peer, self.networks))


@lru_cache(maxsize=4096)
def inside(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether an IP address, with or without an IPv6 zone, lies in one of the networks; False for other text.

    An IPv4 address or network written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 one.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in _as_meant(network) for network in networks)


def _as_meant(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped and network.prefixlen >= 96:
        return IPv4Network((int(network.network_address.ipv4_mapped), network.prefixlen - 96))
    return network
