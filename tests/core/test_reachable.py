"""The table of addresses that a stranger may have us connect to; nothing is connected here."""

from ipaddress import ip_address, ip_network

import pytest

from relay.core.reachable import first_refusal, literal, refusal

_FORBIDDEN = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
168.63.129.16 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1
192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1
239.255.255.250 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1
::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1
2001:0:7f00:1:: 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 3fff::1 5f00::1 fc00::1
fd00:ec2::254 fd12:3456::1 fe80::1 febf::1 fec0::1 ff02::1 ff0e::1 4000::1 e000::1 1::1
"""
_ALLOWED = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.0.1
169.255.0.1 168.63.129.15 172.15.255.255 172.32.0.0 192.0.1.1 192.167.0.1 192.169.0.1 198.17.0.1 198.20.0.1
223.255.255.255 ::ffff:8.8.8.8 2001:4860:4860::8888 2606:4700::1111 2a00:1450::1 2003::1 2400::1
"""
FORBIDDEN, ALLOWED = _FORBIDDEN.split(), _ALLOWED.split()


@pytest.mark.parametrize("address", FORBIDDEN)
def test_special_addresses_are_refused(address: str) -> None:
    assert refusal(ip_address(address))


@pytest.mark.parametrize("address", ALLOWED)
def test_the_internet_is_allowed(address: str) -> None:
    assert refusal(ip_address(address)) is None


def test_what_the_standard_library_calls_private_is_refused() -> None:
    for address in FORBIDDEN + ALLOWED:
        one = ip_address(address)
        mapped = getattr(one, "ipv4_mapped", None) or one
        if mapped.is_private or mapped.is_loopback or mapped.is_link_local or mapped.is_multicast:
            assert refusal(one), address


def test_an_operator_may_allow_a_network() -> None:
    allowed = (ip_network("10.20.0.0/16"), ip_network("fd00::/8"))
    assert refusal(ip_address("10.20.1.1"), allowed) is None
    assert refusal(ip_address("::ffff:10.20.1.1"), allowed) is None
    assert refusal(ip_address("fd00::1"), allowed) is None
    assert refusal(ip_address("10.21.1.1"), allowed) == "a private network"
    assert refusal(ip_address("127.0.0.1"), allowed) == "this machine"


def test_one_forbidden_address_is_enough() -> None:
    addresses = [ip_address("8.8.8.8"), ip_address("127.0.0.1")]
    assert first_refusal(addresses, ()) == (addresses[1], "this machine")
    assert first_refusal(addresses[:1], ()) is None


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("192.168.257", "192.168.1.1"),
    ],
)
def test_addresses_are_known_in_every_spelling(host: str, address: str) -> None:
    assert literal(host) == ip_address(address)


@pytest.mark.parametrize(
    "host",
    ["example.org", "127.0.0.1.example.org", "1.2.3.4.5", "256.1.1.1.1", "4294967296", "08.1", "a", ""],
)
def test_names_are_no_addresses(host: str) -> None:
    assert literal(host) is None
