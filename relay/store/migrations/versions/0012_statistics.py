"""Rollups that outlive the messages."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant

revision = "0012"
down_revision = "0011"

_COUNTS = (
    "messages",
    "accepted",
    "refused",
    "sent",
    "delivered",
    "opened",
    "clicked",
    "opens",
    "clicks",
    "machine_opens",
    "bounced_hard",
    "bounced_soft",
    "bounced_block",
    "complained",
    "unsubscribed",
    "deferred",
    "expired",
    "cancelled",
)


def upgrade() -> None:
    op.create_table(
        "rollup",
        sa.Column("dimension", sa.String(length=8), nullable=False),
        sa.Column("account_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("hour", Instant(), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.Column("heard", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _COUNTS),
        sa.PrimaryKeyConstraint("dimension", "account_id", "hour", "value", "heard", name="pk_rollup"),
    )
    op.create_index("ix_rollup_heard", "rollup", ["heard"])
    op.create_table(
        "counted",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counted"),
    )


def downgrade() -> None:
    op.drop_table("counted")
    op.drop_table("rollup")
