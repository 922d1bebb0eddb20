"""What providers and bounce mail report: raw requests, reports that came before their mail, what is known by them."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant, Json

revision = "0006"
down_revision = "0005"

_DUE = "due_at IS NOT NULL"
_SET_ASIDE = "state IN ('failed', 'orphan')"
_KNOWN = "ref_key IS NOT NULL"


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("headers", Json, nullable=True),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_inbox"),
    )
    op.create_index(
        "ix_inbox_due",
        "inbox",
        ["due_at"],
        sqlite_where=sa.text(_DUE),
        postgresql_where=sa.text(_DUE),
    )
    op.create_index(
        "ix_inbox_set_aside",
        "inbox",
        ["state", "id"],
        sqlite_where=sa.text(_SET_ASIDE),
        postgresql_where=sa.text(_SET_ASIDE),
    )
    op.add_column("recipient", sa.Column("ref_key", BigInt, nullable=True))
    op.add_column("recipient", sa.Column("sent_at", Instant(), nullable=True))
    op.add_column("recipient", sa.Column("delivered_at", Instant(), nullable=True))
    op.add_column("recipient", sa.Column("opened_at", Instant(), nullable=True))
    op.add_column("recipient", sa.Column("failed_at", Instant(), nullable=True))
    op.add_column("recipient", sa.Column("error_code", sa.String(length=255), nullable=True))
    op.add_column("recipient", sa.Column("error_sub_type", sa.String(length=255), nullable=True))
    op.add_column("recipient", sa.Column("bounce_class", sa.String(length=8), nullable=True))
    op.add_column("recipient", sa.Column("bounce_reason", sa.String(length=24), nullable=True))
    op.create_index(
        "ix_recipient_ref_key",
        "recipient",
        ["ref_key"],
        sqlite_where=sa.text(_KNOWN),
        postgresql_where=sa.text(_KNOWN),
    )


def downgrade() -> None:
    op.drop_index("ix_recipient_ref_key", "recipient")
    with op.batch_alter_table("recipient") as batch:
        for name in (
            "bounce_reason",
            "bounce_class",
            "error_sub_type",
            "error_code",
            "failed_at",
            "opened_at",
            "delivered_at",
            "sent_at",
            "ref_key",
        ):
            batch.drop_column(name)
    op.drop_table("inbox")
