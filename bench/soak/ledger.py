"""Compares the ledger with the journal: acknowledged writes exist exactly once, and no other rows exist."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic import SecretStr

from bench.soak import writes
from bench.soak.clients import Client
from bench.soak.journal import Journal, Movement, Outcome
from bench.soak.oracle import Oracle
from bench.soak.world import World
from db.connections.database import Database
from db.ledger.audit import audit
from db.money import to_minor
from db.settings import Settings

SETTLE_LIMIT_S = 30
CURRENCY = "EUR"

# Every key with its outcome, and rows of the ledger without a key, which must not exist.
_KEYS = """
SELECT keys.owner_id, keys.key::text AS key, keys.refusal_code, transactions.*
  FROM idempotency_keys AS keys FULL JOIN transactions ON keys.id = transactions.key_id"""

Key = tuple[int, str]


async def settled(clients: Sequence[Client], journal: Journal, oracle: Oracle) -> None:
    """Send movements with unknown outcomes again until their outcomes are known. Call it after the faults."""
    by_owner = {client.user.username: client for client in clients}
    deadline = time.monotonic() + SETTLE_LIMIT_S
    for movement in journal.movements:
        while movement.outcome is Outcome.UNKNOWN and time.monotonic() < deadline:
            await writes.attempt(by_owner[movement.owner.username], movement, may_abort=False)
        if movement.outcome is Outcome.UNKNOWN:
            oracle.violation("a transfer cannot be settled", movement=movement)


async def check_ledger(world: World, journal: Journal, oracle: Oracle) -> None:
    """Compare keys and ledger with the journal, and the balances with the ledger."""
    async with world.superuser() as connection:
        rows = await connection.fetch(_KEYS)
    found: dict[Key, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["owner_id"], row["key"]), []).append(dict(row))
    for one in journal.movements:
        check_movement(one, found.pop((one.owner.number, one.key), []), oracle)
    strange = [key for key, kept in found.items() if any(row["id"] for row in kept)]
    if strange:
        oracle.violation("rows without a request", keys=strange)
    database = Database(Settings(database_url=SecretStr(world.postgres.url())))
    try:
        await check_balances(database, oracle)
    finally:
        await database.close()


def check_movement(one: Movement, kept: Sequence[Mapping[str, Any]], oracle: Oracle) -> None:
    """Compare the rows of a movement's key with the responses that its clients received."""
    rows = [row for row in kept if row["id"] is not None]
    if len(kept) > 1:
        oracle.violation("a key has two rows", movement=one, rows=kept)
    elif one.outcome is Outcome.MADE and not rows:
        oracle.violation("an acknowledged movement is not in the ledger", movement=one, kept=kept)
    elif one.outcome is Outcome.NOT_MADE and rows:
        oracle.violation("a refused movement is in the ledger", movement=one, kept=kept)
    elif one.outcome is Outcome.NOT_MADE and not any(row["refusal_code"] for row in kept):
        oracle.violation("an acknowledged refusal is not kept", movement=one, kept=kept)
    for row in rows:
        ends = (f"account_{row['from_id']}" if one.from_id else None, f"account_{row['to_id']}")
        transaction_id = one.transaction_id or f"transaction_{row['id']}"
        expected = (to_minor(Decimal(one.amount), CURRENCY), one.memo, one.from_id, one.to_id, transaction_id)
        if (row["amount"], row["memo"], *ends, f"transaction_{row['id']}") != expected:
            oracle.violation("a row of the ledger differs from the journal", movement=one, row=row)


async def check_posts(world: World, journal: Journal, oracle: Oracle) -> None:
    """Compare the posts of all creations with the journal."""
    async with world.superuser() as connection:
        rows = await connection.fetch("SELECT title FROM posts WHERE title LIKE 'extra %'")
    created = Counter(row[0] for row in rows)
    for creation in journal.creations:
        wanted = {Outcome.MADE: {1}, Outcome.NOT_MADE: {0}, Outcome.UNKNOWN: {0, 1}}[creation.outcome]
        if created[creation.title] not in wanted:
            oracle.violation("posts differ from the journal", creation=creation, rows=created[creation.title])


async def check_balances(database: Database, oracle: Oracle) -> None:
    """Audit the ledger, which may be in use at the same time.

    Raises:
        Unavailable: the database cannot be reached.
    """
    report = await audit(database)
    if not report.clean:
        oracle.violation("the audit finds differences", report=report)
