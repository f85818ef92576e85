"""VACUUM, until plans can use indexes alone."""

import asyncio

from db.connections.leases import Driver

ATTEMPTS = 100

_PAGES_LEFT = "SELECT sum(relpages - relallvisible) FROM pg_class WHERE oid = ANY($1::text[]::regclass[])"


async def vacuum(driver: Driver, *tables: str) -> None:
    """Vacuum and analyze tables until every snapshot sees all their rows.

    A VACUUM leaves out rows that an older snapshot may not see, such as that of an autovacuum of the same database.
    Plans then read the table, and not only its index.
    """
    for _ in range(ATTEMPTS):
        await driver.execute(f"VACUUM ANALYZE {', '.join(tables)}")
        if await driver.fetchval(_PAGES_LEFT, list(tables)) == 0:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{tables} have rows that some snapshot does not see")
