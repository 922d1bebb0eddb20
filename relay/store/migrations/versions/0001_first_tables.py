"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op

from relay.store.types import BigInt, Instant, Json

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=255), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("name", name="uq_account_name"),
    )
    op.create_table(
        "leader_lease",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leader_lease"),
    )
    op.create_table(
        "api_key",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("last_five", sa.String(length=5), nullable=False),
        sa.Column("label", sa.String(length=255), nullable=False),
        sa.Column("scopes", Json, nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_api_key_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.UniqueConstraint("digest", name="uq_api_key_digest"),
    )
    op.create_index("ix_api_key_account_id", "api_key", ["account_id"])
    op.create_table(
        "message",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("key_id", BigInt, nullable=True),
        sa.Column("door", sa.String(length=8), nullable=False),
        sa.Column("lane", sa.String(length=8), nullable=False),
        sa.Column("sender", sa.String(length=255), nullable=False),
        sa.Column("from", sa.String(length=1000), nullable=False),
        sa.Column("recipient", sa.String(length=255), nullable=False),
        sa.Column("cc", Json, nullable=True),
        sa.Column("bcc", Json, nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("tag", sa.String(length=255), nullable=True),
        sa.Column("classification", sa.String(length=16), nullable=True),
        sa.Column("metadata", Json, nullable=True),
        sa.Column("attachments", Json, nullable=True),
        sa.Column("options", Json, nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("smtputf8", sa.Boolean(), nullable=False),
        sa.Column("eight_bit", sa.Boolean(), nullable=False),
        sa.Column("ret", sa.String(length=4), nullable=True),
        sa.Column("envid", sa.String(length=100), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.String(length=255), nullable=True),
        sa.Column("error_sub_type", sa.String(length=255), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("accepted_at", Instant(), nullable=True),
        sa.Column("sent_at", Instant(), nullable=True),
        sa.Column("delivered_at", Instant(), nullable=True),
        sa.Column("opened_at", Instant(), nullable=True),
        sa.Column("redacted_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_message_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
    )
    op.create_index("ix_message_account_id_id", "message", ["account_id", "id"])
    op.create_index(
        "ix_message_account_id_tag",
        "message",
        ["account_id", "tag", "id"],
        sqlite_where=sa.text("tag IS NOT NULL"),
        postgresql_where=sa.text("tag IS NOT NULL"),
    )
    op.create_index("ix_message_account_id_updated_at", "message", ["account_id", "updated_at", "id"])
    op.create_table(
        "sender",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("pattern", sa.String(length=255), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_sender_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sender"),
        sa.UniqueConstraint("account_id", "pattern", name="uq_sender_account_id_pattern"),
    )
    op.create_table(
        "body",
        sa.Column("message_id", BigInt, nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name="fk_body_message_id"),
        sa.PrimaryKeyConstraint("message_id", "part", name="pk_body"),
    )
    op.create_table(
        "event",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("message_id", BigInt, nullable=False),
        sa.Column("recipient_id", BigInt, nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("detail", Json, nullable=True),
        sa.Column("dedupe", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name="fk_event_message_id"),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
    )
    op.create_index("ix_event_message_id", "event", ["message_id", "id"])
    op.create_index(
        "uq_event_dedupe",
        "event",
        ["dedupe"],
        unique=True,
        sqlite_where=sa.text("dedupe IS NOT NULL"),
        postgresql_where=sa.text("dedupe IS NOT NULL"),
    )
    op.create_table(
        "params",
        sa.Column("message_id", BigInt, nullable=False),
        sa.Column("params", Json, nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name="fk_params_message_id"),
        sa.PrimaryKeyConstraint("message_id", name="pk_params"),
    )
    op.create_table(
        "recipient",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("message_id", BigInt, nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=4), nullable=False),
        sa.Column("lane", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("provider", sa.String(length=64), nullable=True),
        sa.Column("provider_ref", sa.String(length=255), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("notify", sa.String(length=30), nullable=True),
        sa.Column("orcpt", sa.String(length=500), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name="fk_recipient_message_id"),
        sa.PrimaryKeyConstraint("id", name="pk_recipient"),
    )
    op.create_index(
        "ix_recipient_due",
        "recipient",
        ["lane", "due_at"],
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_recipient_leased",
        "recipient",
        ["lease_until"],
        sqlite_where=sa.text("state = 'sending'"),
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index("ix_recipient_message_id", "recipient", ["message_id", "position"])


def downgrade() -> None:
    for table in (
        "recipient",
        "params",
        "event",
        "body",
        "sender",
        "message",
        "api_key",
        "leader_lease",
        "account",
    ):
        op.drop_table(table)
