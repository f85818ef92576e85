"""The private parts of asyncpg that Folio uses exist, and have the expected effect."""

import asyncio
import gc
import socket
from typing import Any

import asyncpg
import pytest

from bench.soak.processes import frozen_process
from db.connections import asyncpg_adapter
from db.connections.asyncpg_adapter import BoundedConnection, socket_of
from db.connections.database import Database
from db.connections.pool import PREPARED_MAX

SEE = "see db/connections/asyncpg_adapter.py"


@pytest.fixture
async def driver(database: Database) -> Any:
    """Asyncpg's connection, as the pool opens it."""
    connection = await database.leases.take()
    yield connection.driver
    database.leases.give_back(connection)


def test_connection_of_asyncpg_has_what_is_overridden() -> None:
    assert hasattr(asyncpg.Connection, "_cleanup_stmts"), (
        f"asyncpg's Connection has no _cleanup_stmts any more, which deallocates what its cache drops: {SEE}"
    )


async def test_transport_of_a_connection_leads_to_its_socket(driver: Any) -> None:
    assert hasattr(driver, "_transport"), f"asyncpg's Connection has no _transport any more: {SEE}"
    assert socket_of(driver).family in {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6}


async def test_cache_of_a_connection_has_our_bounds_and_forgets_nothing_by_the_clock(driver: Any) -> None:
    assert type(driver) is BoundedConnection
    cache: Any = vars(asyncpg.Connection)["_stmt_cache"].__get__(driver)  # no public attribute has the options
    assert (cache.get_max_size(), cache.get_max_lifetime()) == (PREPARED_MAX, 0)


async def test_statement_is_not_deallocated_for_longer_than_the_limit_on_a_frozen_server(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncpg_adapter, "DEALLOCATION_LIMIT_S", 0.1)
    await driver.prepare("SELECT 1")  # no longer referenced: it is deallocated when the next one is prepared
    gc.collect()
    with frozen_process(driver.get_server_pid()):
        cleaning = asyncio.create_task(driver._cleanup_stmts())  # noqa: SLF001 - what asyncpg calls
        ended, _ = await asyncio.wait({cleaning}, timeout=20)
    driver.terminate()
    assert ended, f"asyncpg waits on a frozen server without a limit: {SEE}"
    assert isinstance(cleaning.exception(), TimeoutError)
