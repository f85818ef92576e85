"""Attempts to sign in: who has to wait before the next one, and what the owner of a login is told.

Attempts are counted before the password is looked at, so that simultaneous guesses cannot slip under the limit. They
are counted per login and place, so that an attacker elsewhere does not delay the owner. A second count covers all
places from which the user has never signed in: more attempts are free there, and the waits are short. It bounds an
attacker with many addresses, and still lets the owner in at a new address. A place is a digest of an address, or of a
device on which the user has signed in: those behind one address do not delay each other where their devices are known.

A wait doubles with each attempt. An attempt that comes too early is not looked at and does not count. A wait that is
longer than there are any was begun by a clock that has been put back since, and is over.
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
# Of one login from all unknown places together: ten times as many attempts are free, and no wait is longer than this.
ELSEWHERE_FACTOR = 10
ELSEWHERE_WAIT_MAX_S = 60
PLACE_KEPT_S = 90 * 86_400


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """How many attempts are free, and how long one waits at most for the next.

    Attributes:
        free: the number of attempts of one login from one place that come before the first wait.
        window_s: the longest wait; attempts are forgotten when there was none for as long after the last wait.
    """

    free: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was counted, and may be looked at.

    Attributes:
        is_known: whether the user has signed in from this place before.
        place: from where it came.
        user_id: whose login it is; None: nobody's.
        wait_s: how long the next attempt has to wait.
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
# By ASCII's rules for case alone, as the columns. By the database's own, "İda" may be "ida": another login to count
# attempts for, and the same user.
_LOGIN = func.lower(collate(bindparam("login", type_=Text), "C"))
IS_LOGIN = (or_(func.lower(User.username) == _LOGIN, func.lower(User.email) == _LOGIN), User.role != "system")


def _seconds(seconds: ColumnElement[float]) -> ColumnElement[datetime.timedelta]:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _wait_s(attempts: ColumnElement[int]) -> ColumnElement[float]:
    """Return how many seconds the next attempt waits after so many."""
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
_LEFT = Statement(
    select(cast(extract("epoch", SignInAttempts.retry_at - _NOW), Double).label("wait_s")).where(
        SignInAttempts.login_hash == _HASH
    )
)
_TELL_OWNER = Statement(
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
    """Count one more attempt to sign in as `login` from `place`, which may then be looked at.

    Whether the user has signed in from there before is asked here, unless that is known.

    Raises:
        Refusal: TOO_MANY_ATTEMPTS; the transaction is not to be committed.
    """
    is_known = is_known or bool(await transaction.fetch(_IS_KNOWN, {"login": login, "place": place}))
    wait_s = await _counted(transaction, _hash_of(login, place), limits.free, limits.window_s, limits)
    if not is_known:
        free = limits.free * ELSEWHERE_FACTOR
        longest = min(ELSEWHERE_WAIT_MAX_S, limits.window_s)
        wait_s = max(wait_s, await _counted(transaction, _hash_of(login), free, longest, limits))
    told = await transaction.fetch(_TELL_OWNER, {"login": login})
    return Attempt(is_known, told[0]["user_id"] if told else None, wait_s, place)


async def _counted(transaction: Reader, login_hash: bytes, free: int, wait_max_s: int, limits: AttemptLimits) -> int:
    values = {"login_hash": login_hash, "free": free, "wait_max_s": wait_max_s, "window_s": limits.window_s}
    counted = await transaction.fetch(_COUNT, values)
    if counted:
        return _whole(counted[0]["wait_s"])
    left = await transaction.fetch(_LEFT, {"login_hash": login_hash})
    seconds = _whole(left[0]["wait_s"]) if left else 1
    message = f"too many attempts; try again in {seconds} {'second' if seconds == 1 else 'seconds'}"
    raise Refusal("TOO_MANY_ATTEMPTS", ("login",), message)


def _whole(seconds: float) -> int:
    return max(0, -int(-seconds // 1))


_FORGET = Statement(delete(SignInAttempts).where(SignInAttempts.login_hash == _HASH))
_FORGET_ONLY = Statement(
    delete(SignInAttempts)
    .where(SignInAttempts.login_hash == _HASH, SignInAttempts.attempts <= 1)
    .returning(SignInAttempts.login_hash)
)
# One less, not none: an attacker elsewhere keeps their count.
_TAKE_BACK = Statement(
    update(SignInAttempts)
    .where(SignInAttempts.login_hash == _HASH)
    .values(attempts=SignInAttempts.attempts - 1, retry_at=None)
)
_TOLD = Statement(delete(FailedSignIns).where(FailedSignIns.user_id == _USER_ID).returning(FailedSignIns.attempts))
_REMEMBER = Statement(
    upsert(SignInPlace)
    .values(user_id=_USER_ID, place=_PLACE, seen_at=_NOW)
    .on_conflict_do_update(index_elements=[SignInPlace.user_id, SignInPlace.place], set_={"seen_at": _NOW})
)


async def forget_attempts(transaction: Reader, login: str, attempt: Attempt) -> None:
    """Forget the attempts of a login from the place of `attempt`, the last one, which has succeeded."""
    await transaction.fetch(_FORGET, {"login_hash": _hash_of(login, attempt.place)})
    elsewhere = {"login_hash": _hash_of(login)}
    if not attempt.is_known and not await transaction.fetch(_FORGET_ONLY, elsewhere):
        await transaction.fetch(_TAKE_BACK, elsewhere)


async def signed_in_from(transaction: Reader, user_id: int, place: bytes) -> int:
    """Remember that a user has signed in from `place`; return how many attempts have failed since the last time."""
    await transaction.fetch(_REMEMBER, {"user_id": user_id, "place": place})
    told = await transaction.fetch(_TOLD, {"user_id": user_id})
    # The attempt that has succeeded was counted, too.
    return max(0, told[0]["attempts"] - 1) if told else 0


def attempts_key(login: str, place: bytes) -> TurnKey:
    """Return the key of the turn to count an attempt (`db.connections.statements.Writer.turn`)."""
    return "login", int.from_bytes(_hash_of(login, place)[:8]), 0


def _hash_of(login: str, place: bytes | None = None) -> bytes:
    digest = hashlib.sha256(login.lower().encode())
    if place is not None:
        digest.update(b"\0" + place)
    return digest.digest()
