"""Checks from outside, during the load and after it: the balances, and PostgreSQL's deadlocks."""

import asyncio
from collections.abc import Sequence

from pydantic import SecretStr

from bench.soak.faults import UNREACHABLE
from bench.soak.journal import Movement, Outcome
from bench.soak.ledger import check_balances
from bench.soak.oracle import Oracle
from bench.soak.world import World
from db.connections.database import Database
from db.errors import Unavailable
from db.settings import Settings

AUDIT_EVERY_S = 2.0
LOOK_EVERY_S = 0.5
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


async def watch_balances(world: World, oracle: Oracle, stopping: asyncio.Event) -> None:
    """Audit the ledger repeatedly, without the proxy, until `stopping` is set."""
    database = Database(Settings(database_url=SecretStr(world.postgres.url()), pool_size=1, pool_max_overflow=0))
    try:
        while not stopping.is_set():
            try:
                await check_balances(database, oracle)
                oracle.counts["audits"] += 1
            except Unavailable:
                oracle.counts["audits that found no database"] += 1
            await asyncio.sleep(AUDIT_EVERY_S)
    finally:
        await database.close()


class Deadlocks:
    """Watches PostgreSQL's counter of deadlocks, which is reset when PostgreSQL recovers from a crash."""

    def __init__(self, world: World, oracle: Oracle) -> None:
        """Begin with a count of zero."""
        self._world, self._oracle, self._seen = world, oracle, 0

    async def watch(self, stopping: asyncio.Event) -> None:
        """Check repeatedly, until `stopping` is set."""
        while not stopping.is_set():
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Check once."""
        try:
            async with self._world.superuser() as connection:
                count: int = await connection.fetchval(_DEADLOCKS)
        except UNREACHABLE:
            return
        if count > self._seen:
            self._oracle.violation("a deadlock", deadlocks=count - self._seen)
        self._seen = count


def check_run(run: Sequence[Movement], oracle: Oracle) -> None:
    """Check that exactly one of the concurrent transfers that empty an account was made."""
    outcomes = [one.outcome for one in run]
    if outcomes.count(Outcome.MADE) != 1 and Outcome.UNKNOWN not in outcomes:
        oracle.violation("an account was overdrawn", run=run)
