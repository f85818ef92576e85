"""Attempts to sign in: how long the next attempt must wait, and which failed attempts the owner of a login is shown.

Attempts are counted before the password is checked, so that simultaneous guesses cannot exceed the limit. They are
counted for each login and place, so that an attacker elsewhere does not delay the owner. A second count covers all
places from which the user has never signed in. It allows more attempts, and its waits are short. It limits an attacker
with many addresses, and still lets the owner sign in at a new address. A place is a digest of an address, or of a
device on which the user has signed in: users behind one address do not delay each other if their devices are known.

A wait doubles with each attempt. An attempt during a wait is not checked and does not count. A wait that is longer than
the longest possible one was begun by a clock that was set back since, and counts as ended.
"""

import datetime
import hashlib
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    LargeBinary,
    Text,
    bindparam,
    case,
    cast,
    collate,
    delete,
    extract,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from db.connections.statements import Reader, Statement
from db.connections.waiting import TurnKey
from db.errors import Refusal
from db.models.sessions import FailedSignIns, SignInAttempts, SignInPlace
from db.models.users import User

FIRST_WAIT_S = 30
DOUBLINGS_MAX = 16
# For the attempts at one login from all unknown places together: this many times more are free, with this longest wait.
ELSEWHERE_FACTOR = 10
ELSEWHERE_WAIT_MAX_S = 60
PLACE_KEPT_S = 90 * 86_400


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """The number of free attempts, and the longest wait.

    Attributes:
        free: the number of attempts at one login from one place before the first wait.
        window_s: the longest wait in seconds. Attempts are forgotten if there was none for this time after the last
            wait.
    """

    free: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was counted, so that its password may be checked.

    Attributes:
        is_known: whether the user has signed in from this place before.
        user_id: the user of the login; None if there is none.
        wait_s: the wait before the next attempt, in seconds.
    """

    is_known: bool
    user_id: int | None
    wait_s: int
    place: bytes


_NOW = func.clock_timestamp()
_USER_ID = bindparam("user_id", type_=BigInteger)
_PLACE = bindparam("place", type_=LargeBinary)
_HASH = bindparam("login_hash", type_=LargeBinary)
_WINDOW_S = bindparam("window_s", type_=Integer)
# Letters are compared by the rules of ASCII alone, as in the columns. By the rules of the database's locale, "İda" may
# be "ida": another login whose attempts are counted separately, and the same user.
_LOGIN = func.lower(collate(bindparam("login", type_=Text), "C"))
IS_LOGIN = (or_(func.lower(User.username) == _LOGIN, func.lower(User.email) == _LOGIN), User.role != "system")


def _seconds(seconds: ColumnElement[float]) -> ColumnElement[datetime.timedelta]:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _wait_s(attempts: ColumnElement[int]) -> ColumnElement[float]:
    """Return how many seconds the next attempt must wait after this number of attempts."""
    free, longest = bindparam("free", type_=Integer), bindparam("wait_max_s", type_=Integer)
    doublings = func.least(attempts - free, DOUBLINGS_MAX)
    wait = func.least(FIRST_WAIT_S * func.power(2.0, cast(doublings, Double)), cast(longest, Double))
    return cast(case((attempts < free, 0.0), else_=wait), Double)


_LONGEST = _seconds(cast(bindparam("wait_max_s", type_=Integer), Double))
_MAY_TRY = or_(
    SignInAttempts.retry_at.is_(None), SignInAttempts.retry_at <= _NOW, SignInAttempts.retry_at > _NOW + _LONGEST
)
_ATTEMPTS = case((SignInAttempts.window_ends_at <= _NOW, 1), else_=SignInAttempts.attempts + 1)
_FIRST = cast(text("1"), Integer)
_COUNT = Statement(
    upsert(SignInAttempts)
    .values(
        login_hash=_HASH,
        attempts=_FIRST,
        window_ends_at=_NOW + _seconds(_wait_s(_FIRST) + _WINDOW_S),
        retry_at=_NOW + _seconds(_wait_s(_FIRST)),
    )
    .on_conflict_do_update(
        index_elements=[SignInAttempts.login_hash],
        set_={
            "attempts": _ATTEMPTS,
            "window_ends_at": _NOW + _seconds(_wait_s(_ATTEMPTS) + _WINDOW_S),
            "retry_at": _NOW + _seconds(_wait_s(_ATTEMPTS)),
        },
        where=_MAY_TRY,
    )
    .returning(cast(extract("epoch", SignInAttempts.retry_at - _NOW), Double).label("wait_s"))
)
_WAIT_LEFT = Statement(
    select(cast(extract("epoch", SignInAttempts.retry_at - _NOW), Double).label("wait_s")).where(
        SignInAttempts.login_hash == _HASH
    )
)
_COUNT_FOR_OWNER = Statement(
    upsert(FailedSignIns)
    .from_select(["user_id", "attempts"], select(User.id, _FIRST).where(*IS_LOGIN))
    .on_conflict_do_update(index_elements=[FailedSignIns.user_id], set_={"attempts": FailedSignIns.attempts + 1})
    .returning(FailedSignIns.user_id)
)
_IS_KNOWN = Statement(
    select(SignInPlace.user_id).join(User, User.id == SignInPlace.user_id).where(*IS_LOGIN, SignInPlace.place == _PLACE)
)


async def count_attempt(
    transaction: Reader, login: str, place: bytes, limits: AttemptLimits, *, is_known: bool = False
) -> Attempt:
    """Count one more attempt to sign in as `login` from `place`. Its password may then be checked.

    Unless `is_known` is true, the database is queried whether the user has signed in from `place` before.

    Raises:
        Refusal: TOO_MANY_ATTEMPTS; the caller must not commit the transaction.
    """
    is_known = is_known or bool(await transaction.fetch(_IS_KNOWN, {"login": login, "place": place}))
    wait_s = await _count_at(transaction, _hash_of(login, place), limits.free, limits.window_s, limits)
    if not is_known:
        free = limits.free * ELSEWHERE_FACTOR
        longest = min(ELSEWHERE_WAIT_MAX_S, limits.window_s)
        wait_s = max(wait_s, await _count_at(transaction, _hash_of(login), free, longest, limits))
    failed = await transaction.fetch(_COUNT_FOR_OWNER, {"login": login})
    return Attempt(is_known, failed[0]["user_id"] if failed else None, wait_s, place)


async def _count_at(transaction: Reader, login_hash: bytes, free: int, wait_max_s: int, limits: AttemptLimits) -> int:
    values = {"login_hash": login_hash, "free": free, "wait_max_s": wait_max_s, "window_s": limits.window_s}
    counted = await transaction.fetch(_COUNT, values)
    if counted:
        return _rounded_up(counted[0]["wait_s"])
    left = await transaction.fetch(_WAIT_LEFT, {"login_hash": login_hash})
    seconds = _rounded_up(left[0]["wait_s"]) if left else 1
    message = f"too many attempts; try again in {seconds} {'second' if seconds == 1 else 'seconds'}"
    raise Refusal("TOO_MANY_ATTEMPTS", ("login",), message)


def _rounded_up(seconds: float) -> int:
    return max(0, -int(-seconds // 1))


_FORGET = Statement(delete(SignInAttempts).where(SignInAttempts.login_hash == _HASH))
_FORGET_ONLY = Statement(
    delete(SignInAttempts)
    .where(SignInAttempts.login_hash == _HASH, SignInAttempts.attempts <= 1)
    .returning(SignInAttempts.login_hash)
)
# One is subtracted, and the row is kept: the attempts of an attacker elsewhere stay counted.
_TAKE_BACK = Statement(
    update(SignInAttempts)
    .where(SignInAttempts.login_hash == _HASH)
    .values(attempts=SignInAttempts.attempts - 1, retry_at=None)
)
_TAKE_FAILED = Statement(
    delete(FailedSignIns).where(FailedSignIns.user_id == _USER_ID).returning(FailedSignIns.attempts)
)
_REMEMBER = Statement(
    upsert(SignInPlace)
    .values(user_id=_USER_ID, place=_PLACE, seen_at=_NOW)
    .on_conflict_do_update(index_elements=[SignInPlace.user_id, SignInPlace.place], set_={"seen_at": _NOW})
)


async def forget_attempts(transaction: Reader, login: str, attempt: Attempt) -> None:
    """Forget the attempts at a login from the place of `attempt`, which was successful."""
    await transaction.fetch(_FORGET, {"login_hash": _hash_of(login, attempt.place)})
    elsewhere = {"login_hash": _hash_of(login)}
    if not attempt.is_known and not await transaction.fetch(_FORGET_ONLY, elsewhere):
        await transaction.fetch(_TAKE_BACK, elsewhere)


async def signed_in_from(transaction: Reader, user_id: int, place: bytes) -> int:
    """Store that a user has signed in from `place`; return how many attempts have failed since the last sign-in."""
    await transaction.fetch(_REMEMBER, {"user_id": user_id, "place": place})
    failed = await transaction.fetch(_TAKE_FAILED, {"user_id": user_id})
    # The successful attempt was counted, too.
    return max(0, failed[0]["attempts"] - 1) if failed else 0


def attempts_key(login: str, place: bytes) -> TurnKey:
    """Return the key of the turn to count an attempt (`db.connections.statements.Writer.turn`)."""
    return "login", int.from_bytes(_hash_of(login, place)[:8]), 0


def _hash_of(login: str, place: bytes | None = None) -> bytes:
    digest = hashlib.sha256(login.lower().encode())
    if place is not None:
        digest.update(b"\0" + place)
    return digest.digest()
