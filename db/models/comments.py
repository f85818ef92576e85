"""The table of comments on posts."""

import datetime

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.fields import checks_of
from db.models.base import Model, created_at_column, identity_column
from db.models.posts import Post
from db.models.users import User


class Comment(Model):
    """A comment by a user on a post."""

    __tablename__ = "comments"
    __table_args__ = (
        Index("ix_comments_post_id_created_at_id", "post_id", "created_at", "id"),
        Index("ix_comments_author_id_created_at_id", "author_id", "created_at", "id"),
        Index("ix_comments_document", "document", postgresql_using="gin"),
        *checks_of("comments"),
        CheckConstraint("version > 0", name="version_positive"),
    )

    id: Mapped[int] = identity_column()
    body: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime.datetime] = created_at_column()
    updated_at: Mapped[datetime.datetime] = created_at_column()
    document: Mapped[str] = mapped_column(TSVECTOR, Computed("text_document('', body)", persisted=True), deferred=True)

    author: Mapped[User] = relationship(lazy="raise")
    post: Mapped[Post] = relationship(lazy="raise")
