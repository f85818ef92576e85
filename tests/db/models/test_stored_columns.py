"""What a COPY writes follows from the tables: every column but those that the database computes."""

from collections import defaultdict

import pytest

from db.bulk.line_fields import POST_FIELDS, PROFILE_FIELDS, USER_FIELDS, LineField, line_fields
from db.connections.leases import Driver
from db.models import Model, Post, Profile, User
from db.models.base import stored_columns


async def test_stored_columns_are_those_of_the_database_that_it_does_not_compute(superuser: Driver) -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for table, column in await superuser.fetch(
        "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped "
        "AND attgenerated = '' AND relname <> 'alembic_version'"
    ):
        found[table].add(column)
    models = {mapper.local_table.description: mapper.class_ for mapper in Model.registry.mappers}
    assert {table: set(stored_columns(model)) for table, model in models.items()} == found, (
        "the models and the migrations have different columns: write a migration by `folio migrate revision`"
    )


def test_a_line_has_every_column_but_those_of_one_database() -> None:
    left_out = {Model: {"id", "version"} for Model in (User, Post)}
    assert columns(USER_FIELDS) == set(stored_columns(User)) - left_out[User] - {"hashed_password"}
    assert columns(POST_FIELDS) == set(stored_columns(Post)) - left_out[Post] - {"author_id"}
    assert columns(PROFILE_FIELDS) == set(stored_columns(Profile)) - {"user_id"}


def test_column_without_a_specification_is_reported() -> None:
    with pytest.raises(LookupError, match=r"^say how a line writes posts\.author_id: by a TextField of db/fields\.py"):
        line_fields(Post, but=("id",))


def columns(fields: dict[str, LineField]) -> set[str]:
    return {field.column for field in fields.values()}


def test_field_of_a_line_is_optional_if_its_column_has_a_default() -> None:
    defaults = {name: field.default for name, field in {**USER_FIELDS, **POST_FIELDS, **PROFILE_FIELDS}.items()}
    given = {name: value for name, value in defaults.items() if name not in {"username", "email", "title", "content"}}
    assert given == {
        "isActive": True,
        "role": "member",
        "createdAt": None,
        "updatedAt": None,
        "published": False,
        "views": 0,
        "displayName": None,
        "bio": None,
        "websiteUrl": None,
    }
