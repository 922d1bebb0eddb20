"""PostgreSQL no longer checks some foreign keys: of rows that are written with their parents, and those to accounts.

A check is a query for each row, and locks the row that it finds, which for an account is that of all of its mails.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

_KEYS = (
    ("message", "account_id", "account"),
    ("recipient", "message_id", "message"),
    ("body", "message_id", "message"),
    ("params", "message_id", "message"),
)


def upgrade() -> None:
    # SQLite locks nothing for them, and would write whole tables anew to be without.
    if op.get_bind().dialect.name == "postgresql":
        for table, column, _ in _KEYS:
            op.drop_constraint(f"fk_{table}_{column}", table, type_="foreignkey")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, column, parent in _KEYS:
            op.create_foreign_key(f"fk_{table}_{column}", table, parent, [column], ["id"])
