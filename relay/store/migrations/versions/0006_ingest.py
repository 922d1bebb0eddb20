"""What providers and bounce mail report: raw requests, and reports that came before their mail."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
