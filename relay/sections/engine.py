"""Settings of what is behind the doors: the record, the queue, the workers, the logs."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from relay.core.retry import Schedule
from relay.sections.base import MIB, Bytes, Seconds, Section


class DatabaseSettings(Section):
    """Where the record is kept."""

    #: `sqlite:///path` or `postgresql://user:password@host/name`; empty means SQLite in the data directory
    url: SecretStr = SecretStr("")
    #: connections per process on PostgreSQL
    pool_size: int = Field(default=10, ge=1)


class QueueSettings(Section):
    """Where wake-ups go. Losing them costs seconds, never mail."""

    #: `redis://`, `rediss://`, `valkey://` or `unix://`; empty means the embedded server of `pillarbox up`
    url: SecretStr = SecretStr("")
    #: before every name in the queue server, which several installations may share
    namespace: str = "pillarbox"


class RetrySettings(Section):
    """When deferred mail is tried again; see `relay.core.retry`."""

    delays: tuple[Seconds, ...] = tuple(Schedule().delays)  #: seconds between tries; the last one repeats
    #: seconds after which mail that is still deferred bounces
    give_up_after: Seconds = Schedule().give_up_after
    #: share of a delay by which it may be longer or shorter
    jitter: float = Field(default=Schedule().jitter, ge=0, lt=1)

    def schedule(self) -> Schedule:
        return Schedule(self.delays, self.give_up_after, self.jitter)


class DeliverySettings(Section):
    """The workers."""

    processes: int = Field(default=1, ge=1, le=64)  #: that `pillarbox up` starts
    #: mails in flight in one worker process
    concurrency: int = Field(default=256, ge=1)
    #: of these, kept free for the urgent lane
    urgent_reserve: int = Field(default=32, ge=0)
    #: octets of mail bodies in memory in one worker process
    memory: Bytes = 256 * MIB
    #: seconds after which a silent worker's mail is given to another
    lease: Seconds = 30
    #: crashes of a worker with the same mail in hand before that mail is taken out of the queue
    poison_after: int = Field(default=3, ge=1)
    retry: RetrySettings = RetrySettings()
    #: what an unclear outcome means: try again (a double is possible) or leave it to a human
    ambiguous: Literal["at_least_once", "at_most_once"] = "at_least_once"


class DkimSettings(Section):
    """A key with which mail from a domain and its subdomains is signed."""

    #: in the sender's address
    domain: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
    #: the public key is in DNS at `<selector>._domainkey.<domain>`
    selector: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
    key_file: Path  #: PEM, unencrypted: RSA of 2048 bits or more, or Ed25519


class LogSettings(Section):
    """What the processes say on standard error."""

    format: Literal["auto", "json", "console"] = "auto"  #: auto: console on a terminal, else JSON
    level: Literal["debug", "info", "warning", "error"] = "info"  #: the least pressing lines that are written
    addresses: Literal["masked", "full"] = "masked"  #: masked: `s***@example.net`
