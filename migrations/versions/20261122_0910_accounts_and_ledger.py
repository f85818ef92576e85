"""Money accounts, the ledger between them, and the idempotency keys of movements.

Creates new tables only, so that no other client waits for a lock.

Revision: 9a1f0c3e5b03
Revises: 9a1f0c3e5b02
Created: 2026-11-22 09:10:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "9a1f0c3e5b03"
down_revision: str | None = "9a1f0c3e5b02"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "accounts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("currency_code", sa.Text(collation="C"), nullable=False),
        sa.Column("balance", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("is_system", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("currency_code ~ '^[A-Z]{3}$'", name=op.f("ck_accounts_currency_code_three_letters")),
        sa.CheckConstraint("balance >= 0 OR is_system", name=op.f("ck_accounts_balance_not_negative")),
        sa.CheckConstraint(
            "balance BETWEEN -9000000000000000000 AND 1000000000000000", name=op.f("ck_accounts_balance_within_limit")
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_accounts_owner_id_users"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    op.create_index("ix_accounts_owner_id_id", "accounts", ["owner_id", "id"], unique=False)
    op.create_index(
        "uq_accounts_system_currency_code",
        "accounts",
        ["currency_code"],
        unique=True,
        postgresql_where=sa.text("is_system"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("refusal_code", sa.Text(), nullable=True),
        sa.Column("refusal_field", sa.Text(), nullable=True),
        sa.Column("refusal_message", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("operation IN ('transfer', 'deposit')", name=op.f("ck_idempotency_keys_operation_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotency_keys")),
        sa.UniqueConstraint("owner_id", "key", name=op.f("uq_idempotency_keys_owner_id_key")),
    )
    op.create_table(
        "transactions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("from_id", sa.BigInteger(), nullable=False),
        sa.Column("to_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("memo", sa.Text(), nullable=True),
        sa.Column("key_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_transactions_amount_positive")),
        sa.CheckConstraint("char_length(memo) <= 500", name=op.f("ck_transactions_memo_length")),
        sa.CheckConstraint("from_id <> to_id", name=op.f("ck_transactions_two_accounts")),
        sa.ForeignKeyConstraint(
            ["from_id"], ["accounts.id"], name=op.f("fk_transactions_from_id_accounts"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["idempotency_keys.id"],
            name=op.f("fk_transactions_key_id_idempotency_keys"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["to_id"], ["accounts.id"], name=op.f("fk_transactions_to_id_accounts"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transactions")),
        sa.UniqueConstraint("key_id", name=op.f("uq_transactions_key_id")),
    )
    op.create_index("ix_transactions_from_id_id", "transactions", ["from_id", "id"], unique=False)
    op.create_index("ix_transactions_to_id_id", "transactions", ["to_id", "id"], unique=False)
    # The ledger is append-only, also for the owner of the table, which is usually the role of the application. (A
    # superuser is bound by no privilege; `folio doctor` reports that.) Foreign keys *to* this table would stop working,
    # because PostgreSQL checks them with FOR KEY SHARE, which needs UPDATE. So no table may refer to this one.
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON transactions FROM PUBLIC, CURRENT_USER")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_table("transactions")
    op.drop_table("idempotency_keys")
    op.drop_table("accounts")
