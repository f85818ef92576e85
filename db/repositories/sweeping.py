"""What has had its time is deleted: sessions that are over, spent refresh tokens, windows of attempts, old places.

A spent token serves to detect that somebody else has a copy, for as long as it could have been used itself. After that,
whoever shows it shows a token that has expired. All of it is kept for CLOCK_MARGIN_S longer: a clock that is wrong for
a while, mostly by an hour, deletes nothing that is good again when it is put right. Rows are deleted in batches of
their own transactions, so that no lock is held for long; what another process has locked is left to it.
"""

import datetime
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Integer, bindparam, delete, func, inspect, select, tuple_
from sqlalchemy.sql.dml import ReturningDelete

from db.connections.statements import Statement, Writer
from db.models.base import Model
from db.models.sessions import RefreshToken, Session, SignInAttempts, SignInPlace
from db.repositories.sign_ins import PLACE_KEPT_S

_BATCHES_MAX = 200
CLOCK_MARGIN_S = 7200


# `now()`, which is the same for the whole statement: by `clock_timestamp()` no index is searched.
def _before(seconds: int | ColumnElement[int]) -> ColumnElement[datetime.datetime]:
    return func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _oldest(table: type[Model], condition: ColumnElement[bool], rows_max: int) -> ReturningDelete[Any]:
    keys = list(inspect(table).primary_key)
    chosen = select(*keys).where(condition).limit(rows_max).with_for_update(skip_locked=True)
    return delete(table).where(tuple_(*keys).in_(chosen)).returning(keys[0])


# A session takes its tokens with it, of which it may have thousands: those that are spent long ago go first.
_BATCHES = {"refresh_tokens": 500, "sessions": 20, "sign_in_attempts": 500, "sign_in_places": 500}
_CONDITIONS: Mapping[type[Model], ColumnElement[bool]] = {
    RefreshToken: RefreshToken.used_at < _before(bindparam("token_kept_s", type_=Integer)),
    Session: Session.expires_at < _before(CLOCK_MARGIN_S),
    SignInAttempts: SignInAttempts.window_ends_at < _before(CLOCK_MARGIN_S),
    SignInPlace: SignInPlace.seen_at < _before(PLACE_KEPT_S + CLOCK_MARGIN_S),
}
STATEMENTS: Mapping[str, Statement] = {
    table.__tablename__: Statement(_oldest(table, condition, _BATCHES[table.__tablename__]))
    for table, condition in _CONDITIONS.items()
}


async def sweep(writer: Writer, token_ttl_s: int) -> Mapping[str, int]:
    """Delete what is over, some hundred rows at a time, and return how many rows of which table went.

    Args:
        writer: what commits.
        token_ttl_s: how long a refresh token is good.

    Raises:
        Unavailable: the database cannot be written; what was deleted stays deleted.
    """
    swept = {}
    for name, statement in STATEMENTS.items():
        values: dict[str, Any] = {"token_kept_s": token_ttl_s + CLOCK_MARGIN_S} if name == "refresh_tokens" else {}
        swept[name] = 0
        for _ in range(_BATCHES_MAX):
            gone = len(await writer.write(lambda one: one.fetch(statement, values)))  # noqa: B023 - awaited at once
            swept[name] += gone
            if gone < _BATCHES[name]:
                break
    return swept
