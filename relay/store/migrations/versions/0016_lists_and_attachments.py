"""Attachments that go before the rest, rows of lists that go with their mail, and lists that wait for their time."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import Instant

revision = "0016"
down_revision = "0015"

_SCHEDULED = sa.text("state = 'ready' AND send_at IS NOT NULL")
_HAS_MAIL = sa.text("message_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("message", sa.Column("stripped_at", Instant(), nullable=True))
    op.create_index(
        "ix_batch_row_message_id",
        "batch_row",
        ["message_id"],
        sqlite_where=_HAS_MAIL,
        postgresql_where=_HAS_MAIL,
    )
    op.add_column("batch", sa.Column("send_at", Instant(), nullable=True))
    op.create_index(
        "ix_batch_scheduled",
        "batch",
        ["send_at"],
        sqlite_where=_SCHEDULED,
        postgresql_where=_SCHEDULED,
    )
    op.add_column("stream", sa.Column("provider", sa.String(length=64), nullable=True))


def downgrade() -> None:
    op.drop_column("stream", "provider")
    op.drop_index("ix_batch_scheduled", table_name="batch")
    op.drop_column("batch", "send_at")
    op.drop_index("ix_batch_row_message_id", table_name="batch_row")
    op.drop_column("message", "stripped_at")
