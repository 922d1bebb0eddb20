"""Which addresses a stranger may have us connect to: the internet's, and nothing of ours or special.

From the IANA registries of special-purpose addresses (https://www.iana.org/assignments/iana-ipv4-special-registry,
https://www.iana.org/assignments/iana-ipv6-special-registry); the table is ours because what the standard library
counts as global differs between its releases.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_V4 = tuple(
    (IPv4Network(network), words)
    for network, words in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a carrier's private network"),
        ("127.0.0.0/8", "this machine"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("169.254.0.0/16", "a link-local network, where clouds have their metadata services"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "reserved"),
        ("192.52.193.0/24", "reserved"),
        ("192.88.99.0/24", "a relay into IPv6"),
        ("192.168.0.0/16", "a private network"),
        ("192.175.48.0/24", "reserved"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_V6 = tuple(
    (IPv6Network(network), words)
    for network, words in (
        ("::/128", "this network"),
        ("::1/128", "this machine"),
        ("64:ff9b::/96", "a translation to IPv4"),
        ("64:ff9b:1::/48", "a translation to IPv4"),
        ("100::/64", "for discarding"),
        ("100:0:0:1::/64", "for discarding"),
        ("2001::/32", "a tunnel to IPv4"),
        ("2001:2::/48", "for benchmarks"),
        ("2001:db8::/32", "for documentation"),
        ("2001::/23", "reserved"),
        ("2002::/16", "a tunnel to IPv4"),
        ("2620:4f:8000::/48", "reserved"),
        ("3fff::/20", "for documentation"),
        ("5f00::/16", "a segment identifier"),
        ("fc00::/7", "a private network"),
        ("fe80::/10", "a link-local network"),
        ("fec0::/10", "a private network"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")


@lru_cache(maxsize=4096)
def refusal(address: Address, allowed: tuple[Network, ...] = ()) -> str | None:
    """Why there is to be no connection to `address`, as words after "is"; None when there may be one.

    What lies in an `allowed` network may be connected to, whatever it is. An IPv4 address within an IPv6 one
    (`::ffff:10.0.0.1`) is looked at as what it is; translations and tunnels are refused whole, as nobody can say
    where they end.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address.version == network.version and address in network for network in allowed):
        return None
    if isinstance(address, IPv4Address):
        return next((words for network, words in _V4 if address in network), None)
    for network, words in _V6:
        if address in network:
            return words
    return None if address in _GLOBAL_V6 else "reserved"


def literal(host: str) -> Address | None:
    """The address that a URL's host is, in any spelling that a resolver would take for one; None for a name.

    Resolvers also take `127.1`, `0x7f000001` and `2130706433` for addresses (inet_aton(3)).
    """
    text = host.strip("[]").partition("%")[0]
    try:
        return ip_address(text)
    except ValueError:
        return _old_spelling(text.rstrip("."))


def _old_spelling(text: str) -> IPv4Address | None:
    parts = text.split(".")
    if not 1 <= len(parts) <= 4:
        return None
    numbers = [_number(part) for part in parts]
    if any(number is None for number in numbers):
        return None
    *first, last = [number for number in numbers if number is not None]
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        return None
    value = last
    for place, number in enumerate(first):
        value += number << 8 * (3 - place)
    return IPv4Address(value)


def _number(text: str) -> int | None:
    if not text or not text.isascii() or not text.isalnum():
        return None
    try:
        if text[:2].lower() == "0x":
            return int(text[2:] or "0", 16)
        return int(text, 8 if text[0] == "0" and len(text) > 1 else 10)
    except ValueError:
        return None


def first_refusal(addresses: Sequence[Address], allowed: tuple[Network, ...]) -> tuple[Address, str] | None:
    """The first of `addresses` that is refused, and why: a name with one forbidden address is refused whole."""
    for address in addresses:
        words = refusal(address, allowed)
        if words is not None:
            return address, words
    return None
