"""The record: SQLModel tables. What a row means is said in these modules; how it is reached, in those beside.

Hot paths use Core statements on the table objects named at the end; the models serve administration. Enumerations
are stored as their words. There are no relationships: every read names what it reads.
"""

from sqlmodel import SQLModel

from relay.store.tables.batches import (
    Batch,
    BatchPart,
    BatchRow,
)
from relay.store.tables.console import (
    AuditRow,
    ConsoleSession,
)
from relay.store.tables.ingest import (
    InboxRow,
)
from relay.store.tables.mail import (
    Body,
    EventRow,
    IdempotencyRow,
    Message,
    Params,
    Recipient,
)
from relay.store.tables.notices import (
    Endpoint,
    Notice,
    NoticeAttempt,
)
from relay.store.tables.operation import (
    LeaderLease,
    ProviderState,
    ProviderUsage,
    WorkerRow,
)
from relay.store.tables.people import (
    Account,
    ApiKey,
    DkimKey,
    Sender,
    Suppression,
)
from relay.store.tables.retention import (
    ErasureRow,
    RetentionRow,
    SweepRow,
)
from relay.store.tables.secrets import (
    SecretRow,
)
from relay.store.tables.statistics import (
    CountedRow,
    RollupRow,
)
from relay.store.tables.streams import (
    StreamRow,
)
from relay.store.tables.templates import (
    Template,
    TemplateVersion,
)

#: Table objects for Core statements, under the names they are read by.
account = Account.__table__  # type: ignore[attr-defined]
sender = Sender.__table__  # type: ignore[attr-defined]
api_key = ApiKey.__table__  # type: ignore[attr-defined]
message = Message.__table__  # type: ignore[attr-defined]
body = Body.__table__  # type: ignore[attr-defined]
params = Params.__table__  # type: ignore[attr-defined]
recipient = Recipient.__table__  # type: ignore[attr-defined]
event = EventRow.__table__  # type: ignore[attr-defined]
suppression = Suppression.__table__  # type: ignore[attr-defined]
idempotency = IdempotencyRow.__table__  # type: ignore[attr-defined]
leader_lease = LeaderLease.__table__  # type: ignore[attr-defined]
provider_state = ProviderState.__table__  # type: ignore[attr-defined]
provider_usage = ProviderUsage.__table__  # type: ignore[attr-defined]
worker = WorkerRow.__table__  # type: ignore[attr-defined]
dkim_key = DkimKey.__table__  # type: ignore[attr-defined]
secret = SecretRow.__table__  # type: ignore[attr-defined]
stream = StreamRow.__table__  # type: ignore[attr-defined]
inbox = InboxRow.__table__  # type: ignore[attr-defined]
endpoint = Endpoint.__table__  # type: ignore[attr-defined]
notice = Notice.__table__  # type: ignore[attr-defined]
notice_attempt = NoticeAttempt.__table__  # type: ignore[attr-defined]
console_session = ConsoleSession.__table__  # type: ignore[attr-defined]
template = Template.__table__  # type: ignore[attr-defined]
template_version = TemplateVersion.__table__  # type: ignore[attr-defined]
batch = Batch.__table__  # type: ignore[attr-defined]
batch_part = BatchPart.__table__  # type: ignore[attr-defined]
batch_row = BatchRow.__table__  # type: ignore[attr-defined]
audit = AuditRow.__table__  # type: ignore[attr-defined]
rollup = RollupRow.__table__  # type: ignore[attr-defined]
counted = CountedRow.__table__  # type: ignore[attr-defined]
retention = RetentionRow.__table__  # type: ignore[attr-defined]
sweep = SweepRow.__table__  # type: ignore[attr-defined]
erasure = ErasureRow.__table__  # type: ignore[attr-defined]
metadata = SQLModel.metadata
