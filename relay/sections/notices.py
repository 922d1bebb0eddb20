"""Webhooks to customers."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from pydantic import Field, IPvAnyNetwork

from relay.core.notice import STANDARD
from relay.sections.base import Port, Seconds, Section
from relay.sections.engine import RetrySettings

_DAY = 24 * 3600.0


class NoticeRetrySettings(RetrySettings):
    """When a webhook that failed is tried again; the defaults are those of Standard Webhooks."""

    #: seconds between tries; the last one repeats
    delays: tuple[Seconds, ...] = tuple(STANDARD.delays)
    #: seconds after which a notice is given up
    give_up_after: Seconds = STANDARD.give_up_after
    #: share of a delay by which it may be longer or shorter
    jitter: float = Field(default=STANDARD.jitter, ge=0, lt=1)


class NoticeSettings(Section):
    """Webhooks to customers."""

    #: networks that endpoints may be in although they are not the internet's, such as `10.20.0.0/16`
    allow_networks: tuple[IPvAnyNetwork, ...] = ()
    #: endpoints without TLS
    allow_http: bool = False
    #: ports that endpoints may have; empty means any
    ports: tuple[Port, ...] = (80, 443)
    #: certificates that are accepted beside those the system knows, as PEM
    ca_file: Path | None = None
    #: seconds for one try, from looking up the name to the end of the answer
    timeout: float = Field(default=10, gt=0, le=60)
    #: calls of one endpoint at one time in one worker process
    concurrency: int = Field(default=10, ge=1, le=100)
    #: calls of all endpoints at one time in one worker process
    max_concurrency: int = Field(default=200, ge=1)
    retry: NoticeRetrySettings = NoticeRetrySettings()
    #: seconds without one success after which an endpoint is disabled
    disable_after: Seconds = 3 * _DAY
    #: days for which notices and attempts are kept
    keep_days: int = Field(default=14, ge=4, le=365)
    #: endpoints of one account
    max_endpoints: int = Field(default=20, ge=1)

    @property
    def allowed(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(self.allow_networks)
