"""Sessions of the console, and the audit log."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant, Json

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "console_session",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key_id", BigInt, nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("told", Json, nullable=True),
        sa.ForeignKeyConstraint(["key_id"], ["api_key.id"], name="fk_console_session_key_id"),
        sa.PrimaryKeyConstraint("id", name="pk_console_session"),
        sa.UniqueConstraint("digest", name="uq_console_session_digest"),
    )
    op.create_index("ix_console_session_key_id", "console_session", ["key_id"])
    op.create_index("ix_console_session_expires_at", "console_session", ["expires_at"])
    op.create_table(
        "audit",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("account_id", BigInt, nullable=True),
        sa.Column("key_id", BigInt, nullable=True),
        sa.Column("who", sa.String(length=330), nullable=False),
        sa.Column("door", sa.String(length=8), nullable=False),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("subject", sa.String(length=330), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("detail", Json, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )


def downgrade() -> None:
    op.drop_table("audit")
    op.drop_index("ix_console_session_expires_at", table_name="console_session")
    op.drop_index("ix_console_session_key_id", table_name="console_session")
    op.drop_table("console_session")
