"""Sessions and sign-in attempts: tables, then what a sign-in, a refresh and a request need of them.

Invariants: a refresh token is kept as a hash only, and spent by its first use; a second use means that somebody
has a copy, and ends the whole session. A session is alive while it is neither ended nor expired and its user is active;
every request asks, so that a deactivated user is out at once. Failed sign-ins are counted before the password is
looked at, so that simultaneous guesses cannot slip under the limit.
"""

import datetime
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    and_,
    any_,
    bindparam,
    case,
    collate,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Mapped, mapped_column

from db.connections.waiting import Key
from db.model import Model, created_at_column, identity_column
from db.statements import KEYS_ARRAY, Reader, RowsByKey, Statement
from db.users import User
from db.viewer import Viewer

REFRESH_TOKEN_BYTES = 32
SWEPT_PER_WRITE_MAX = 20


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
    """One refresh token of a session, as the SHA-256 of its 256 random bits: nothing to guess, so no slow hash."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (UniqueConstraint("token_hash"), Index("ix_refresh_tokens_session_id", "session_id"))

    id: Mapped[int] = identity_column()
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime.datetime] = created_at_column()
    used_at: Mapped[datetime.datetime | None]


class SignInAttempts(Model):
    """How often a login was tried without success in the current window.

    By the login as typed, not by the user: counted by user, exhausting the username's attempts and then trying an
    email would tell whose email it is. Kept as a hash, for people type passwords into the wrong box.
    """

    __tablename__ = "sign_in_attempts"
    __table_args__ = (Index("ix_sign_in_attempts_window_ends_at", "window_ends_at"),)

    login_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    attempts: Mapped[int] = mapped_column(Integer)
    window_ends_at: Mapped[datetime.datetime]


_NOW = func.clock_timestamp()
_SESSION_ID = bindparam("session_id", type_=BigInteger)
_ALIVE = (Session.ended_at.is_(None), Session.expires_at > _NOW, User.is_active, User.role != "system")


def _in_seconds(name: str) -> object:
    return _NOW + func.make_interval(0, 0, 0, 0, 0, 0, bindparam(name, type_=Integer))


# ---------------------------------------------------------------- requests

_VIEWERS = Statement(
    select(Session.id, Session.user_id, User.role)
    .join(User, Session.user_id == User.id)
    .where(Session.id == any_(KEYS_ARRAY), *_ALIVE)
)


def live_sessions(reader: Reader, session_id: int) -> RowsByKey:
    """Return the session `session_id`, and maybe others, where they are alive, by their ids: for `viewer_among`."""
    return reader.keyed(_VIEWERS, {}, [session_id], "id")


def viewer_among(sessions: Mapping[int, Record], session_id: int, user_id: int) -> Viewer | None:
    """Return who the session `session_id` of the user `user_id` stands for; None where it is none of `sessions`."""
    row = sessions.get(session_id)
    if row is None or row["user_id"] != user_id:
        return None
    return Viewer(user_id=user_id, session_id=session_id, is_admin=row["role"] == "admin")


async def viewer_of_session(reader: Reader, session_id: int, user_id: int) -> Viewer | None:
    """Return who the live session `session_id` of the user `user_id` stands for, or None where it has ended."""
    return viewer_among(await live_sessions(reader, session_id), session_id, user_id)


# ---------------------------------------------------------------- sign-in


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a sign-in is checked against."""

    user_id: int
    hashed_password: str
    role: str


# By ASCII's rules for case alone, as the columns. By the database's own, "İda" may be "ida": another login to count
# attempts for, and the same user.
_LOGIN = func.lower(collate(bindparam("login", type_=Text), "C"))
_CREDENTIALS = Statement(
    select(User.id, User.hashed_password, User.role).where(
        or_(func.lower(User.username) == _LOGIN, func.lower(User.email) == _LOGIN),
        User.is_active,
        User.role != "system",
    )
)


async def credentials_of(reader: Reader, login: str) -> Credentials | None:
    """Return the credentials of the active user with this username or email, whatever its case, or None.

    A username holds no @ and an email does, so that at most one user has it.
    """
    rows = await reader.fetch(_CREDENTIALS, {"login": login})
    return Credentials(*rows[0]) if rows else None


_COUNT_ATTEMPT = Statement(
    upsert(SignInAttempts)
    .values(
        login_hash=bindparam("login_hash", type_=LargeBinary),
        attempts=text("1"),
        window_ends_at=_in_seconds("window_s"),
    )
    .on_conflict_do_update(
        index_elements=[SignInAttempts.login_hash],
        set_={
            "attempts": case((SignInAttempts.window_ends_at <= _NOW, 1), else_=SignInAttempts.attempts + 1),
            "window_ends_at": case(
                (SignInAttempts.window_ends_at <= _NOW, _in_seconds("window_s")), else_=SignInAttempts.window_ends_at
            ),
        },
    )
    .returning(SignInAttempts.attempts)
)
# Every write sweeps a few rows that have expired, so that the tables do not grow with what people once typed.
_SWEEP_ATTEMPTS = Statement(
    delete(SignInAttempts).where(
        SignInAttempts.login_hash.in_(
            select(SignInAttempts.login_hash)
            .where(SignInAttempts.window_ends_at < _NOW)
            .limit(SWEPT_PER_WRITE_MAX)
            .with_for_update(skip_locked=True)
        )
    )
)
_FORGET_ATTEMPTS = Statement(
    delete(SignInAttempts).where(SignInAttempts.login_hash == bindparam("login_hash", type_=LargeBinary))
)


async def count_attempt(transaction: Reader, login: str, window_s: int) -> int:
    """Count one more attempt to sign in as `login` and return how many there were in the current window."""
    await transaction.fetch(_SWEEP_ATTEMPTS, {})
    rows = await transaction.fetch(_COUNT_ATTEMPT, {"login_hash": _login_hash(login), "window_s": window_s})
    attempts: int = rows[0]["attempts"]
    return attempts


def attempts_key(login: str) -> Key:
    """Return the key of the turn to count an attempt (`db.statements.Writer.turn`)."""
    return "login", int.from_bytes(_login_hash(login)[:8]), 0


def _login_hash(login: str) -> bytes:
    return hashlib.sha256(login.lower().encode()).digest()


# ---------------------------------------------------------------- sessions


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that was just opened or refreshed; the one place where its refresh token stands in clear."""

    viewer: Viewer
    refresh_token: str


# Verifying takes a while, and meanwhile the user may have been changed. The lock makes a change that is under way come
# first, or wait, and then find the session that it is to end.
_STILL_GOOD = Statement(
    select(User.id)
    .where(
        User.id == bindparam("user_id", type_=BigInteger),
        User.hashed_password == bindparam("hashed_password", type_=Text),
        User.is_active,
    )
    .with_for_update(read=True)
)
_OPEN_SESSION = Statement(
    insert(Session)
    .values(user_id=bindparam("user_id", type_=BigInteger), expires_at=_in_seconds("ttl_s"))
    .returning(Session.id)
)
_SWEEP_SESSIONS = Statement(
    delete(Session).where(
        Session.id.in_(
            select(Session.id)
            .where(Session.expires_at < _NOW)
            .limit(SWEPT_PER_WRITE_MAX)
            .with_for_update(skip_locked=True)
        )
    )
)
_KEEP_TOKEN = Statement(
    insert(RefreshToken).values(session_id=_SESSION_ID, token_hash=bindparam("token_hash", type_=LargeBinary))
)


async def open_session(transaction: Reader, credentials: Credentials, login: str, ttl_s: int) -> OpenSession | None:
    """Open a session for the user who has just proved to be `login`, whose failed attempts are forgotten.

    Return None where the credentials are no good any more: a new password, or the user is no longer active.
    """
    verified = {"user_id": credentials.user_id, "hashed_password": credentials.hashed_password}
    if not await transaction.fetch(_STILL_GOOD, verified):
        return None
    await transaction.fetch(_FORGET_ATTEMPTS, {"login_hash": _login_hash(login)})
    await transaction.fetch(_SWEEP_SESSIONS, {})
    opened = await transaction.fetch(_OPEN_SESSION, {"user_id": credentials.user_id, "ttl_s": ttl_s})
    session_id: int = opened[0]["id"]
    viewer = Viewer(credentials.user_id, session_id, is_admin=credentials.role == "admin")
    return OpenSession(viewer, await _new_token(transaction, session_id))


async def _new_token(transaction: Reader, session_id: int) -> str:
    token = secrets.token_urlsafe(REFRESH_TOKEN_BYTES)
    await transaction.fetch(_KEEP_TOKEN, {"session_id": session_id, "token_hash": _token_hash(token)})
    return token


def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


# The session is locked, not the token: two uses of the same token, and a use while the session ends, queue here.
_LOCK_TOKEN = Statement(
    select(
        RefreshToken.id,
        RefreshToken.used_at,
        Session.id.label("session_id"),
        Session.user_id,
        User.role,
        and_(*_ALIVE).label("alive"),
    )
    .join(Session, Session.id == RefreshToken.session_id)
    .join(User, User.id == Session.user_id)
    .where(RefreshToken.token_hash == bindparam("token_hash", type_=LargeBinary))
    .with_for_update(of=[RefreshToken, Session])
)
_SPEND_TOKEN = Statement(
    update(RefreshToken).where(RefreshToken.id == bindparam("id", type_=BigInteger)).values(used_at=_NOW)
)
_PROLONG_SESSION = Statement(update(Session).where(Session.id == _SESSION_ID).values(expires_at=_in_seconds("ttl_s")))
_END_SESSION = Statement(
    update(Session).where(Session.id == _SESSION_ID, Session.ended_at.is_(None)).values(ended_at=_NOW)
)
_END_SESSIONS = Statement(
    update(Session)
    .where(
        Session.user_id == bindparam("user_id", type_=BigInteger),
        Session.ended_at.is_(None),
        Session.id != bindparam("kept_id", type_=BigInteger),
    )
    .values(ended_at=_NOW)
)


async def refresh_session(transaction: Reader, refresh_token: str, ttl_s: int) -> OpenSession | None:
    """Spend `refresh_token` and return the session with a new one, or None where it is good for nothing.

    A token that was spent before ends its session; commit that although None is returned.
    """
    rows = await transaction.fetch(_LOCK_TOKEN, {"token_hash": _token_hash(refresh_token)})
    if not rows or not rows[0]["alive"]:
        return None
    found = rows[0]
    if found["used_at"] is not None:
        await end_session(transaction, found["session_id"])
        return None
    await transaction.fetch(_SPEND_TOKEN, {"id": found["id"]})
    await transaction.fetch(_PROLONG_SESSION, {"session_id": found["session_id"], "ttl_s": ttl_s})
    viewer = Viewer(found["user_id"], found["session_id"], is_admin=found["role"] == "admin")
    return OpenSession(viewer, await _new_token(transaction, found["session_id"]))


async def end_session(transaction: Reader, session_id: int) -> None:
    """End one session: its tokens, access tokens included, are worth nothing from the commit on."""
    await transaction.fetch(_END_SESSION, {"session_id": session_id})


async def end_sessions_of(transaction: Reader, user_id: int, *, but: int | None = None) -> None:
    """End all sessions of a user, all but the session `but` where that is given."""
    await transaction.fetch(_END_SESSIONS, {"user_id": user_id, "kept_id": but or 0})
