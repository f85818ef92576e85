"""Deletes old rows: ended or expired sessions, spent refresh tokens, expired attempt windows, old sign-in places.

A spent token is kept as long as it could have been used, to detect that another person has a copy. After that time, a
use of it is the use of an expired token. All rows are kept for CLOCK_MARGIN_S longer: a clock that is wrong for a
while, usually by an hour, must delete no row that is valid again after the correction. Rows are deleted in batches with
separate transactions, so that no lock is held for long. Rows that another process has locked are skipped.
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


# `now()` is the same for the whole statement. With `clock_timestamp()` PostgreSQL would not use an index.
def _before(seconds: int | ColumnElement[int]) -> ColumnElement[datetime.datetime]:
    return func.now() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _oldest(table: type[Model], condition: ColumnElement[bool], rows_max: int) -> ReturningDelete[Any]:
    keys = list(inspect(table).primary_key)
    chosen = select(*keys).where(condition).limit(rows_max).with_for_update(skip_locked=True)
    return delete(table).where(tuple_(*keys).in_(chosen)).returning(keys[0])


# Deleting a session deletes its tokens, which may be thousands. Therefore old spent tokens are deleted first.
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
    """Delete old rows in batches, and return the number of deleted rows of each table.

    `token_ttl_s` is the lifetime of a refresh token in seconds.

    Raises:
        Unavailable: the database cannot be written; rows that were deleted before stay deleted.
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
