"""Statements: one text for each shape, with the arguments in the order of the placeholders."""

import pytest
from sqlalchemy import BigInteger, Text, bindparam, column, func, literal, select, table
from sqlalchemy.dialects.postgresql import ARRAY

from db.connections.database import Database
from db.connections.statements import Statement

THINGS = table("things", column("id", BigInteger), column("name", Text), column("size", BigInteger))
ONE, OTHER = bindparam("one", type_=BigInteger), bindparam("other", type_=Text)
NUMBERS = Statement(
    select(func.unnest(bindparam("numbers", type_=ARRAY(BigInteger))).label("number")).order_by("number")
)


def test_arguments_are_in_the_order_of_the_placeholders() -> None:
    statement = Statement(select(THINGS.c.id).where(THINGS.c.name == OTHER, THINGS.c.size > ONE))
    assert statement.sql == (
        "SELECT things.id \nFROM things \nWHERE things.name = $1::VARCHAR AND things.size > $2::BIGINT"
    )
    assert statement.arguments({"one": 5, "other": "x"}) == ["x", 5]


def test_parameter_that_is_used_twice_is_one_argument() -> None:
    again = bindparam("one", type_=BigInteger)
    statement = Statement(select(THINGS.c.name).where(THINGS.c.id == ONE, THINGS.c.size == again))
    assert statement.sql.count("$1::BIGINT") == 2
    assert statement.arguments({"one": 5}) == [5]


def test_literal_is_a_constant_argument() -> None:
    statement = Statement(select(literal(7, BigInteger), ONE, literal("y", Text)).where(THINGS.c.size == 9))
    assert statement.arguments({"one": 5}) == [7, 5, "y", 9]


def test_value_never_replaces_a_constant() -> None:
    statement = Statement(select(literal(7, BigInteger)))
    assert statement.arguments({"param_1": 8}) == [7]


def test_values_without_a_parameter_are_ignored() -> None:
    assert Statement(select(ONE)).arguments({"one": 5, "other": "x"}) == [5]


def test_null_is_a_value() -> None:
    assert Statement(select(ONE)).arguments({"one": None}) == [None]


def test_parameter_without_a_value_is_refused() -> None:
    with pytest.raises(KeyError) as caught:
        Statement(select(ONE, OTHER)).arguments({"one": 5})
    assert caught.value.args == ("other",)


async def test_one_text_serves_lists_of_every_length(database: Database) -> None:
    for length in (0, 1, 3, 1000):
        rows = await database.fetch(NUMBERS, {"numbers": list(range(length))})
        assert [row["number"] for row in rows] == list(range(length))
    assert NUMBERS.sql == "SELECT unnest($1::BIGINT[]) AS number ORDER BY number"


async def test_percent_sign_and_colon_in_a_text_are_literal(database: Database) -> None:
    statement = Statement(select(literal("100 % of :one", Text).label("text"), (ONE % 3).label("rest")))
    [row] = await database.fetch(statement, {"one": 5})
    assert dict(row) == {"text": "100 % of :one", "rest": 2}


def test_statement_is_compiled_at_its_first_use_and_never_again() -> None:
    statement = Statement(select(ONE))
    assert statement.sql is statement.sql
