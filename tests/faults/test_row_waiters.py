"""Writes that wait for one row: they wait on a few connections, and leave the rest to other callers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from db.connections.leases import Driver
from db.ledger.audit import audit
from db.settings import Settings
from tests.db.support.backends import connected_superuser
from tests.faults import operations
from tests.faults.operations import Body
from tests.faults.served import Town, error_counts, served, settle
from tests.graph.support.bank import TRANSFER, transfer_input
from tests.graph.support.served_app import until, waiting

WRITERS = 24
READERS = 8
LOOKUPS = 200
HOLDERS_MAX = 3
ANSWERED_S = 20
SETTLED_S = 0.5
PATIENT = {"lock_timeout_ms": 60_000, "statement_timeout_ms": 60_000, "operation_deadline_ms": 90_000}


class HeldRow:
    """A locked row, until `release`."""

    def __init__(self, watcher: Driver, holder: Driver) -> None:
        self._watcher = watcher
        self._holder = holder

    async def release(self) -> None:
        await self._holder.execute("COMMIT")

    async def waiters(self) -> int:
        """Return how many connections of the application wait for a lock."""
        return await waiting(self._watcher)

    async def has_waiter(self) -> bool:
        return await self.waiters() > 0


@asynccontextmanager
async def held(database_url: str, table: str, id_: str) -> AsyncIterator[HeldRow]:
    """Lock a row. The end of the block always releases the lock."""
    async with connected_superuser(database_url) as watcher, connected_superuser(database_url) as holder:
        await holder.execute(f"BEGIN; SELECT FROM {table} WHERE id = {id_.partition('_')[2]} FOR UPDATE")
        yield HeldRow(watcher, holder)


async def read_other_rows(town: Town, times: int) -> list[Body]:
    """Request rows that are not locked."""
    requested = [operations.lookup, operations.page, operations.balance, operations.nested]
    return [await requested[number % len(requested)](town) for number in range(times)]


async def ensure_room_for_others(
    town: Town, row: HeldRow, write: Callable[[int], Coroutine[Any, Any, Body]]
) -> list[Body]:
    """Send writes that wait for the row; require that reads are answered meanwhile; return the writes' responses."""
    writing = [asyncio.create_task(write(number)) for number in range(WRITERS)]
    await until(row.has_waiter, "a wait for the row")
    await asyncio.sleep(SETTLED_S)  # longer than the pool takes to open surplus connections
    most = await row.waiters()
    reading = asyncio.gather(*(read_other_rows(town, LOOKUPS // READERS) for _ in range(READERS)))
    done, _ = await asyncio.wait([reading], timeout=ANSWERED_S)
    most = max(most, await row.waiters())
    still_waiting = sum(not task.done() for task in writing)
    await row.release()
    read = [answer for answers in await reading for answer in answers]
    written = await asyncio.gather(*writing)
    assert (error_counts(read), len(read), still_waiting) == ({}, LOOKUPS, WRITERS)
    assert done, "reads waited for the writes that wait for the row"
    assert most <= HOLDERS_MAX
    return list(written)


@pytest.mark.parametrize("engine", ["compiled", "ordinary"])
async def test_transfers_that_wait_for_one_account_leave_connections_to_others(
    settings: Settings, database_url: str, engine: str
) -> None:
    async with served(settings, engine=engine, **PATIENT) as client:
        town = await settle(client)

        async def pay(number: int) -> Body:
            given = transfer_input(town.payer_account, town.payee_account, "0.01")
            return await client.run(TRANSFER, by=town.ida, input=given)

        async with held(database_url, "accounts", town.payer_account) as row:
            written = await ensure_room_for_others(town, row, pay)
        ledger = {body["data"]["transfer"]["transaction"]["id"] for body in written}
        assert (error_counts(written), len(ledger)) == ({}, WRITERS)
        assert await town.bank.balance(town.payee_account) == f"{WRITERS / 100:.2f}"
        assert (await audit(client.database)).clean


@pytest.mark.parametrize("engine", ["compiled", "ordinary"])
async def test_changes_that_wait_for_one_post_leave_connections_to_others(
    settings: Settings, database_url: str, engine: str
) -> None:
    async with served(settings, engine=engine, **PATIENT) as client:
        town = await settle(client)
        version = "query ($id: ID!) { node(id: $id) { ... on Post { version } } }"
        before = (await client.data(version, id=town.posts[0]))["node"]["version"]

        async def change(number: int) -> Body:
            given = {"id": town.posts[0], "title": f"Title {number}"}
            return await client.run(operations.UPDATE_POST, by=town.ida, input=given)

        async with held(database_url, "posts", town.posts[0]) as row:
            written = await ensure_room_for_others(town, row, change)
        titles = [body["data"]["updatePost"]["post"]["title"] for body in written]
        assert (error_counts(written), titles) == ({}, [f"Title {number}" for number in range(WRITERS)])
        assert (await client.data(version, id=town.posts[0]))["node"]["version"] == before + WRITERS
