"""Leases: how connections are held, leased, waited for and replaced, on real connections to PostgreSQL."""

import asyncio
import time
from contextlib import suppress

import pytest
from sqlalchemy import text

from db.connections import leases
from db.connections.asyncpg_adapter import Driver
from db.connections.database import Database
from db.connections.faults import Retry
from db.connections.leased_connection import LeasedConnection
from db.connections.leases import OVERFLOW_AFTER_S
from db.connections.shares import Share
from db.connections.statements import Statement
from db.errors import Unavailable
from tests.db.support.backends import BOXES, OpenDatabase, boxes, fill, states
from tests.graph.support.garbage import collected_types

pytestmark = pytest.mark.usefixtures("boxes_table")

ALL = Statement(text("SELECT * FROM boxes ORDER BY id"))


def pid(connection: LeasedConnection) -> int:
    return int(connection.driver.get_server_pid())


async def settled(database: Database) -> None:
    """Return once no connection is being opened, tested or closed."""
    async with asyncio.timeout(5):
        while database.leases.opening or database.leases.closing:
            await asyncio.sleep(0.005)


async def test_connection_is_held_over_statements(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    for _ in range(5):
        assert await boxes(database) == [0, 0]
    counters = database.counters
    assert (counters.connects, counters.check_outs, counters.check_ins, counters.statements) == (1, 1, 0, 5)
    assert (database.leases.idle, database.leases.in_use) == (1, 0)


async def test_connection_that_breaks_is_replaced(open_database: OpenDatabase, superuser: Driver) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    connection = await database.leases.take()
    broken = pid(connection)
    database.leases.give_back(connection)
    await superuser.fetchval("SELECT pg_terminate_backend($1, 5000)", broken)
    assert await boxes(database) == [0, 0]
    connection = await database.leases.take()
    assert pid(connection) != broken
    database.leases.give_back(connection)
    assert (database.counters.connects, database.leases.idle, database.leases.in_use) == (2, 1, 0)


async def test_caller_without_a_free_connection_is_refused_after_the_timeout(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0, pool_timeout_s=0.3)
    connection = await database.leases.take()
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        await database.fetch(BOXES, {})
    assert (caught.value.code, 0.25 < time.monotonic() - started < 2) == ("DATABASE_BUSY", True)
    database.leases.give_back(connection)
    assert await boxes(database) == [0, 0]


async def test_connections_go_to_the_caller_that_has_waited_longest(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    connection = await database.leases.take()
    served: list[int] = []

    async def acquire(number: int) -> None:
        taken = await database.leases.take()
        served.append(number)
        assert taken is connection
        database.leases.give_back(taken)

    acquired = [asyncio.create_task(acquire(number)) for number in range(5)]
    await asyncio.sleep(0)
    acquired[2].cancel()
    await asyncio.sleep(0)
    database.leases.give_back(connection)
    await asyncio.gather(*acquired, return_exceptions=True)
    assert served == [0, 1, 3, 4]
    assert (database.leases.idle, database.leases.in_use) == (1, 0)


async def test_connection_handed_to_a_caller_that_is_cancelled_in_the_same_turn_goes_to_the_next(
    open_database: OpenDatabase,
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    connection = await database.leases.take()
    leaving, staying = (asyncio.create_task(database.leases.take()) for _ in range(2))
    await asyncio.sleep(0)
    database.leases.give_back(connection)
    leaving.cancel()
    assert await staying is connection
    assert leaving.cancelled()
    database.leases.give_back(connection)


async def test_surplus_connection_is_opened_after_a_wait_and_closed_when_no_caller_waits(
    open_database: OpenDatabase, superuser: Driver
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=1)
    first = await database.leases.take()
    started = time.monotonic()
    surplus = await database.leases.take()
    assert time.monotonic() - started >= OVERFLOW_AFTER_S * 0.9
    assert (database.counters.connects, database.leases.in_use) == (2, 2)
    database.leases.give_back(surplus)
    await settled(database)
    assert surplus.driver.is_closed()
    database.leases.give_back(first)
    async with asyncio.timeout(5):
        while await states(superuser) != ["idle"]:
            await asyncio.sleep(0.01)
    assert (database.leases.idle, database.leases.in_use) == (1, 0)


async def test_short_wait_opens_no_surplus_connection(
    open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "OVERFLOW_AFTER_S", 30.0)  # so that the wait is short also on a busy machine
    database = open_database(pool_size=1, pool_max_overflow=4)
    assert await asyncio.gather(*(boxes(database) for _ in range(20))) == [[0, 0]] * 20
    assert database.counters.connects == 1


async def test_connection_that_is_too_old_is_replaced(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0, pool_recycle_s=1)
    connection = await database.leases.take()
    database.leases.give_back(connection)
    connection.expires_at -= 2
    younger = await database.leases.take()
    assert younger is not connection
    database.leases.give_back(younger)
    assert (database.leases.idle, database.leases.in_use) == (1, 0)


async def test_caller_cancelled_during_a_ping_leaks_no_connection(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0, pool_pre_ping=True)
    assert await boxes(database) == [0, 0]
    leaving = asyncio.create_task(database.leases.take())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert database.leases.in_use == 0
    assert await boxes(database) == [0, 0]


async def test_prepared_statement_that_a_migration_invalidates_is_prepared_again(
    open_database: OpenDatabase, superuser: Driver
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    assert [tuple(row) for row in await database.fetch(ALL, {})] == [(1, 0), (2, 0)]
    await superuser.execute("ALTER TABLE boxes ADD COLUMN colour text")
    assert [tuple(row) for row in await database.fetch(ALL, {})] == [(1, 0, None), (2, 0, None)]
    assert database.counters.connects == 1


async def test_prepared_statement_invalidated_in_a_transaction_requires_a_retry_of_the_whole_transaction(
    open_database: OpenDatabase, superuser: Driver
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    await database.fetch(ALL, {})
    await superuser.execute("ALTER TABLE boxes ADD COLUMN colour text")
    async with database.read() as snapshot:
        with pytest.raises(Unavailable):
            await snapshot.fetch(ALL, {})
        assert snapshot.fault is not None
        assert snapshot.fault.retry is Retry.SOON
    async with database.read() as snapshot:
        assert [tuple(row) for row in await snapshot.fetch(ALL, {})] == [(1, 0, None), (2, 0, None)]


async def test_migration_that_broke_a_transaction_breaks_none_on_another_connection(
    open_database: OpenDatabase, superuser: Driver
) -> None:
    database = open_database(pool_size=2, pool_max_overflow=0)
    async with database.read() as one, database.read() as other:
        assert len(await one.fetch(ALL, {})) == len(await other.fetch(ALL, {})) == 2
    await superuser.execute("ALTER TABLE boxes ADD COLUMN colour text")
    async with database.read() as one, database.read() as other:
        with pytest.raises(Unavailable):
            await one.fetch(ALL, {})
        assert [tuple(row) for row in await other.fetch(ALL, {})] == [(1, 0, None), (2, 0, None)]
    assert database.counters.connects == 2


async def test_caller_that_gets_no_connection_counts_for_no_share_and_leaves_no_garbage(
    open_database: OpenDatabase,
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0, pool_timeout_s=0.5)
    held = await database.leases.take()

    async def refused() -> None:
        with suppress(Unavailable):
            await database.leases.take(Share(database.shares, "ada"))
        await asyncio.sleep(0)  # until then the event loop refers to the place that resumed this task

    await refused()
    with collected_types() as left:
        await refused()
    assert left.isdisjoint({"Unavailable", "frame", "traceback", "Share"})
    leaving = asyncio.create_task(database.leases.take(Share(database.shares, "ada")))
    await asyncio.sleep(0)
    assert len(database.shares) == 1
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert len(database.shares) == 0
    database.leases.give_back(held)


async def test_retired_connections_are_closed_the_lent_ones_when_they_return(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=3, pool_max_overflow=0)
    await fill(database, 3)
    lent = await database.leases.take()
    database.leases.retire_open()
    await settled(database)
    assert (database.leases.idle, database.leases.open) == (0, 1)
    database.leases.give_back(lent)
    await settled(database)
    assert (database.leases.open, database.counters.connects) == (0, 3)
    assert await boxes(database) == [0, 0]
    assert (database.leases.open, database.counters.connects) == (1, 4)
