"""What becomes of mail, as others tell it: webhooks of providers, bounce mail."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from relay.core.address import InvalidAddress, normalise
from relay.core.return_path import ReturnPaths
from relay.sections.base import MIB, Bytes, Port, Seconds, Section

_DAY = 86400.0
_PORTS = {
    ("imap", "implicit"): 993,
    ("imap", "starttls"): 143,
    ("imap", "none"): 143,
    ("pop3", "implicit"): 995,
    ("pop3", "starttls"): 110,
    ("pop3", "none"): 110,
}


def _domain(text: str) -> str:
    if not text:
        return ""
    try:
        found = normalise(f"b@{text}").partition("@")[2].lower()
    except InvalidAddress:
        raise ValueError("must be a domain, such as bounce.example.org") from None
    if "." not in found or not found.isascii() or len(found) > 200:
        raise ValueError("must be a domain in ASCII, such as bounce.example.org")
    return found


class MailboxSettings(Section):
    """A mailbox that is looked into for bounces and complaints."""

    protocol: Literal["imap", "pop3"] = "imap"  #: how the mailbox is reached
    host: str = Field(min_length=1)  #: the mail server's name, as its certificate has it
    port: Port = 0  #: 0 means the protocol's own
    #: `implicit` is TLS from the first byte
    tls: Literal["implicit", "starttls", "none"] = "implicit"
    ca: Path | None = None  #: certificates to trust, in PEM; left out, those of the system
    user: str = Field(min_length=1)  #: the name to log in with
    password: SecretStr  #: as `env:NAME` or `file:/path`
    folder: str = "INBOX"  #: with IMAP
    #: what becomes of mail that was read; with POP3 it is deleted
    done: Literal["delete", "mark", "move"] = "delete"
    move_to: str = ""  #: the folder for `done = "move"`
    interval: Seconds = 60  #: seconds between two looks

    @model_validator(mode="after")
    def _consistent(self) -> "MailboxSettings":
        if self.protocol == "pop3" and (self.done != "delete" or self.folder != "INBOX"):
            raise ValueError('POP3 knows no folders and no marks: leave folder out, and done at "delete"')
        if (self.done == "move") != bool(self.move_to):
            raise ValueError('move_to and done = "move" belong together')
        return self

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port or _PORTS[self.protocol, self.tls]

    @property
    def name(self) -> str:
        """For logs and leases."""
        return f"{self.user}@{self.host}/{self.folder}"


class IngestSettings(Section):
    """What becomes of mail, as others tell it: webhooks of providers, bounce mail."""

    #: octets of one webhook request
    max_webhook: Bytes = 5 * MIB
    #: tries to read what was told before it is set aside
    tries: Annotated[int, Field(ge=1)] = 5
    #: how long reports are tried whose mail has not turned up
    early_for: Seconds = 3600.0
    #: how long these are kept for looking at after that
    keep_orphans: Seconds = 7 * _DAY
    #: how long what could not be read is kept
    keep_failed: Seconds = 30 * _DAY
    #: bounces come home to addresses in this domain; empty means that every mail keeps its sender's return path
    bounce_domain: Annotated[str, AfterValidator(_domain)] = ""
    #: days for which a bounce is believed
    bounce_days: int = Field(default=14, ge=1, le=365)
    #: octets of a bounce that are kept; what it returns beyond that is of no use
    bounce_size: Bytes = MIB
    #: bounces per minute that the door takes from one network address; 0 means any number
    bounce_rate: int = Field(default=600, ge=0)
    #: mailboxes to look into for bounces and complaints
    mailboxes: tuple[MailboxSettings, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "IngestSettings":
        if self.mailboxes and not self.bounce_domain:
            raise ValueError(
                "mailboxes need bounce_domain: what they hold is believed only with a return path of ours"
            )
        return self

    def return_paths(self, secret: bytes) -> ReturnPaths | None:
        """The maker of return paths with the installation's secret; None while they are off."""
        if not self.bounce_domain:
            return None
        return ReturnPaths(secret, self.bounce_domain, timedelta(days=self.bounce_days))
