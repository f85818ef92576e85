"""The table of posts."""

import datetime

from sqlalchemy import (
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.fields import checks_of
from db.models.base import Model, created_at_column, identity_column
from db.models.users import User

VIEWS_MAX = 2**31 - 1  # GraphQL's Int; a counter that is full stays full


class Post(Model):
    """A text by one user, a draft until it is published."""

    __tablename__ = "posts"
    __table_args__ = (
        Index("ix_posts_author_id_published_created_at_id", "author_id", "published", "created_at", "id"),
        Index("ix_posts_author_id_created_at_id", "author_id", "created_at", "id"),
        Index("ix_posts_published_created_at_id", "published", "created_at", "id"),
        Index("ix_posts_published_views_id", "published", "views", "id"),
        Index("ix_posts_published_title_key_id", "published", "title_key", "id"),
        Index("ix_posts_created_at_id", "created_at", "id"),
        Index("ix_posts_views_id", "views", "id"),
        Index("ix_posts_title_key_id", "title_key", "id"),
        Index("ix_posts_document", "document", postgresql_using="gin"),
        *checks_of("posts"),
        CheckConstraint(f"views BETWEEN 0 AND {VIEWS_MAX}", name="views_in_range"),
        CheckConstraint("version > 0", name="version_positive"),
    )

    id: Mapped[int] = identity_column()
    title: Mapped[str]
    content: Mapped[str]
    published: Mapped[bool] = mapped_column(server_default=text("false"))
    views: Mapped[int] = mapped_column(server_default=text("0"))
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime.datetime] = created_at_column()
    updated_at: Mapped[datetime.datetime] = created_at_column()
    # PostgreSQL computes both at every write. The collation "C" compares code points, which is enough for folded text.
    title_key: Mapped[str] = mapped_column(
        Text(collation="C"), Computed("sort_key(title)", persisted=True), deferred=True
    )
    document: Mapped[str] = mapped_column(
        TSVECTOR, Computed("text_document(title, content)", persisted=True), deferred=True
    )

    author: Mapped[User] = relationship(back_populates="posts", lazy="raise")
