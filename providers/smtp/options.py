"""What an operator may say about a smarthost."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from providers.oauth import Tokens, google, microsoft
from providers.options import Options
from providers.smtp.presets import PRESETS
from relay.core.errors import Misconfigured


class Tls(StrEnum):
    """How the line is protected (RFC 3207, RFC 8314)."""

    REQUIRE = "require"  #: STARTTLS or nothing is sent
    IMPLICIT = "implicit"  #: TLS from the first octet, as on port 465
    OPPORTUNISTIC = "opportunistic"  #: STARTTLS where offered, certificate not checked, else in the clear
    NONE = "none"


# Letters, digits, dots, hyphens, and the brackets and colons of address literals.
_HOST = re.compile(r"[A-Za-z0-9._:-]+\Z")
EHLO_NAME = re.compile(r"[A-Za-z0-9._-]+\Z|\[[A-Za-z0-9.:]+\]\Z")


@dataclass(frozen=True, slots=True)
class SmtpOptions:
    """Validated options; times in seconds."""

    host: str
    port: int
    tls: Tls
    verify: bool  #: check the server's certificate and its name
    ca_file: str | None  #: certificates to trust instead of the system's
    hostname: str | None  #: our name in EHLO; None asks the system
    max_connections: int
    max_messages_per_connection: int
    connect_timeout: float  #: for each step of connecting and signing in
    command_timeout: float  #: for each reply before the data
    data_timeout: float  #: for progress within the data, and for the reply to its end
    idle: float  #: how long a connection is kept unused
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    tokens: Tokens | None = field(repr=False)  #: signs in with XOAUTH2 instead of a password
    source_address: str | None = None  #: the address of ours to connect from
    address: str | None = None  #: where to connect to, when `host` is but the name it is known by


def read_options(given: Mapping[str, Any]) -> SmtpOptions:
    """Raises `Misconfigured` for an unknown, missing or unusable option.

    `preset` names a service of `providers.smtp.presets`, and what else is said goes before it. `oauth = "microsoft"`
    or `"google"` with the options of `providers.oauth` signs in by access token.

    `source_address` is the address of ours to connect from, on a machine with several.

    Credentials want `tls = "require"` or `"implicit"`; `plaintext_auth = true` lifts that for a line that is
    private anyway. The command and data timeouts default to the minima of RFC 5321 4.5.3.2; the reply to the
    end of data is awaited that long because giving up earlier makes doubles (RFC 1047).
    """
    options = Options(given)
    preset = PRESETS.get(options.choice("preset", "", ("", *PRESETS)))
    if preset is None:
        host, usual_port, usual_name = options.needed("host"), 587, None
    else:
        region = options.needed("region") if "{region}" in preset.host else ""
        host = options.text("host") or preset.host.replace("{region}", region)
        usual_port, usual_name = preset.port, preset.username
    port = options.integer("port", usual_port, least=1, most=65_535)
    username = options.text("username", usual_name, secret=True)
    password = options.text("password", secret=True)
    tokens = _tokens(options)
    tls = Tls(options.choice("tls", _usual_tls(port, signs_in=username is not None), tuple(Tls)))
    verify = options.flag("verify", default=tls is not Tls.OPPORTUNISTIC)
    plaintext_auth = options.flag("plaintext_auth", default=False)
    read = SmtpOptions(
        host=host,
        port=port,
        tls=tls,
        verify=verify,
        ca_file=options.text("ca_file"),
        hostname=options.text("hostname"),
        max_connections=options.integer("max_connections", 20, least=1, most=1_000),
        max_messages_per_connection=options.integer(
            "max_messages_per_connection", 1_000, least=1, most=1_000_000
        ),
        connect_timeout=options.seconds("connect_timeout", 30),
        command_timeout=options.seconds("command_timeout", 300),
        data_timeout=options.seconds("data_timeout", 600),
        idle=options.seconds("idle", 30),
        username=username,
        password=password,
        tokens=tokens,
        source_address=ip_address(options.text("source_address"), "source_address"),
    )
    options.finish()
    if not _HOST.match(host):
        raise Misconfigured("host must be a host name or an address")
    if read.hostname is not None and not EHLO_NAME.match(read.hostname):
        raise Misconfigured("hostname must be a host name or an address in brackets")
    if tokens is not None and (username is None or password is not None):
        raise Misconfigured("oauth wants a username and no password")
    if tokens is None and (username is None) != (password is None):
        raise Misconfigured("username and password are needed together")
    if username is not None and tls in {Tls.NONE, Tls.OPPORTUNISTIC} and not plaintext_auth:
        raise Misconfigured(
            f'tls = "{tls}" could send the password in the clear: use "require" or "implicit", '
            "or say plaintext_auth = true"
        )
    if verify and tls is Tls.OPPORTUNISTIC:
        raise Misconfigured('verify has no meaning with tls = "opportunistic": use "require"')
    return read


def ip_address(written: str | None, option: str) -> str | None:
    """Raises `Misconfigured` for what is no IP address."""
    if written is None:
        return None
    try:
        return str(ipaddress.ip_address(written))
    except ValueError:
        raise Misconfigured(f"{option} must be an IP address") from None


def _usual_tls(port: int, *, signs_in: bool) -> str:
    if port == 465:
        return Tls.IMPLICIT
    return Tls.REQUIRE if port == 587 or signs_in else Tls.OPPORTUNISTIC


def _tokens(options: Options) -> Tokens | None:
    """https://learn.microsoft.com/en-us/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth"""
    kind = options.choice("oauth", "", ("", "microsoft", "google"))
    if kind == "microsoft":
        return microsoft(options, "https://outlook.office365.com/.default")
    return google(options) if kind == "google" else None
