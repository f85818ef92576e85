"""Comments on posts.

The foreign keys take a SHARE ROW EXCLUSIVE lock on users and posts. It is short, because the new table is empty.

Revision: a6c68552da68
Revises: 9a1f0c3e5b0b
Created: 2026-11-30 15:22:50.654401+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "a6c68552da68"
down_revision: str | None = "9a1f0c3e5b0b"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "comments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "document", postgresql.TSVECTOR(), sa.Computed("text_document('', body)", persisted=True), nullable=False
        ),
        sa.CheckConstraint("char_length(body) BETWEEN 1 AND 10000", name=op.f("ck_comments_body_length")),
        sa.CheckConstraint("version > 0", name=op.f("ck_comments_version_positive")),
        sa.ForeignKeyConstraint(
            ["author_id"], ["users.id"], name=op.f("fk_comments_author_id_users"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("fk_comments_post_id_posts"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comments")),
    )
    op.create_index("ix_comments_author_id_created_at_id", "comments", ["author_id", "created_at", "id"], unique=False)
    op.create_index("ix_comments_document", "comments", ["document"], unique=False, postgresql_using="gin")
    op.create_index("ix_comments_post_id_created_at_id", "comments", ["post_id", "created_at", "id"], unique=False)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_index("ix_comments_post_id_created_at_id", table_name="comments")
    op.drop_index("ix_comments_document", table_name="comments", postgresql_using="gin")
    op.drop_index("ix_comments_author_id_created_at_id", table_name="comments")
    op.drop_table("comments")
