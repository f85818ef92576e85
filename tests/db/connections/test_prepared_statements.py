"""The prepared statements of a connection: those in use stay, and their texts together stay below a bound."""

from sqlalchemy import Text, literal_column, select, text

from db.connections.database import Database
from db.connections.pool import PREPARED_LENGTH_MAX, PREPARED_MAX
from db.connections.statements import Statement

# asyncpg and the pool prepare lower-case statements when a connection opens; these tests do not count them.
PREPARED = Statement(
    text("SELECT name, statement, length(statement) AS length FROM pg_prepared_statements WHERE statement ~ '^SELECT'")
)


def padded(number: int, length: int) -> Statement:
    """Return a statement with a unique text of about this length."""
    return Statement(select(literal_column(f"'{number:0{length}}'", Text)))


async def test_flood_of_other_statements_keeps_the_one_in_use_prepared(database: Database) -> None:
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
    for length in (PREPARED_LENGTH_MAX - 100, PREPARED_LENGTH_MAX + 100):
        for number in range(3):
            for _again in range(2):
                [row] = await database.fetch(padded(number, length), {})
                assert row[0] == f"{number:0{length}}"
    lengths = [row["length"] for row in await database.fetch(PREPARED, {})]
    assert len(lengths) == 3 + 1
    assert PREPARED_LENGTH_MAX - 100 < max(lengths) <= PREPARED_LENGTH_MAX
    assert database.counters.connects == 1
