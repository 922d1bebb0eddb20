"""Keys for outgoing DKIM signatures, encrypted."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "dkim_key",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("selector", sa.String(length=63), nullable=False),
        sa.Column("private_key", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dkim_key"),
        sa.UniqueConstraint("domain", "selector", name="uq_dkim_key_domain_selector"),
    )


def downgrade() -> None:
    op.drop_table("dkim_key")
