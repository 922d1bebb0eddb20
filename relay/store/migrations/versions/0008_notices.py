"""Customer webhooks: endpoints, notices, attempts."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant, Json

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "endpoint",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=False),
        sa.Column("kinds", Json, nullable=True),
        sa.Column("streams", Json, nullable=True),
        sa.Column("tags", Json, nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", Instant(), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state_at", Instant(), nullable=False),
        sa.Column("failing_since", Instant(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("paused_until", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_endpoint_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_endpoint"),
    )
    op.create_index("ix_endpoint_account_id_id", "endpoint", ["account_id", "id"])
    op.create_table(
        "notice",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("endpoint_id", BigInt, nullable=False),
        sa.Column("message_id", BigInt, nullable=True),
        sa.Column("event_id", BigInt, nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("first_at", Instant(), nullable=True),
        sa.Column("done_at", Instant(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_notice"),
    )
    op.create_index("ix_notice_endpoint_id_id", "notice", ["endpoint_id", "id"])
    op.create_index("ix_notice_message", "notice", ["endpoint_id", "message_id", "id"])
    for name, column, where in (
        ("due", "due_at", "done_at IS NULL"),
        ("failed", "id", "state = 'failed'"),
    ):
        op.create_index(
            f"ix_notice_{name}",
            "notice",
            ["endpoint_id", column],
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
    op.create_table(
        "notice_attempt",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("endpoint_id", BigInt, nullable=False),
        sa.Column("notice_id", BigInt, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("ms", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_notice_attempt"),
    )
    op.create_index("ix_notice_attempt_endpoint_id_id", "notice_attempt", ["endpoint_id", "id"])
    op.create_index("ix_notice_attempt_notice_id_id", "notice_attempt", ["notice_id", "id"])


def downgrade() -> None:
    for table in ("notice_attempt", "notice", "endpoint"):
        op.drop_table(table)
