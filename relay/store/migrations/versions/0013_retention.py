"""Quiet hours, retention and erasure."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_QUIET = (("quiet_from", 5), ("quiet_to", 5), ("timezone", 64))


def upgrade() -> None:
    for name, length in _QUIET:
        op.add_column("stream", sa.Column(name, sa.String(length=length), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("stream") as batch:
        for name, _ in _QUIET:
            batch.drop_column(name)
