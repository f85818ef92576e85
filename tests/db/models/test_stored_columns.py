"""What a COPY writes follows from the tables: every column but those that the database computes."""

from collections import defaultdict
from collections.abc import Mapping

import pytest

from db.bulk.line_fields import PROFILE_FIELDS, ROW_KINDS, TABLES, USER_FIELDS, LineField, RowKind, line_fields
from db.connections.leases import Driver
from db.fields import STORED
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
    assert columns(USER_FIELDS) == set(stored_columns(User)) - {"id", "version", "hashed_password"}
    assert columns(PROFILE_FIELDS) == set(stored_columns(Profile)) - {"user_id"}


@pytest.mark.parametrize("kind", ROW_KINDS, ids=lambda kind: kind.noun)
def test_a_line_has_its_author_by_name_and_its_parent_by_its_place(kind: RowKind) -> None:
    author = {"author_id"} & set(kind.columns)
    assert columns(kind.fields) == set(kind.columns) - {"id", kind.parent_key} - author | (
        {"author"} if author else set()
    )


def test_every_table_of_texts_is_exported_and_imported() -> None:
    texts = {column.partition(".")[0] for column in STORED}
    assert texts - {"transactions"} == {"profiles", *TABLES}, (
        "an export lacks these rows: add a RowKind to ROW_KINDS in db/bulk/line_fields.py"
    )


def test_column_without_a_specification_is_reported() -> None:
    with pytest.raises(LookupError, match=r"^no check for posts\.author_id in a line: declare a TextField in db/"):
        line_fields(Post, without=("id",))


def columns(fields: Mapping[str, LineField]) -> set[str]:
    return {field.column for field in fields.values()}


def test_field_of_a_line_is_optional_if_its_column_has_a_default() -> None:
    post_fields = ROW_KINDS[0].fields
    defaults = {name: field.default for name, field in {**USER_FIELDS, **post_fields, **PROFILE_FIELDS}.items()}
    required = {"username", "email", "author", "title", "content"}
    given = {name: value for name, value in defaults.items() if name not in required}
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
