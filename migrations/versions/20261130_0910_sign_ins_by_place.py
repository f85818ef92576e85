"""Waits between sign-ins depend on the place.

Creates two tables, and adds a column without a value, which rewrites no row. Writes of `users` and sign-ins wait for a
moment. The migration fails if it waits for their locks for more than three seconds. Servers of the previous version
continue: they leave the new column and the new tables empty.

Revision: 9a1f0c3e5b07
Revises: 9a1f0c3e5b06
Created: 2026-11-30 09:10:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "9a1f0c3e5b07"
down_revision: str | None = "9a1f0c3e5b06"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "sign_in_places",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.LargeBinary(), nullable=False),
        sa.Column("seen_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sign_in_places_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "place", name=op.f("pk_sign_in_places")),
    )
    op.create_index("ix_sign_in_places_seen_at", "sign_in_places", ["seen_at"], unique=False)
    op.create_table(
        "failed_sign_ins",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_failed_sign_ins_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_failed_sign_ins")),
    )
    op.add_column("sign_in_attempts", sa.Column("retry_at", sa.TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_column("sign_in_attempts", "retry_at")
    op.drop_table("failed_sign_ins")
    op.drop_table("sign_in_places")
