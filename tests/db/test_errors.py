"""Every constraint has a meaning, and the database has the constraints of the models."""

import asyncpg
import pytest
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint

from db.connections.leases import Driver
from db.constraints import CONSTRAINTS, INTERNAL, is_internal, refusal_for
from db.errors import Refusal
from db.models import Model

REFUSING = (CheckConstraint, ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint)


def names_in_metadata() -> set[str]:
    """Return the names of all constraints and unique indexes, as the naming convention makes them."""
    tables = Model.metadata.tables.values()
    constraints = {str(one.name) for table in tables for one in table.constraints if isinstance(one, REFUSING)}
    return constraints | {str(index.name) for table in tables for index in table.indexes if index.unique}


def test_every_constraint_has_a_meaning_or_is_internal() -> None:
    missing = sorted(name for name in names_in_metadata() - CONSTRAINTS.keys() if not is_internal(name))
    assert missing == [], (
        f"in db/constraints.py, say in CONSTRAINTS what a violation of each of {missing} means to a client (code, "
        "input field, message), or name it in INTERNAL where only a fault of ours can violate it"
    )


def test_every_meaning_belongs_to_an_existing_constraint() -> None:
    gone = sorted((CONSTRAINTS.keys() | INTERNAL) - names_in_metadata())
    assert gone == [], (
        f"no table has {gone}: export the model in db/models/__init__.py, with *checks_of(table) for its texts; or "
        "take them out of db/fields.py, or of CONSTRAINTS or INTERNAL in db/constraints.py"
    )


def test_no_constraint_is_both_a_refusal_and_internal() -> None:
    assert [name for name in CONSTRAINTS if is_internal(name)] == []


async def test_database_has_the_constraints_of_the_models(superuser: Driver) -> None:
    rows = await superuser.fetch(
        # NOT NULL (contype n) is a constraint since PostgreSQL 18; the server chooses its name.
        "SELECT conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid"
        " WHERE pg_class.relnamespace = 'public'::regnamespace AND contype <> 'n' AND relname <> 'alembic_version'"
        " UNION SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE indisunique AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version_pkc'"
    )
    assert {row[0] for row in rows} == names_in_metadata(), (
        "the models and the migrations have different constraints: write a migration by `folio migrate revision`"
    )


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_violation_is_refused_with_the_meaning_of_its_constraint(name: str) -> None:
    error = asyncpg.UniqueViolationError("violated")
    error.constraint_name = name
    refusal = refusal_for(error)
    assert refusal is not None
    meaning = CONSTRAINTS[name]
    assert (refusal.code, refusal.field, refusal.message) == (meaning.code, meaning.field, meaning.message)


@pytest.mark.parametrize("name", [None, "", "ck_users_version_positive", "unheard_of"])
def test_violation_of_any_other_constraint_is_no_refusal(name: str | None) -> None:
    error = asyncpg.CheckViolationError("violated")
    error.constraint_name = name
    assert refusal_for(error) is None


def test_refusal_of_a_bulk_item_has_its_field_below_the_item() -> None:
    refusal = Refusal("EMAIL_TAKEN", ("email",), "taken").below("users", "3")
    assert (refusal.code, refusal.field, refusal.message) == ("EMAIL_TAKEN", ("users", "3", "email"), "taken")
