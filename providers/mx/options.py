"""What an operator may say about delivery without a smarthost."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from providers.options import Options
from providers.smtp.options import EHLO_NAME, SmtpOptions, Tls, ip_address
from relay.core.errors import Misconfigured

_RESOLVER = re.compile(r"\[?(?P<address>[0-9A-Fa-f.:]+?)\]?(?::(?P<port>[0-9]{1,5}))?\Z")


@dataclass(frozen=True, slots=True)
class MxOptions:
    """Validated options; times in seconds."""

    hostname: str  #: our name in EHLO; its address should lead back to it
    port: int  #: of the recipients' servers
    tls: Tls  #: opportunistic, require or none
    mta_sts: bool  #: do what recipient domains publish about TLS (RFC 8461)
    policy_port: int  #: where they publish it
    ca_file: str | None  #: certificates to trust, where one is checked, instead of the system's
    resolver: tuple[str, int] | None  #: name server to ask instead of the system's
    dns_timeout: float
    source_address: str | None
    ip: tuple[int, ...]  #: versions of IP to connect by, the preferred one first
    allow_private: bool  #: connect to addresses that are not public, too
    max_connections: int  #: in all
    max_connections_per_destination: int
    max_messages_per_connection: int
    connect_timeout: float
    command_timeout: float
    data_timeout: float
    idle: float

    def line(self) -> SmtpOptions:
        """What all lines have in common; who they lead to is filled in when one is opened."""
        return SmtpOptions(
            host="",
            port=self.port,
            tls=self.tls,
            verify=False,
            ca_file=self.ca_file,
            hostname=self.hostname,
            max_connections=self.max_connections_per_destination,
            max_messages_per_connection=self.max_messages_per_connection,
            connect_timeout=self.connect_timeout,
            command_timeout=self.command_timeout,
            data_timeout=self.data_timeout,
            idle=self.idle,
            username=None,
            password=None,
            tokens=None,
            source_address=self.source_address,
        )


def read_options(given: Mapping[str, Any]) -> MxOptions:
    """Raises `Misconfigured` for an unknown, missing or unusable option.

    `hostname` is needed: receivers compare it with the name that our address leads back to. `tls = "require"`
    sends nothing in the clear; certificates are checked where a domain's MTA-STS policy demands it. `ip` is
    "both", "v4" or "v6". `resolver` is an address, with a port where that is not 53. `allow_private` is for
    tests and closed networks: anybody may point the MX of a domain at 127.0.0.1 or at a machine of yours.
    """
    options = Options(given)
    hostname = options.needed("hostname")
    read = MxOptions(
        hostname=hostname,
        port=options.integer("port", 25, least=1, most=65_535),
        tls=Tls(options.choice("tls", Tls.OPPORTUNISTIC, (Tls.OPPORTUNISTIC, Tls.REQUIRE, Tls.NONE))),
        mta_sts=options.flag("mta_sts", default=True),
        policy_port=options.integer("policy_port", 443, least=1, most=65_535),
        ca_file=options.text("ca_file"),
        resolver=_resolver(options.text("resolver")),
        dns_timeout=options.seconds("dns_timeout", 10, most=300),
        source_address=ip_address(options.text("source_address"), "source_address"),
        ip={"both": (4, 6), "v4": (4,), "v6": (6,)}[options.choice("ip", "both", ("both", "v4", "v6"))],
        allow_private=options.flag("allow_private", default=False),
        max_connections=options.integer("max_connections", 200, least=1, most=10_000),
        max_connections_per_destination=options.integer(
            "max_connections_per_destination", 5, least=1, most=1_000
        ),
        max_messages_per_connection=options.integer(
            "max_messages_per_connection", 100, least=1, most=1_000_000
        ),
        connect_timeout=options.seconds("connect_timeout", 30),
        command_timeout=options.seconds("command_timeout", 300),
        data_timeout=options.seconds("data_timeout", 600),
        idle=options.seconds("idle", 10),
    )
    options.finish()
    if read.source_address is not None:
        version = ipaddress.ip_address(read.source_address).version
        if version not in read.ip:
            raise Misconfigured("source_address is not of the version of IP that ip names")
        read = replace(read, ip=(version,))
    if not EHLO_NAME.match(hostname):
        raise Misconfigured("hostname must be a host name or an address in brackets")
    if read.mta_sts and read.tls is Tls.NONE:
        raise Misconfigured('mta_sts has no meaning with tls = "none": say mta_sts = false')
    return read


def _resolver(written: str | None) -> tuple[str, int] | None:
    if written is None:
        return None
    # A bare IPv6 address has colons of its own.
    if written.count(":") > 1 and not written.startswith("["):
        address, port = written, 53
    else:
        found = _RESOLVER.match(written)
        if found is None:
            raise Misconfigured("resolver must be an IP address, with a port where that is not 53")
        address, port = found["address"], int(found["port"] or 53)
    checked = ip_address(address, "resolver")
    if checked is None or not 0 < port < 65_536:
        raise Misconfigured("resolver must be an IP address, with a port where that is not 53")
    return checked, port
