"""The prepared statements of a connection: those in use, and no more text than the bound."""

from sqlalchemy import Text, literal_column, select, text

from db.connections.database import Database
from db.connections.leased_connection import PREPARED_LENGTH_MAX, PREPARED_MAX
from db.connections.statements import Statement

# While the connection is opened, asyncpg prepares statements of its own, in lower case.
PREPARED = Statement(
    text("SELECT name, statement, length(statement) AS length FROM pg_prepared_statements WHERE statement ~ '^SELECT'")
)


def padded(number: int, length: int) -> Statement:
    """Return a unique statement of about this length."""
    return Statement(select(literal_column(f"'{number:0{length}}'", Text)))


async def test_flood_of_other_statements_leaves_the_one_in_use_prepared(database: Database) -> None:
    names = set()
    for number in range(PREPARED_MAX + 50):
        await database.fetch(padded(number, 10), {})
        rows = await database.fetch(PREPARED, {})
        names |= {row["name"] for row in rows if row["statement"] == PREPARED.sql}
        assert len(rows) <= PREPARED_MAX
    assert len(names) == 1
    assert len(await database.fetch(PREPARED, {})) == PREPARED_MAX
    assert database.counters.connects == 1


async def test_prepared_statements_of_a_connection_are_bounded_by_their_text(database: Database) -> None:
    each = PREPARED_LENGTH_MAX // 10
    for number in range(25):
        await database.fetch(padded(number, each), {})
    lengths = [row["length"] for row in await database.fetch(PREPARED, {})]
    assert PREPARED_LENGTH_MAX / 2 < sum(lengths) <= PREPARED_LENGTH_MAX
    assert database.counters.connects == 1


async def test_statement_longer_than_the_bound_runs(database: Database) -> None:
    for number in range(3):
        [row] = await database.fetch(padded(number, PREPARED_LENGTH_MAX + 1), {})
        assert row[0].endswith(str(number))
    assert len(await database.fetch(PREPARED, {})) == 1
