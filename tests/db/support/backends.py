"""The server's side of the pool: a table of two boxes, ways to run a statement, and a superuser who locks and kills."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
import pytest
from sqlalchemy import text

from db.connections.database import Database, OpenTransaction
from db.connections.leases import Driver
from db.connections.statements import Reader, Statement

OpenDatabase: TypeAlias = Callable[..., Database]
Runner: TypeAlias = Callable[[Database, Statement], Awaitable[object]]

POLLS_MAX = 1000
POLL_S = 0.005

BOXES = Statement(text("SELECT n FROM boxes ORDER BY id"))
PUT = Statement(text("UPDATE boxes SET n = n + 1 WHERE id = :id"))
# Waits until the superuser releases the lock.
GATE = Statement(text("SELECT pg_advisory_xact_lock_shared(1)"))

_BACKENDS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'folio%'"


@asynccontextmanager
async def connected_superuser(database_url: str) -> AsyncIterator[Driver]:
    """Connect to the database of `database_url` as a superuser."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", "").replace("//folio@", "//postgres@"))
    try:
        yield connection
    finally:
        await connection.close()


async def create_boxes(superuser: Driver) -> None:
    """Create two empty boxes."""
    await superuser.execute("CREATE TABLE boxes (id int PRIMARY KEY, n int NOT NULL); GRANT ALL ON boxes TO folio")
    await superuser.execute("INSERT INTO boxes VALUES (1, 0), (2, 0)")


async def increment(transaction: OpenTransaction, box: int) -> None:
    """Add one to the content of `box`."""
    await transaction.fetch(PUT, {"id": box})


async def boxes(reader: Reader) -> list[int]:
    """Return the contents of the boxes."""
    return [row["n"] for row in await reader.fetch(BOXES, {})]


async def run_in_autocommit(database: Database, statement: Statement) -> object:
    """Run `statement` in autocommit."""
    return await database.fetch(statement, {})


async def run_in_snapshot(database: Database, statement: Statement) -> object:
    """Run `statement` in a snapshot."""
    async with database.read() as snapshot:
        return await snapshot.fetch(statement, {})


async def run_in_write(database: Database, statement: Statement) -> object:
    """Run `statement` in a write."""
    return await database.write(lambda transaction: transaction.fetch(statement, {}))


every_runner = pytest.mark.parametrize("runner", [run_in_autocommit, run_in_snapshot, run_in_write])


async def fill(database: Database, connections: int) -> None:
    """Make the pool open `connections` connections, all of which are returned."""
    all_connected = asyncio.Barrier(connections)

    async def read_one() -> None:
        async with database.read():
            await all_connected.wait()

    await asyncio.gather(*(read_one() for _ in range(connections)))


async def states(superuser: Driver) -> list[str]:
    """Return the states of all backends of the pool."""
    return [row[0] for row in await superuser.fetch(f"SELECT state {_BACKENDS}")]


async def assert_no_transaction_stays_open(superuser: Driver) -> None:
    """Wait until no backend of the pool is in a transaction; a closed connection's backend takes a moment to end."""
    for _ in range(POLLS_MAX):
        if "idle in transaction" not in await states(superuser):
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError("a transaction stays open")


async def waiting_backend(superuser: Driver, *, without: int = 0) -> int:
    """Return the process id of the pool's backend that waits for a lock, as soon as there is one."""
    for _ in range(POLLS_MAX):
        await superuser.execute("SELECT pg_stat_clear_snapshot()")  # which would stay the same for a whole transaction
        pid = await superuser.fetchval(f"SELECT pid {_BACKENDS} AND wait_event_type = 'Lock' AND pid <> $1", without)
        if pid is not None:
            return int(pid)
        await asyncio.sleep(POLL_S)
    raise AssertionError("no backend waits for a lock")


async def terminate(superuser: Driver, pid: int) -> None:
    """Terminate one backend, and return when it has ended."""
    assert await superuser.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)


async def terminate_all(superuser: Driver) -> int:
    """Terminate all backends of the pool; return how many there were when all have ended."""
    rows = await superuser.fetch(f"SELECT pg_terminate_backend(pid) {_BACKENDS}")
    for _ in range(POLLS_MAX):
        if not await states(superuser):
            return len(rows)
        await asyncio.sleep(POLL_S)
    raise AssertionError("a backend does not end")


def terminate_all_unseen(database_url: str) -> int:
    """Terminate all backends like `terminate_all`, while the caller's event loop is blocked and cannot notice it."""

    async def from_another_connection() -> int:
        async with connected_superuser(database_url) as superuser:
            return await terminate_all(superuser)

    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(asyncio.run, from_another_connection()).result()
