"""What workers share about providers, a waiting room for mail that cannot go yet, and an index of suspects."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant, Json

revision = "0003"
down_revision = "0002"

_WAITING = "waiting_for IS NOT NULL"
_SUSPECT = "crashes > 0 AND state = 'queued'"


def upgrade() -> None:
    op.create_table(
        "provider_state",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("mode_at", Instant(), nullable=True),
        sa.Column("circuit", sa.String(length=10), nullable=False),
        sa.Column("circuit_at", Instant(), nullable=True),
        sa.Column("open_until", Instant(), nullable=True),
        sa.Column("openings", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("probe_owner", sa.String(length=64), nullable=True),
        sa.Column("probe_until", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_provider_state"),
    )
    op.create_table(
        "provider_usage",
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("period", sa.String(length=32), nullable=False),
        sa.Column("used", BigInt, nullable=False),
        sa.PrimaryKeyConstraint("provider", "period", name="pk_provider_usage"),
    )
    op.create_table(
        "worker",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("in_hand", Json, nullable=False),
        sa.Column("providers", Json, nullable=False),
        sa.Column("config", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_worker"),
    )
    op.create_index("ix_worker_seen_at", "worker", ["seen_at"])
    op.add_column("recipient", sa.Column("waiting_for", sa.String(length=320), nullable=True))
    op.create_index(
        "ix_recipient_waiting_for",
        "recipient",
        ["waiting_for", "id"],
        sqlite_where=sa.text(_WAITING),
        postgresql_where=sa.text(_WAITING),
    )
    op.create_index(
        "ix_recipient_suspect",
        "recipient",
        ["due_at"],
        sqlite_where=sa.text(_SUSPECT),
        postgresql_where=sa.text(_SUSPECT),
    )


def downgrade() -> None:
    op.drop_index("ix_recipient_suspect", "recipient")
    op.drop_index("ix_recipient_waiting_for", "recipient")
    with op.batch_alter_table("recipient") as batch:
        batch.drop_column("waiting_for")
    op.drop_table("worker")
    op.drop_table("provider_usage")
    op.drop_table("provider_state")
