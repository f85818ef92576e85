"""Sessions: what a sign-in, a refresh and a request need of them. `db.repositories.sign_ins` counts attempts.

Invariants: a refresh token is kept as a hash only, and spent by its first use; a second use means that somebody
has a copy, and ends the whole session. A session is alive while it is neither ended nor expired and its user is active;
every request asks, so that a deactivated user is out at once. What is over is deleted by `db.repositories.sweeping`.
"""

import hashlib
import secrets
from collections.abc import Mapping
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
from db.connections.statements import KEYS_ARRAY, Reader, RowsByKey, Statement
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
    """Return the session `session_id`, and maybe others, where they are alive, by their ids: for `viewer_among`."""
    return reader.keyed(_VIEWERS, {}, [session_id], "id")


def viewer_among(sessions: Mapping[int, Record], session_id: int, user_id: int) -> Viewer | None:
    """Return who the session `session_id` of the user `user_id` stands for; None where it is none of `sessions`."""
    row = sessions.get(session_id)
    if row is None or row["user_id"] != user_id:
        return None
    return Viewer(user_id=user_id, session_id=session_id, is_admin=row["role"] == "admin")


# ---------------------------------------------------------------- sign-in


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a sign-in is checked against."""

    user_id: int
    hashed_password: str
    role: str


_CREDENTIALS = Statement(select(User.id, User.hashed_password, User.role).where(*IS_LOGIN, User.is_active))


async def credentials_of(reader: Reader, login: str) -> Credentials | None:
    """Return the credentials of the active user with this username or email, whatever its case, or None.

    A username holds no @ and an email does, so that at most one user has it.
    """
    rows = await reader.fetch(_CREDENTIALS, {"login": login})
    return Credentials(*rows[0]) if rows else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is asked of a user before their username, email or password is changed."""

    username: str
    email: str
    hashed_password: str


_STANDING = Statement(
    select(User.username, User.email, User.hashed_password).where(
        User.id == bindparam("user_id", type_=BigInteger), User.role != "system"
    )
)


async def standing_of(reader: Reader, user_id: int) -> Standing | None:
    """Return what a change of the user is checked against; None where there is no such user."""
    rows = await reader.fetch(_STANDING, {"user_id": user_id})
    return Standing(*rows[0]) if rows else None


# ---------------------------------------------------------------- sessions


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that was just opened or refreshed; the one place where its refresh token stands in clear."""

    viewer: Viewer
    refresh_token: str


# Verifying takes a while, and meanwhile the user may have been changed. The lock makes a change that is under way come
# first, or wait, and then find the session that it is to end.
_VERIFIED = select(User.id).where(
    User.id == bindparam("user_id", type_=BigInteger),
    User.hashed_password == bindparam("hashed_password", type_=Text),
    User.is_active,
)
_STILL_GOOD = Statement(_VERIFIED.with_for_update(read=True))
# As a change of the user locks them: a weaker lock first would let two changes wait for each other.
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
    """Open a session for the user who has just proved to know the password.

    Return None where the credentials are no good any more: a new password, or the user is no longer active.
    """
    verified = {"user_id": credentials.user_id, "hashed_password": credentials.hashed_password}
    if not await transaction.fetch(_STILL_GOOD, verified):
        return None
    opened = await transaction.fetch(_OPEN_SESSION, {"user_id": credentials.user_id, "ttl_s": ttl_s})
    session_id: int = opened[0]["id"]
    viewer = Viewer(credentials.user_id, session_id, is_admin=credentials.role == "admin")
    return OpenSession(viewer, await _new_token(transaction, session_id))


async def is_still_password(transaction: Reader, user_id: int, hashed_password: str) -> bool:
    """Lock a user who is to be changed; say whether this is their password still."""
    verified = {"user_id": user_id, "hashed_password": hashed_password}
    return bool(await transaction.fetch(_STILL_GOOD_TO_CHANGE, verified))


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
# Its time is over as well, so that it is swept: its tokens have nothing more to detect.
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
