"""Users and their profiles.

Creates new tables only, so that no other client waits for a lock.

Revision: 9a1f0c3e5b01
Revises:
Created: 2026-11-22 09:00:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "9a1f0c3e5b01"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("email", sa.Text(collation="C"), nullable=False),
        sa.Column("username", sa.Text(collation="C"), nullable=False),
        sa.Column("hashed_password", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("role", sa.Text(), server_default="member", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("hashed_password <> ''", name=op.f("ck_users_hashed_password_not_empty")),
        sa.CheckConstraint("role IN ('member', 'admin', 'system')", name=op.f("ck_users_role_known")),
        sa.CheckConstraint("username ~ '^[A-Za-z][A-Za-z0-9_]{2,31}$'", name=op.f("ck_users_username_shape")),
        sa.CheckConstraint("char_length(email) BETWEEN 3 AND 254", name=op.f("ck_users_email_length")),
        sa.CheckConstraint("version > 0", name=op.f("ck_users_version_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index("ix_users_created_at_id", "users", ["created_at", "id"], unique=False)
    op.create_index("ix_users_is_active_created_at_id", "users", ["is_active", "created_at", "id"], unique=False)
    op.create_index("uq_users_email_lower", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_index("uq_users_system", "users", ["role"], unique=True, postgresql_where=sa.text("role = 'system'"))
    op.create_index("uq_users_username_lower", "users", [sa.literal_column("lower(username)")], unique=True)
    op.create_table(
        "profiles",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("website_url", sa.Text(), nullable=True),
        sa.CheckConstraint("char_length(bio) <= 5000", name=op.f("ck_profiles_bio_length")),
        sa.CheckConstraint("char_length(display_name) <= 100", name=op.f("ck_profiles_display_name_length")),
        sa.CheckConstraint("char_length(website_url) <= 2000", name=op.f("ck_profiles_website_url_length")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_profiles_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_profiles")),
    )
    # The only system user. It owns the accounts through which money enters. It cannot sign in: "!" is not a hash.
    op.execute(
        "INSERT INTO users (email, username, hashed_password, is_active, role)"
        " VALUES ('treasury@folio.invalid', 'treasury', '!', false, 'system')"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_table("profiles")
    op.drop_table("users")
