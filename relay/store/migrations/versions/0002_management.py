"""Suppressions, idempotency keys, what management needs of accounts and keys, and an index for each filter."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant, Json

revision = "0002"
down_revision = "0001"

_FAILED = "status IN ('UNSENT', 'BOUNCED', 'COMPLAINT')"


def upgrade() -> None:
    op.create_table(
        "suppression",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("account_id", BigInt, nullable=True),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("note", sa.String(length=1000), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_suppression_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_suppression"),
        sa.UniqueConstraint("account_id", "address", name="uq_suppression_account_id_address"),
    )
    op.create_index("ix_suppression_account_id_id", "suppression", ["account_id", "id"])
    op.create_index(
        "uq_suppression_everywhere",
        "suppression",
        ["address"],
        unique=True,
        sqlite_where=sa.text("account_id IS NULL"),
        postgresql_where=sa.text("account_id IS NULL"),
    )
    op.create_table(
        "idempotency",
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("key", sa.String(length=270), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("message_id", BigInt, nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_idempotency_account_id"),
        sa.PrimaryKeyConstraint("account_id", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_expires_at", "idempotency", ["expires_at"])
    op.add_column("account", sa.Column("disabled_at", Instant(), nullable=True))
    op.add_column("api_key", sa.Column("networks", Json, nullable=True))
    op.add_column("api_key", sa.Column("rate_limit", sa.Integer(), nullable=True))
    op.add_column("api_key", sa.Column("daily_quota", sa.Integer(), nullable=True))
    op.add_column("api_key", sa.Column("last_used_at", Instant(), nullable=True))
    op.add_column("message", sa.Column("from_address", sa.String(length=255), nullable=True))
    op.create_index("ix_message_account_id_from_address", "message", ["account_id", "from_address", "id"])
    op.create_index(
        "ix_message_failed",
        "message",
        ["account_id", "status", "id"],
        sqlite_where=sa.text(_FAILED),
        postgresql_where=sa.text(_FAILED),
    )
    op.create_index(
        "ix_message_account_id_error_code",
        "message",
        ["account_id", "error_code", "id"],
        sqlite_where=sa.text("error_code IS NOT NULL"),
        postgresql_where=sa.text("error_code IS NOT NULL"),
    )
    op.create_index("ix_recipient_address", "recipient", ["address"])


def downgrade() -> None:
    op.drop_index("ix_recipient_address", "recipient")
    for index in ("error_code", "from_address"):
        op.drop_index(f"ix_message_account_id_{index}", "message")
    op.drop_index("ix_message_failed", "message")
    for table, columns in (
        ("message", ("from_address",)),
        ("api_key", ("last_used_at", "daily_quota", "rate_limit", "networks")),
        ("account", ("disabled_at",)),
    ):
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.drop_column(column)
    op.drop_table("idempotency")
    op.drop_table("suppression")
