"""Sessions: the statements of sign-in, refresh and every request. `db.repositories.sign_ins` counts attempts.

Invariants: a refresh token is stored as a hash only, and its first use spends it. A second use means that another
person has a copy, and ends the whole session. A session is alive while it is neither ended nor expired and its user is
active. Every request checks this, so that a deactivated user is signed out at once. `db.repositories.sweeping` deletes
old sessions.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    Integer,
    LargeBinary,
    Text,
    and_,
    any_,
    bindparam,
    func,
    insert,
    select,
    update,
)

from db.access import Viewer
from db.connections.statements import KEYS_ARRAY, Reader, RowsByKey, Statement, by_column
from db.models.sessions import RefreshToken, Session
from db.models.users import User
from db.repositories.sign_ins import IS_LOGIN

REFRESH_TOKEN_BYTES = 32


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
    """Return the session `session_id` by its id if it is alive; others may be included. Pass them to `viewer_among`."""
    return reader.mapped_rows(_VIEWERS, {}, by_column("id"), [session_id])


def live_sessions_among(reader: Reader, session_ids: Sequence[int]) -> RowsByKey:
    """Return those of the sessions that are alive, by their ids; others may be included."""
    return reader.mapped_rows(_VIEWERS, {}, by_column("id"), session_ids)


def viewer_among(sessions: Mapping[int, Record], session_id: int, user_id: int) -> Viewer | None:
    """Return the viewer of the session `session_id` of the user `user_id`, or None if it is not among `sessions`."""
    row = sessions.get(session_id)
    if row is None or row["user_id"] != user_id:
        return None
    return Viewer(user_id=user_id, session_id=session_id, is_admin=row["role"] == "admin")


# ---------------------------------------------------------------- sign-in


@dataclass(frozen=True, slots=True)
class Credentials:
    """The stored values against which a sign-in is checked."""

    user_id: int
    hashed_password: str
    role: str


_CREDENTIALS = Statement(select(User.id, User.hashed_password, User.role).where(*IS_LOGIN, User.is_active))


async def credentials_of(reader: Reader, login: str) -> Credentials | None:
    """Return the credentials of the active user with this username or email, in any case of letters, or None.

    A username contains no @ and an email does, so that at most one user matches.
    """
    rows = await reader.fetch(_CREDENTIALS, {"login": login})
    return Credentials(*rows[0]) if rows else None


@dataclass(frozen=True, slots=True)
class Standing:
    """The stored values that are checked before a user's username, email or password is changed."""

    username: str
    email: str
    hashed_password: str


_STANDING = Statement(
    select(User.username, User.email, User.hashed_password).where(
        User.id == bindparam("user_id", type_=BigInteger), User.role != "system"
    )
)


async def standing_of(reader: Reader, user_id: int) -> Standing | None:
    """Return the values against which a change of the user is checked, or None if there is no such user."""
    rows = await reader.fetch(_STANDING, {"user_id": user_id})
    return Standing(*rows[0]) if rows else None


# ---------------------------------------------------------------- sessions


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that was just opened or refreshed. Only here does its refresh token exist in clear text."""

    viewer: Viewer
    refresh_token: str


# Verifying a password takes time, in which the user may change. The lock makes this statement wait for a concurrent
# change of the user, or the change waits and then finds the session that it must end.
_VERIFIED = select(User.id).where(
    User.id == bindparam("user_id", type_=BigInteger),
    User.hashed_password == bindparam("hashed_password", type_=Text),
    User.is_active,
)
_STILL_GOOD = Statement(_VERIFIED.with_for_update(read=True))
# The same lock as a change of the user: with a weaker lock first, two changes could wait for each other.
_STILL_GOOD_TO_CHANGE = Statement(_VERIFIED.with_for_update(key_share=True))
_OPEN_SESSION = Statement(
    insert(Session)
    .values(user_id=bindparam("user_id", type_=BigInteger), expires_at=_in_seconds("ttl_s"))
    .returning(Session.id)
)
_KEEP_TOKEN = Statement(
    insert(RefreshToken).values(session_id=_SESSION_ID, token_hash=bindparam("token_hash", type_=LargeBinary))
)


async def open_session(transaction: Reader, credentials: Credentials, ttl_s: int) -> OpenSession | None:
    """Open a session for a user whose password was just verified.

    Return None if the credentials are no longer valid: the password was changed, or the user is no longer active.
    """
    verified = {"user_id": credentials.user_id, "hashed_password": credentials.hashed_password}
    if not await transaction.fetch(_STILL_GOOD, verified):
        return None
    opened = await transaction.fetch(_OPEN_SESSION, {"user_id": credentials.user_id, "ttl_s": ttl_s})
    session_id: int = opened[0]["id"]
    viewer = Viewer(credentials.user_id, session_id, is_admin=credentials.role == "admin")
    return OpenSession(viewer, await _new_token(transaction, session_id))


async def is_still_password(transaction: Reader, user_id: int, hashed_password: str) -> bool:
    """Lock a user for a change, and return whether `hashed_password` is still the user's password."""
    verified = {"user_id": user_id, "hashed_password": hashed_password}
    return bool(await transaction.fetch(_STILL_GOOD_TO_CHANGE, verified))


async def _new_token(transaction: Reader, session_id: int) -> str:
    token = secrets.token_urlsafe(REFRESH_TOKEN_BYTES)
    await transaction.fetch(_KEEP_TOKEN, {"session_id": session_id, "token_hash": _token_hash(token)})
    return token


def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


# The session is locked, not the token: two uses of the same token, and a use while the session ends, wait here.
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
# The session also expires, so that it is swept: its tokens have nothing more to detect.
_ENDED = {"ended_at": _NOW, "expires_at": func.least(Session.expires_at, _NOW)}
_END_SESSION = Statement(update(Session).where(Session.id == _SESSION_ID, Session.ended_at.is_(None)).values(**_ENDED))
_END_SESSIONS = Statement(
    update(Session)
    .where(
        Session.user_id == bindparam("user_id", type_=BigInteger),
        Session.ended_at.is_(None),
        Session.id != bindparam("kept_id", type_=BigInteger),
    )
    .values(**_ENDED)
)


async def refresh_session(transaction: Reader, refresh_token: str, ttl_s: int) -> OpenSession | None:
    """Spend `refresh_token` and return the session with a new one, or None if the token is invalid.

    A token that was spent before ends its session. The caller must commit that although None is returned.
    """
    rows = await transaction.fetch(_LOCK_TOKEN, {"token_hash": _token_hash(refresh_token)})
    if not rows or not rows[0]["alive"]:
        return None
    token = rows[0]
    if token["used_at"] is not None:
        await end_session(transaction, token["session_id"])
        return None
    await transaction.fetch(_SPEND_TOKEN, {"id": token["id"]})
    await transaction.fetch(_PROLONG_SESSION, {"session_id": token["session_id"], "ttl_s": ttl_s})
    viewer = Viewer(token["user_id"], token["session_id"], is_admin=token["role"] == "admin")
    return OpenSession(viewer, await _new_token(transaction, token["session_id"]))


async def end_session(transaction: Reader, session_id: int) -> None:
    """End one session. From the commit on, all its tokens are invalid, including access tokens."""
    await transaction.fetch(_END_SESSION, {"session_id": session_id})


async def end_sessions_of(transaction: Reader, user_id: int, *, kept_id: int | None = None) -> None:
    """End all sessions of a user, except the session `kept_id` if it is given."""
    await transaction.fetch(_END_SESSIONS, {"user_id": user_id, "kept_id": kept_id or 0})
