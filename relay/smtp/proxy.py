"""The PROXY protocol: who a load balancer's client is, told before the first octet of SMTP.

Versions 1 and 2 as published by HAProxy (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
"""

import re
from ipaddress import IPv4Address, IPv6Address

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HEADER = 16  # octets of version 2 before the addresses
_MAX_LINE = 107  # octets of version 1 with CRLF, section 2.1
_MAX_BINARY = 4096  # octets of version 2 after its header; addresses and TLVs need a few hundred
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?|TCP([46]) ([0-9A-Fa-f:.]+) [0-9A-Fa-f:.]+ \d{1,5} \d{1,5})\r\n"
)


class BadHeader(ValueError):
    """That is no PROXY header."""


def take(buffer: bytearray) -> str | None:
    """Remove the header from the front of `buffer` and return the client's address.

    Empty means that the balancer speaks for itself, None that more octets are needed. Raises `BadHeader`.
    """
    if buffer.startswith(_SIGNATURE[: len(buffer)]):
        return _binary(buffer)
    return _text(buffer)


def _text(buffer: bytearray) -> str | None:
    end = buffer.find(b"\n", 0, _MAX_LINE)
    if end < 0:
        if len(buffer) >= _MAX_LINE or not buffer.startswith(b"PROXY "[: len(buffer)]):
            raise BadHeader("no PROXY header")
        return None
    found = _LINE.fullmatch(bytes(buffer[: end + 1]))
    if found is None:
        raise BadHeader("malformed PROXY header")
    del buffer[: end + 1]
    if found[1] is None:
        return ""
    try:
        return str((IPv4Address if found[1] == b"4" else IPv6Address)(found[2].decode()))
    except ValueError:
        raise BadHeader("malformed address in a PROXY header") from None


def _binary(buffer: bytearray) -> str | None:
    if len(buffer) < _HEADER:
        return None
    kind, family = buffer[12], buffer[13]
    length = int.from_bytes(buffer[14:16], "big")
    if kind not in {0x20, 0x21} or length > _MAX_BINARY:
        raise BadHeader("malformed PROXY header")
    if len(buffer) < _HEADER + length:
        return None
    body = bytes(buffer[_HEADER : _HEADER + length])
    del buffer[: _HEADER + length]
    if kind == 0x20:
        # The balancer's own connection, to see whether we are alive.
        return ""
    match family:
        case 0x11 if length >= 12:
            return str(IPv4Address(body[:4]))
        case 0x21 if length >= 36:
            return str(IPv6Address(body[:16]))
        case 0x11 | 0x21:
            raise BadHeader("short PROXY header")
    return ""
