"""Metrics and traces."""

from ipaddress import IPv4Network, IPv6Network

from pydantic import Field, IPvAnyNetwork

from relay.sections.base import Port, Section


class MetricsSettings(Section):
    """Metrics for Prometheus."""

    #: who may read `/metrics` of the REST door, which has the counts of all processes of `pillarbox up`
    allow_from: tuple[IPvAnyNetwork, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    #: the address at which a process of its own (`smtp`, `api`, `worker`, `clock`) answers at `port`
    host: str = "127.0.0.1"
    port: Port = 0  #: 0 means that it does not


class TraceSettings(Section):
    """Traces by OpenTelemetry, one for each mail from its acceptance to its last event; needs the extra `otel`."""

    #: where to, by OTLP over HTTP: `http://localhost:4318/v1/traces`; empty means no traces
    endpoint: str = ""
    #: the share of mails that are traced
    ratio: float = Field(default=1.0, ge=0, le=1)
    #: how this installation is named in traces
    service: str = "pillarbox"
