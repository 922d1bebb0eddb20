"""Settings of the doors: SMTP, REST, and how much an account may hand in."""

import socket
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, IPvAnyNetwork, model_validator

from relay.core.address import parse_mailbox
from relay.core.filetype import TYPES
from relay.sections.base import MIB, Bytes, Port, Seconds, Section


def _mailbox(text: str) -> str:
    parse_mailbox(text)
    return text


class ListenerSettings(Section):
    """One address on which the SMTP door listens."""

    host: str = "127.0.0.1"  #: the address to listen on; `0.0.0.0` or `::` for all
    port: Port = 2525  #: 0 lets the system choose
    #: `starttls` needs a certificate to offer it; `implicit` is TLS from the first byte
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    certificate: Path | None = None  #: PEM, with its chain; read again when it changes
    key: Path | None = None  #: PEM, of the certificate
    #: clients that may use AUTH without TLS
    plain_auth_from: tuple[IPvAnyNetwork, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    #: clients that are served here; empty means all
    allow_from: tuple[IPvAnyNetwork, ...] = ()
    #: the account that clients in `allow_from` send for without AUTH, for devices that cannot log in
    account: str = ""
    #: load balancers that connect here and speak the PROXY protocol, version 1 or 2; empty means nobody does
    proxy_from: tuple[IPvAnyNetwork, ...] = ()
    #: connections of this listener at one time in one process; 0 means that only `smtp.max_connections` counts
    max_connections: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> "ListenerSettings":
        if self.tls == "implicit" and not (self.certificate and self.key):
            raise ValueError('tls = "implicit" needs certificate and key')
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together")
        if self.account and not self.allow_from:
            raise ValueError("account needs allow_from: whoever connects from there sends in its name")
        if self.account and any(network.prefixlen == 0 for network in self.allow_from):
            raise ValueError("account with an allow_from of the whole internet would be an open relay")
        if self.proxy_from and self.tls == "implicit":
            raise ValueError('proxy_from needs tls = "starttls" or "none": the PROXY header comes before TLS')
        return self


class SmtpSettings(Section):
    """The SMTP door."""

    listeners: tuple[ListenerSettings, ...] = (ListenerSettings(),)
    #: how the door names itself; empty means this host's name
    hostname: str = ""
    max_size: Bytes = 25 * MIB  #: octets of one mail
    max_recipients: int = Field(default=100, ge=1)  #: of one mail
    #: octets of one mail kept in memory; what is larger goes to a temporary file
    spool_memory: Bytes = 256 * 1024
    max_header: Bytes = 256 * 1024  #: octets of one header block
    max_hops: int = Field(default=50, ge=1)  #: Received fields before a mail counts as looping
    command_timeout: Seconds = 300  #: seconds that a client may take for a command
    data_timeout: Seconds = 120  #: seconds of an upload without a single octet arriving
    #: octets per second below which an upload is cut, on average and once it has lasted `data_timeout`
    min_data_rate: int = Field(default=100, ge=0)
    max_connections: int = Field(default=1000, ge=1)  #: at one time in one process
    #: of these, from one address; 0 means any number
    max_connections_per_address: int = Field(default=200, ge=0)
    #: of these, of one account; 0 means any number
    max_connections_per_account: int = Field(default=500, ge=0)
    #: refusals before a client is cut off; 20 times that after AUTH
    max_errors: int = Field(default=10, ge=1)
    max_idle_commands: int = Field(default=100, ge=1)  #: such as NOOP and RSET, between two mails
    max_transactions: int = Field(default=10_000, ge=1)  #: mails over one connection
    auth_delay: float = Field(default=0.5, ge=0, le=10)  #: seconds before a failed login is answered, growing
    #: failed logins before an address, or a user name, is locked
    max_auth_failures: int = Field(default=20, ge=1)
    auth_lock: Seconds = 900  #: seconds for which it is
    #: seconds the process may lag behind its work before new clients are asked to come back later
    max_lag: Seconds = 5
    processes: int = Field(default=1, ge=1, le=64)  #: that `pillarbox up` starts; they share the port

    @property
    def name(self) -> str:
        return self.hostname or socket.gethostname() or "localhost"


class AttachmentSettings(Section):
    """What may be attached to mail that comes by REST."""

    max_count: int = Field(default=0, ge=0)  #: files of one mail; 0 means any number
    max_file: int = Field(default=0, ge=0)  #: octets of one file; 0 means that only the total counts
    max_total: Bytes = 10 * MIB  #: octets of all files of one mail
    #: extensions in lower case; contents that are recognisably of another type are refused all the same
    types: tuple[str, ...] = TYPES
    #: refuse files in mail that goes out under the default sender
    need_own_sender: bool = False


class ApiSettings(Section):
    """The REST door."""

    host: str = "127.0.0.1"  #: the address to listen on; `0.0.0.0` or `::` for all
    port: Port = 8080  #: 0 lets the system choose
    #: proxies whose `X-Forwarded-For` tells the client's address, for keys bound to addresses and for who opened
    forwarded_from: tuple[IPvAnyNetwork, ...] = ()
    #: octets of one request; a body beyond it is answered 413 before it is read
    max_request: Bytes = 16 * MIB
    max_body: Bytes = MIB  #: octets of the contract's `body` field
    #: the sender of mail that names none, for accounts without an address of their own; any account may use it
    default_from: Annotated[str, AfterValidator(_mailbox)] = "Pillarbox <noreply@localhost>"
    #: octets of one request kept in memory; what is larger goes to a temporary file
    spool_memory: Bytes = 64 * 1024
    attachments: AttachmentSettings = AttachmentSettings()
    console: bool = True  #: whether this door has the operators' console, at `/console`
    processes: int = Field(default=1, ge=1, le=64)  #: that `pillarbox up` starts; they share the port


class LimitSettings(Section):
    """How much an account may do. Counted in the queue server, for all processes together."""

    #: requests to send per second and account; 0 means any number. A key may have a limit of its own.
    sends_per_second: int = Field(default=10, ge=0)
