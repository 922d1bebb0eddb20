"""Every status but the commonest has its index, so that a list by status never reads a whole history."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_FAILED = sa.text("status IN ('UNSENT', 'BOUNCED', 'COMPLAINT')")
_NOT_SENT = sa.text("status <> 'SENT'")


def upgrade() -> None:
    _replace("ix_message_failed", "ix_message_status", _NOT_SENT)


def downgrade() -> None:
    _replace("ix_message_status", "ix_message_failed", _FAILED)


def _replace(old: str, new: str, where: sa.TextClause) -> None:
    op.create_index(
        new, "message", ["account_id", "status", "id"], sqlite_where=where, postgresql_where=where
    )
    op.drop_index(old, table_name="message")
