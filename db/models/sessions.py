"""The tables of sessions, their refresh tokens, and of attempts to sign in."""

import datetime

from sqlalchemy import (
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Model, created_at_column, identity_column


class Session(Model):
    """One sign-in of one user, from the password to the sign-out."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_user_id", "user_id"), Index("ix_sessions_expires_at", "expires_at"))

    id: Mapped[int] = identity_column()
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime.datetime] = created_at_column()
    expires_at: Mapped[datetime.datetime]
    ended_at: Mapped[datetime.datetime | None]


class RefreshToken(Model):
    """One refresh token of a session, as the SHA-256 of 256 random bits. They need no slow hash."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        UniqueConstraint("token_hash"),
        Index("ix_refresh_tokens_session_id", "session_id"),
        Index("ix_refresh_tokens_used_at", "used_at", postgresql_where=text("used_at IS NOT NULL")),
    )

    id: Mapped[int] = identity_column()
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime.datetime] = created_at_column()
    used_at: Mapped[datetime.datetime | None]


class SignInAttempts(Model):
    """The recent failed attempts at a login: from one place, or from all unknown places together.

    They are counted for the login as it was entered, not for the user. Otherwise an attacker could use up the attempts
    of a username, then try an email, and learn whether it belongs to the same user. The login is stored as a hash,
    because people enter passwords in the wrong field.
    """

    __tablename__ = "sign_in_attempts"
    __table_args__ = (Index("ix_sign_in_attempts_window_ends_at", "window_ends_at"),)

    login_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    attempts: Mapped[int] = mapped_column(Integer)
    window_ends_at: Mapped[datetime.datetime]
    retry_at: Mapped[datetime.datetime | None]


class SignInPlace(Model):
    """A place from which a user has signed in."""

    __tablename__ = "sign_in_places"
    __table_args__ = (Index("ix_sign_in_places_seen_at", "seen_at"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    seen_at: Mapped[datetime.datetime]


class FailedSignIns(Model):
    """The number of attempts to sign in as a user since the last successful one."""

    __tablename__ = "failed_sign_ins"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    attempts: Mapped[int] = mapped_column(Integer)
