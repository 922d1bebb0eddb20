"""Nothing: the indexes that were made here turned out to cost more than they saved."""

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
