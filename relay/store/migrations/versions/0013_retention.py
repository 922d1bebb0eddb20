"""Quiet hours, retention and erasure."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant, Json

revision = "0013"
down_revision = "0012"

_QUIET = (("quiet_from", 5), ("quiet_to", 5), ("timezone", 64))


def upgrade() -> None:
    for name, length in _QUIET:
        op.add_column("stream", sa.Column(name, sa.String(length=length), nullable=True))
    op.create_table(
        "retention",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("stream", sa.String(length=64), nullable=False),
        sa.Column("days", Json, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_retention_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_retention"),
        sa.UniqueConstraint("account_id", "stream", name="uq_retention_account_id_stream"),
    )
    op.create_table(
        "sweep",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("position", BigInt, nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_sweep"),
    )
    op.create_table(
        "erasure",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("asked_by", sa.String(length=64), nullable=False),
        sa.Column("place", Json, nullable=False),
        sa.Column("counts", Json, nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_erasure"),
    )
    op.create_index("ix_erasure_digest", "erasure", ["digest"])


def downgrade() -> None:
    op.drop_table("erasure")
    op.drop_table("sweep")
    op.drop_table("retention")
    with op.batch_alter_table("stream") as batch:
        for name, _ in _QUIET:
            batch.drop_column(name)
