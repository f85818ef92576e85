"""Queries of the ledger tests: the balances, the rows, and whether they agree."""

from sqlalchemy import text

from db.access import Viewer
from db.connections.database import Database
from db.connections.statements import Statement
from db.ledger.settlement import Movement
from tests.db.support.rows import move

BALANCES = Statement(text("SELECT id, balance FROM accounts ORDER BY id"))
LEDGER = Statement(text("SELECT from_id, to_id, amount, memo FROM transactions ORDER BY id"))
SYSTEM_ACCOUNTS = Statement(text("SELECT currency_code, balance FROM accounts WHERE is_system ORDER BY currency_code"))
WRONG_BALANCES = Statement(
    text(
        "SELECT id FROM accounts WHERE balance < 0 AND NOT is_system OR balance <>"
        " (SELECT coalesce(sum(amount), 0) FROM transactions WHERE to_id = accounts.id)"
        " - (SELECT coalesce(sum(amount), 0) FROM transactions WHERE from_id = accounts.id)"
    )
)


async def balances(database: Database) -> dict[int, int]:
    """Return every account's balance in minor units."""
    return {row["id"]: row["balance"] for row in await database.fetch(BALANCES, {})}


async def ledger(database: Database) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await database.fetch(LEDGER, {})]


async def assert_balanced(database: Database) -> None:
    assert await database.fetch(WRONG_BALANCES, {}) == []
    assert sum((await balances(database)).values()) == 0


async def refused(database: Database, viewer: Viewer, movement: Movement) -> tuple[str, tuple[str, ...]]:
    """Return the code and field of the refusal of `movement`, and assert that nothing but its key was written."""
    before = await balances(database), await ledger(database)
    settlement = await move(database, viewer, movement)
    assert settlement.row is None
    assert settlement.refusal is not None
    assert (await balances(database), await ledger(database)) == before
    return settlement.refusal.code, settlement.refusal.field
