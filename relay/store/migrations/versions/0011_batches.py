"""Templates and recipient-list sends."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant, Json

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    _add_templates()
    _add_batches()
    op.add_column("message", sa.Column("batch_id", BigInt, nullable=True))
    _index("ix_message_batch_id_status", "message", ["batch_id", "status"], "batch_id IS NOT NULL")


def downgrade() -> None:
    op.drop_index("ix_message_batch_id_status", "message")
    op.drop_column("message", "batch_id")
    op.drop_table("batch_row")
    op.drop_table("batch_part")
    op.drop_table("batch")
    op.drop_table("template_version")
    op.drop_table("template")


def _index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    text = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=text, postgresql_where=text)


def _add_templates() -> None:
    op.create_table(
        "template",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("latest", sa.Integer(), nullable=False),
        sa.Column("archived_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_template_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_template"),
        sa.UniqueConstraint("account_id", "name", name="uq_template_account_id_name"),
    )
    op.create_table(
        "template_version",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("template_id", BigInt, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("note", sa.String(length=255), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["template_id"], ["template.id"], name="fk_template_version_template_id"),
        sa.PrimaryKeyConstraint("id", name="pk_template_version"),
        sa.UniqueConstraint("template_id", "number", name="uq_template_version_template_id_number"),
    )


def _add_batches() -> None:
    op.create_table(
        "batch",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("key_id", BigInt, nullable=True),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("template_id", BigInt, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("once", sa.String(length=300), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("size", BigInt, nullable=False),
        sa.Column("columns", Json, nullable=True),
        sa.Column("delimiter", sa.String(length=1), nullable=True),
        sa.Column("offset", BigInt, nullable=False),
        sa.Column("cursor", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("valid", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("queued", sa.Integer(), nullable=False),
        sa.Column("fed", sa.Boolean(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("forgiven", sa.Integer(), nullable=False),
        sa.Column("before", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_batch_account_id"),
        sa.ForeignKeyConstraint(["template_id"], ["template.id"], name="fk_batch_template_id"),
        sa.PrimaryKeyConstraint("id", name="pk_batch"),
    )
    op.create_index("ix_batch_account_id_id", "batch", ["account_id", "id"])
    _index("uq_batch_account_id_once", "batch", ["account_id", "once"], "once IS NOT NULL", unique=True)
    _index("ix_batch_uploading", "batch", ["created_at"], "state = 'uploading'")
    _index("ix_batch_working", "batch", ["state", "lease_until"], "state IN ('reading', 'sending')")
    op.create_table(
        "batch_part",
        sa.Column("batch_id", BigInt, nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_batch_part_batch_id"),
        sa.PrimaryKeyConstraint("batch_id", "part", name="pk_batch_part"),
    )
    op.create_table(
        "batch_row",
        sa.Column("batch_id", BigInt, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("taken", sa.String(length=255), nullable=True),
        sa.Column("variables", Json, nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("message_id", BigInt, nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_batch_row_batch_id"),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_row"),
    )
    _index("ix_batch_row_refused", "batch_row", ["batch_id", "number"], "state = 'refused'")
    _index("uq_batch_row_address", "batch_row", ["batch_id", "taken"], "taken IS NOT NULL", unique=True)
