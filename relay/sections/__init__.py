"""The tables of the configuration file; `relay.config` puts them together."""

from relay.sections.base import (
    MIB,
    Bytes,
    Faults,
    Network,
    Port,
    ProviderName,
    Seconds,
    Section,
)
from relay.sections.batches import BatchSettings
from relay.sections.doors import (
    ApiSettings,
    AttachmentSettings,
    LimitSettings,
    ListenerSettings,
    SmtpSettings,
)
from relay.sections.engine import (
    DatabaseSettings,
    DeliverySettings,
    DkimSettings,
    LogSettings,
    QueueSettings,
    RetrySettings,
)
from relay.sections.ingest import IngestSettings
from relay.sections.notices import NoticeSettings
from relay.sections.observe import MetricsSettings, TraceSettings
from relay.sections.retention import RetentionSettings
from relay.sections.routes import (
    LIMITS,
    CircuitSettings,
    ProviderLimits,
    RouteSettings,
    RoutesSettings,
    RuleSettings,
    WarmUpSettings,
    When,
)
from relay.sections.security import SecuritySettings
from relay.sections.tracking import TrackingSettings

__all__ = [
    "LIMITS",
    "MIB",
    "ApiSettings",
    "AttachmentSettings",
    "BatchSettings",
    "Bytes",
    "CircuitSettings",
    "DatabaseSettings",
    "DeliverySettings",
    "DkimSettings",
    "Faults",
    "IngestSettings",
    "LimitSettings",
    "ListenerSettings",
    "LogSettings",
    "MetricsSettings",
    "Network",
    "NoticeSettings",
    "Port",
    "ProviderLimits",
    "ProviderName",
    "QueueSettings",
    "RetentionSettings",
    "RetrySettings",
    "RouteSettings",
    "RoutesSettings",
    "RuleSettings",
    "Seconds",
    "Section",
    "SecuritySettings",
    "SmtpSettings",
    "TraceSettings",
    "TrackingSettings",
    "WarmUpSettings",
    "When",
]
