"""Posts, with an index for every filter and order.

Creates new tables only, so that no other client waits for a lock.

Revision: 9a1f0c3e5b02
Revises: 9a1f0c3e5b01
Created: 2026-11-22 09:05:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "9a1f0c3e5b02"
down_revision: str | None = "9a1f0c3e5b01"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.create_table(
        "posts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("published", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("views", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("char_length(content) <= 100000", name=op.f("ck_posts_content_length")),
        sa.CheckConstraint("char_length(title) BETWEEN 1 AND 200", name=op.f("ck_posts_title_length")),
        sa.CheckConstraint("version > 0", name=op.f("ck_posts_version_positive")),
        sa.CheckConstraint("views BETWEEN 0 AND 2147483647", name=op.f("ck_posts_views_in_range")),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_posts_author_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posts")),
    )
    op.create_index("ix_posts_author_id_created_at_id", "posts", ["author_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_posts_author_id_published_created_at_id",
        "posts",
        ["author_id", "published", "created_at", "id"],
        unique=False,
    )
    op.create_index("ix_posts_created_at_id", "posts", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_posts_document",
        "posts",
        [sa.literal_column("to_tsvector('english'::regconfig, (title || ' '::text) || content)")],
        unique=False,
        postgresql_using="gin",
    )
    op.create_index("ix_posts_published_created_at_id", "posts", ["published", "created_at", "id"], unique=False)
    op.create_index("ix_posts_published_title_id", "posts", ["published", "title", "id"], unique=False)
    op.create_index("ix_posts_published_views_id", "posts", ["published", "views", "id"], unique=False)
    op.create_index("ix_posts_title_id", "posts", ["title", "id"], unique=False)
    op.create_index("ix_posts_views_id", "posts", ["views", "id"], unique=False)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_table("posts")
