"""What operators do to the queue, and claims that are fair to accounts."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def _index(name: str, columns: list[str], where: str) -> None:
    op.create_index(
        f"ix_recipient_{name}",
        "recipient",
        columns,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def upgrade() -> None:
    op.add_column("recipient", sa.Column("route", sa.String(length=64), nullable=True))
    op.drop_index("ix_recipient_due", "recipient")
    op.drop_index("ix_recipient_waiting_for", "recipient")
    _index("due", ["lane", "account_id", "due_at"], "state = 'queued'")
    _index("waiting_for", ["waiting_for", "lane", "account_id", "id"], "waiting_for IS NOT NULL")
    _index("stopped", ["state", "lane", "account_id", "id"], "state IN ('held', 'parked')")


def downgrade() -> None:
    op.drop_index("ix_recipient_stopped", "recipient")
    op.drop_index("ix_recipient_due", "recipient")
    op.drop_index("ix_recipient_waiting_for", "recipient")
    _index("due", ["lane", "due_at"], "state = 'queued'")
    _index("waiting_for", ["waiting_for", "id"], "waiting_for IS NOT NULL")
    op.drop_column("recipient", "route")
