"""Streams and templates."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    _add_streams()


def downgrade() -> None:
    _drop_streams()


def _add_streams() -> None:
    op.create_table(
        "stream",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=100), nullable=True),
        sa.Column("lane", sa.String(length=8), nullable=False),
        sa.Column("track_opens", sa.Boolean(), nullable=True),
        sa.Column("track_clicks", sa.Boolean(), nullable=True),
        sa.Column("unsubscribe", sa.Boolean(), nullable=False),
        sa.Column("unsubscribe_from", sa.String(length=8), nullable=False),
        sa.Column("complaint_from", sa.String(length=8), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_stream_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_stream"),
        sa.UniqueConstraint("account_id", "name", name="uq_stream_account_id_name"),
    )
    op.add_column("api_key", sa.Column("track_opens", sa.Boolean(), nullable=True))
    op.add_column("api_key", sa.Column("track_clicks", sa.Boolean(), nullable=True))


def _drop_streams() -> None:
    with op.batch_alter_table("api_key") as batch:
        batch.drop_column("track_clicks")
        batch.drop_column("track_opens")
    op.drop_table("stream")
