"""Profiles: reads, and the writes that `db.repositories.users` uses when it writes users."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Text,
    any_,
    bindparam,
    delete,
    insert,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from db.access import Viewer
from db.connections.statements import KEYS_ARRAY, Reader, RowsByKey, Statement, by_column
from db.models.base import stored_columns
from db.models.users import Profile
from db.query.pages import Columns
from db.query.statement_cache import statements
from db.repositories.given_rows import given_rows

# ---------------------------------------------------------------- reads

_PROFILE: Mapping[str, ColumnElement[Any]] = {name: getattr(Profile, name) for name in stored_columns(Profile)}


def profiles_by_user_ids(reader: Reader, _: Viewer, columns: Columns, ids: Sequence[int]) -> RowsByKey:
    """Return the profiles of the users `ids`, by the user's id. Every viewer may see every profile."""
    return reader.mapped_rows(_profiles_by_user_ids(columns), {}, by_column("user_id"), ids)


@statements
def _profiles_by_user_ids(columns: Columns) -> Statement:
    ids = any_(KEYS_ARRAY)
    return Statement(select(*(_PROFILE[name].label(name) for name in columns)).where(Profile.user_id == ids))


# ---------------------------------------------------------------- writes


async def create_profiles(transaction: Reader, profiles: Sequence[Mapping[str, object]]) -> None:
    """Create profiles with one statement. Each profile maps `user_id` and any of the other columns to values."""
    await transaction.fetch(_INSERT_PROFILES, {name: [one.get(name) for one in profiles] for name in _PROFILE})


_GIVEN = given_rows(Profile, _PROFILE)
_INSERT_PROFILES = Statement(
    insert(Profile).from_select(list(_PROFILE), select(*(_GIVEN.c[name] for name in _PROFILE)))
)


async def change_profile(transaction: Reader, user_id: int, changes: Mapping[str, str | None] | None) -> bool:
    """Set the columns in `changes` of a locked user's profile, or remove it; return whether that changed anything."""
    if changes is None:
        return bool(await transaction.fetch(_DELETE_PROFILE, {"user_id": user_id}))
    return bool(await transaction.fetch(_upsert_profile(frozenset(changes)), {"user_id": user_id, **changes}))


_DELETE_PROFILE = Statement(
    delete(Profile).where(Profile.user_id == bindparam("user_id", type_=BigInteger)).returning(Profile.user_id)
)


@statements
def _upsert_profile(changed: frozenset[str]) -> Statement:
    """Return the statement that creates or changes a profile. It returns a row if it changed anything."""
    values = {name: bindparam(name, type_=Text) for name in sorted(changed)}
    row = upsert(Profile).values(user_id=bindparam("user_id", type_=BigInteger), **values)
    if not changed:
        made = row.on_conflict_do_nothing(index_elements=[Profile.user_id])
    else:
        differs = or_(*(_PROFILE[name].is_distinct_from(value) for name, value in values.items()))
        made = row.on_conflict_do_update(index_elements=[Profile.user_id], set_=values, where=differs)
    return Statement(made.returning(Profile.user_id))
