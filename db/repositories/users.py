"""Users: reads, then writes. Their profiles are in `db.repositories.profiles`, and are written together with them.

Invariants: `hashed_password` is in no projection, so that no read returns it. `email` leaves the database only for the
user and for administrators (the CASE in `_project`). The system user owns the accounts through which money enters. It
cannot be changed or deleted, and is in no list: it is found by its id, by its name, and as the owner of its accounts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from types import MappingProxyType
from typing import Any

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Text,
    any_,
    bindparam,
    case,
    collate,
    delete,
    false,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from db.access import AccessLevel, Viewer
from db.connections.statements import KEYS_ARRAY, TEXT_KEYS_ARRAY, Reader, RowsByKey, Statement
from db.errors import Refusal
from db.models.users import IS_PERSON, User
from db.query.cursors import Term, TermKind
from db.query.keyset_lists import KeysetList, Read
from db.query.nested_pages import NOTHING_NESTED, NestedKind, NestedPages, rows_with_pages, with_nested
from db.query.pages import Columns
from db.query.statement_cache import statements
from db.repositories.given_rows import given_rows
from db.repositories.profiles import change_profile, create_profiles
from db.repositories.ranges import created_bounds, created_conditions
from db.repositories.versioned_rows import ensure_version

USERNAME_KEY = "username_key"
VIEWER_ID = bindparam("viewer_id", type_=BigInteger)


# ---------------------------------------------------------------- reads

CREATED_AT = Term("created_at", User.created_at, TermKind.INSTANT)
USERNAME = Term("username", func.lower(User.username), TermKind.TEXT, key=str.lower)
ID = Term("id", User.id, TermKind.INTEGER)

_PUBLIC = {name: name for name in ("id", "username", "is_active", "created_at", "updated_at", "version")}


def _project(columns: Columns, access_level: AccessLevel) -> Sequence[ColumnElement[Any]]:
    return project_users(User.__table__, columns, access_level)


def project_users(
    of: FromClause, columns: Columns, access_level: AccessLevel, prefix: str = ""
) -> Sequence[ColumnElement[Any]]:
    """Return `columns` of the users table or an alias of it, as an access level sees them, labelled with `prefix`."""
    email: ColumnElement[Any] = {
        AccessLevel.PUBLIC: null(),
        AccessLevel.MEMBER: case((of.c.id == VIEWER_ID, of.c.email)),
        AccessLevel.ADMIN: of.c.email,
    }[access_level]
    return [(email if name == "email" else of.c[_PUBLIC[name]]).label(prefix + name) for name in columns]


def _lower(parameter: str) -> ColumnElement[str]:
    """Return a text parameter in lower case by the rules of ASCII alone, as in the columns: a Kelvin sign stays one."""
    return func.lower(collate(bindparam(parameter, type_=Text), "C"))


USERS = KeysetList(
    edge="",
    table=User.__table__,
    project=_project,
    visible=lambda _: (literal_column(IS_PERSON, Boolean),),
    conditions={
        "is_active": User.is_active == bindparam("is_active", type_=Boolean),
        # A half-open range, because the value is data: in LIKE, % and _ would be wild cards. "{" follows "z" in
        # ASCII, and no username has a character beyond "z".
        "username_prefix": func.lower(User.username).between(
            _lower("username_prefix"), _lower("username_prefix").concat("{")
        ),
        **created_conditions(User.created_at),
    },
    opposite_bounds={**created_bounds(User.created_at)},
)


def users_by_ids(
    reader: Reader, viewer: Viewer, columns: Columns, ids: Sequence[int], nested: NestedPages = NOTHING_NESTED
) -> RowsByKey:
    """Return the users `ids`, by id, with `nested` pages as `KeysetList.by_ids`. `columns` must include `id`."""
    statement, map_rows = _users_by_ids(columns, viewer.access_level, nested.kinds)
    return reader.mapped_rows(statement, {"viewer_id": viewer.user_id, **nested.parameters}, map_rows, ids)


@statements
def _users_by_ids(
    columns: Columns, access_level: AccessLevel, nested: tuple[NestedKind, ...]
) -> Read[Mapping[int, Record]]:
    # From the table itself: an email that the viewer may not see is NULL, and names no table.
    rows = select(*_project(columns, access_level)).select_from(User.__table__).where(User.id == any_(KEYS_ARRAY))
    return Read(Statement(with_nested(rows, columns, access_level, nested)), rows_with_pages(columns, nested))


def username_key(username: str) -> str:
    """Return a username in lower case by the rules of ASCII alone, as in the index: a Kelvin sign stays one."""
    return username.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


def users_by_usernames(
    reader: Reader, viewer: Viewer, columns: Columns, keys: Sequence[str], nested: NestedPages = NOTHING_NESTED
) -> RowsByKey:
    """Return the users with these usernames, each in the form of `username_key`, by this form. See `users_by_ids`."""
    statement, map_rows = _users_by_usernames(columns, viewer.access_level, nested.kinds)
    return reader.mapped_rows(statement, {"viewer_id": viewer.user_id, **nested.parameters}, map_rows, keys)


@statements
def _users_by_usernames(
    columns: Columns, access_level: AccessLevel, nested: tuple[NestedKind, ...]
) -> Read[Mapping[Any, Record]]:
    key = func.lower(User.username)
    rows = select(*_project(columns, access_level), key.label(USERNAME_KEY)).where(key == any_(TEXT_KEYS_ARRAY))
    every = (*columns, USERNAME_KEY)
    return Read(Statement(with_nested(rows, every, access_level, nested)), rows_with_pages(every, nested, USERNAME_KEY))


# ---------------------------------------------------------------- writes


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to create, after its checks and with a hashed password. `profile` maps column names, or is None."""

    email: str
    username: str
    hashed_password: str
    profile: Mapping[str, str | None] | None = None
    role: str = "member"


_NEW_USER_COLUMNS = [one.name for one in fields(NewUser) if one.name in User.__table__.columns]


@statements
def _insert_users(columns: Columns, access_level: AccessLevel) -> Statement:
    new_rows = given_rows(User, _NEW_USER_COLUMNS)
    rows = select(*(new_rows.c[name] for name in _NEW_USER_COLUMNS))
    inserted = insert(User).from_select(_NEW_USER_COLUMNS, rows)
    return Statement(inserted.returning(*_project(columns, access_level)))


async def create_users(transaction: Reader, viewer: Viewer, columns: Columns, users: Sequence[NewUser]) -> list[Record]:
    """Create `users` with their profiles, with one statement for each table, and return their rows in order.

    Raises:
        IntegrityConstraintViolationError: a constraint is violated; `Database.write` turns it into a refusal.
    """
    columns = tuple(dict.fromkeys(("id", "username", *columns)))
    values = {name: [getattr(user, name) for user in users] for name in _NEW_USER_COLUMNS}
    returned = await transaction.fetch(
        _insert_users(columns, viewer.access_level), values | {"viewer_id": viewer.user_id}
    )
    # RETURNING guarantees no order; the unique username restores it.
    rows = {row["username"]: row for row in returned}
    profiles = [{"user_id": rows[user.username]["id"], **user.profile} for user in users if user.profile is not None]
    if profiles:
        await create_profiles(transaction, profiles)
    return [rows[user.username] for user in users]


_TAKEN = Statement(
    select(func.lower(User.email).label("email"), func.lower(User.username).label("username")).where(
        or_(
            func.lower(User.email) == any_(bindparam("emails", type_=ARRAY(Text))),
            func.lower(User.username) == any_(bindparam("usernames", type_=ARRAY(Text))),
        )
    )
)


async def taken_names(reader: Reader, users: Sequence[NewUser]) -> tuple[set[str], set[str]]:
    """Return the emails and the usernames of `users` that are taken, in lower case.

    Use it only for the message of a refusal that a constraint has decided: by now the taken names may differ.
    """
    values = {"emails": [user.email.lower() for user in users], "usernames": [user.username.lower() for user in users]}
    rows = await reader.fetch(_TAKEN, values)
    return {row["email"] for row in rows}, {row["username"] for row in rows}


@dataclass(frozen=True, slots=True)
class UpdatedUser:
    """The result of an update."""

    row: Record
    was_active: bool


class Keep(Enum):
    """The value for a profile that stays as it is; None would remove the profile."""

    KEEP = "keep"


async def update_user(
    transaction: Reader,
    viewer: Viewer,
    columns: Columns,
    user_id: int,
    changes: Mapping[str, object],
    profile: Mapping[str, str | None] | Keep | None = Keep.KEEP,
    *,
    expected_version: int | None = None,
) -> UpdatedUser:
    """Set the columns in `changes` , and the given columns of the profile.

    The version rises and `updated_at` changes only if a value differs, in the profile too. A new hash differs even if
    the password is the same. If there is no profile, `profile` creates one; None removes it. With `expected_version`
    the user must have this version.

    Raises:
        Refusal: NOT_FOUND if there is no such user or the viewer may not change it; VERSION_CONFLICT.
    """
    locked = await _lock_user(transaction, viewer, user_id, expected_version, changes)
    if not viewer.is_admin and not changes.keys().isdisjoint({"is_active", "role"}):
        raise Refusal("NOT_FOUND", ("isActive",), "only an administrator changes whether a user is active")
    differs = locked["differs"]
    if profile is not Keep.KEEP and await change_profile(transaction, user_id, profile):
        differs = True
    statement = _update_user(columns, viewer.access_level, frozenset(changes) if differs else None)
    rows = await transaction.fetch(statement, {**changes, "id": user_id, "viewer_id": viewer.user_id})
    return UpdatedUser(rows[0], locked["is_active"])


async def _lock_user(
    transaction: Reader,
    viewer: Viewer,
    user_id: int,
    expected_version: int | None,
    changes: Mapping[str, object] = MappingProxyType({}),
) -> Record:
    """Lock a user; return the version, whether the user is active, and whether one of `changes` differs."""
    mine = viewer.is_admin or user_id == viewer.user_id
    # The statement does not lock, and so does not wait for, another user.
    rows = await transaction.fetch(_lock_of(frozenset(changes)), {**changes, "id": user_id}) if mine else ()
    if not rows:
        raise Refusal("NOT_FOUND", ("id",), "no such user")
    ensure_version("user", rows[0]["version"], expected_version)
    return rows[0]


def _parameters(changed: frozenset[str]) -> dict[str, ColumnElement[Any]]:
    return {name: bindparam(name, type_=User.__table__.c[name].type) for name in sorted(changed)}


@statements
def _lock_of(changed: frozenset[str]) -> Statement:
    # The difference is computed from the row after it is locked, including concurrent changes.
    differs = or_(false(), *(User.__table__.c[name] != value for name, value in _parameters(changed).items()))
    return Statement(
        select(User.version, User.is_active, differs.label("differs"))
        .where(User.id == bindparam("id", type_=BigInteger), User.role != "system")
        .with_for_update(key_share=True)
    )


@statements
def _update_user(columns: Columns, access_level: AccessLevel, changed: frozenset[str] | None) -> Statement:
    """Return the statement that changes a locked user, or only reads the user if `changed` is None."""
    of_id = User.id == bindparam("id", type_=BigInteger)
    if changed is None:
        return Statement(select(*_project(columns, access_level)).where(of_id))
    return Statement(
        update(User)
        .where(of_id)
        .values(version=User.version + 1, updated_at=func.clock_timestamp(), **_parameters(changed))
        .returning(*_project(columns, access_level))
    )


_DELETE_USER = Statement(delete(User).where(User.id == bindparam("id", type_=BigInteger)))


async def delete_user(transaction: Reader, viewer: Viewer, user_id: int) -> None:
    """Delete a user with profile, posts and sessions.

    Raises:
        Refusal: NOT_FOUND if there is no such user or the viewer may not delete it.
        ForeignKeyViolationError: the user owns accounts; `Database.write` turns it into USER_OWNS_ACCOUNTS.
    """
    await _lock_user(transaction, viewer, user_id, None)
    await transaction.fetch(_DELETE_USER, {"id": user_id})
