"""The tables of users and of their profiles."""

import datetime
from typing import TYPE_CHECKING

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.fields import checks_of
from db.models.base import Model, created_at_column, identity_column

if TYPE_CHECKING:
    from db.models.money import Account
    from db.models.posts import Post

# A constant, because indexes and lists must have the same condition. In a list it is not a parameter: otherwise
# PostgreSQL could not prove that the index has all rows of the list.
IS_PERSON = "role <> 'system'"


class User(Model):
    """A person who may sign in, or the one system user who owns the accounts that money enters through."""

    __tablename__ = "users"
    __table_args__ = (
        # Names that differ only in case belong to one person. Both columns are ASCII and have the collation "C":
        # lower() is the same everywhere, and a prefix search is a range of the index.
        Index("uq_users_email_lower", text("lower(email)"), unique=True),
        Index("uq_users_username_lower", text("lower(username)"), unique=True),
        Index("uq_users_system", "role", unique=True, postgresql_where=text("role = 'system'")),
        # The lists exclude the system user, and so does the index: a list is then counted by the index alone.
        Index("ix_users_people_created_at_id", "created_at", "id", postgresql_where=text(IS_PERSON)),
        Index(
            "ix_users_people_is_active_created_at_id", "is_active", "created_at", "id", postgresql_where=text(IS_PERSON)
        ),
        *checks_of("users"),
        CheckConstraint("hashed_password <> ''", name="hashed_password_not_empty"),
        CheckConstraint("role IN ('member', 'admin', 'system')", name="role_known"),
        CheckConstraint("version > 0", name="version_positive"),
    )

    id: Mapped[int] = identity_column()
    username: Mapped[str] = mapped_column(Text(collation="C"))
    email: Mapped[str] = mapped_column(Text(collation="C"))
    hashed_password: Mapped[str]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    role: Mapped[str] = mapped_column(server_default="member")
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime.datetime] = created_at_column()
    updated_at: Mapped[datetime.datetime] = created_at_column()

    profile: Mapped["Profile | None"] = relationship(back_populates="user", lazy="raise", passive_deletes=True)
    posts: Mapped[list["Post"]] = relationship(back_populates="author", lazy="raise", passive_deletes=True)
    accounts: Mapped[list["Account"]] = relationship(back_populates="owner", lazy="raise", passive_deletes="all")


class Profile(Model):
    """The description of a user, written by that user. A user has at most one."""

    __tablename__ = "profiles"
    __table_args__ = tuple(checks_of("profiles"))

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    display_name: Mapped[str | None]
    bio: Mapped[str | None]
    website_url: Mapped[str | None]

    user: Mapped["User"] = relationship(back_populates="profile", lazy="raise")
