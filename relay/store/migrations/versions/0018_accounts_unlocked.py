"""Mails no longer lock the row of their account on PostgreSQL, where all of a customer's would lock the same one."""

from alembic import op

revision = "0018"
down_revision = "0017"

_NAME = "fk_message_account_id"


def upgrade() -> None:
    # SQLite locks nothing for it, and would write the whole table anew to be without.
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(_NAME, "message", type_="foreignkey")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.create_foreign_key(_NAME, "message", "account", ["account_id"], ["id"])
