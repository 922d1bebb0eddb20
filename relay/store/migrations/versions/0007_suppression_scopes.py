"""Suppressions by stream."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_OLD = "uq_suppression_account_id_address"
_NEW = "uq_suppression_account_id_address_stream"


def _everywhere(*columns: str) -> None:
    op.create_index(
        "uq_suppression_everywhere",
        "suppression",
        list(columns),
        unique=True,
        sqlite_where=sa.text("account_id IS NULL"),
        postgresql_where=sa.text("account_id IS NULL"),
    )


def upgrade() -> None:
    op.drop_index("uq_suppression_everywhere", "suppression")
    with op.batch_alter_table("suppression") as batch:
        batch.add_column(sa.Column("stream", sa.String(length=64), server_default="", nullable=False))
        batch.drop_constraint(_OLD, type_="unique")
        batch.create_unique_constraint(_NEW, ["account_id", "address", "stream"])
    _everywhere("address", "stream")


def downgrade() -> None:
    op.drop_index("uq_suppression_everywhere", "suppression")
    # What held for one stream only must not hold for all afterwards.
    op.execute("DELETE FROM suppression WHERE stream <> ''")
    with op.batch_alter_table("suppression") as batch:
        batch.drop_constraint(_NEW, type_="unique")
        batch.drop_column("stream")
        batch.create_unique_constraint(_OLD, ["account_id", "address"])
    _everywhere("address")
