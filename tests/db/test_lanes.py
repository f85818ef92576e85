"""Lanes: how connections are held, lent, waited for and replaced, on PostgreSQL's own connections."""

import asyncio
import time

import asyncpg
import pytest
from sqlalchemy import text

from db.errors import Unavailable
from db.lanes import OVERFLOW_AFTER_S, Driver, Lane
from db.statements import Statement
from tests.db.backends import BOXES, OpenDatabase, boxes, states

pytestmark = pytest.mark.usefixtures("two_boxes")

ALL = Statement(text("SELECT * FROM boxes ORDER BY id"))


def pid(lane: Lane) -> int:
    return lane.driver.get_server_pid()


async def test_lane_holds_its_connection_over_statements(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    for _ in range(5):
        assert await boxes(database) == [0, 0]
    counters = database.counters
    assert (counters.connects, counters.check_outs, counters.check_ins, counters.statements) == (1, 1, 0, 5)
    assert (database.lanes.idle, database.lanes.in_use) == (1, 0)


async def test_lane_whose_connection_breaks_is_healed(open_database: OpenDatabase, superuser: Driver) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    lane = await database.lanes.take()
    broken = pid(lane)
    assert database.lanes.give_back(lane)
    await superuser.fetchval("SELECT pg_terminate_backend($1, 5000)", broken)
    assert await boxes(database) == [0, 0]
    lane = await database.lanes.take()
    assert pid(lane) != broken
    assert database.lanes.give_back(lane)
    assert (database.counters.connects, database.lanes.idle, database.lanes.in_use) == (2, 1, 0)


async def test_who_finds_no_lane_free_is_refused_after_the_timeout(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0, pool_timeout_s=0.3)
    lane = await database.lanes.take()
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        await database.fetch(BOXES, {})
    assert (caught.value.code, 0.25 < time.monotonic() - started < 2) == ("DATABASE_BUSY", True)
    assert database.lanes.give_back(lane)
    assert await boxes(database) == [0, 0]


async def test_lanes_go_to_who_has_waited_longest(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    lane = await database.lanes.take()
    served: list[int] = []

    async def ask(number: int) -> None:
        taken = await database.lanes.take()
        served.append(number)
        assert taken is lane
        assert database.lanes.give_back(taken)

    asked = [asyncio.create_task(ask(number)) for number in range(5)]
    await asyncio.sleep(0)
    asked[2].cancel()
    await asyncio.sleep(0)
    assert database.lanes.give_back(lane)
    await asyncio.gather(*asked, return_exceptions=True)
    assert served == [0, 1, 3, 4]
    assert (database.lanes.idle, database.lanes.in_use) == (1, 0)


async def test_lane_handed_to_one_who_leaves_in_the_same_turn_goes_on(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    lane = await database.lanes.take()
    leaving, staying = (asyncio.create_task(database.lanes.take()) for _ in range(2))
    await asyncio.sleep(0)
    assert database.lanes.give_back(lane)
    leaving.cancel()
    assert await staying is lane
    assert leaving.cancelled()
    assert database.lanes.give_back(lane)


async def test_further_connection_is_opened_after_a_wait_and_closed_when_nobody_waits(
    open_database: OpenDatabase, superuser: Driver
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=1)
    first = await database.lanes.take()
    started = time.monotonic()
    surplus = await database.lanes.take()
    assert time.monotonic() - started >= OVERFLOW_AFTER_S * 0.9
    assert (database.counters.connects, database.lanes.in_use) == (2, 2)
    assert not database.lanes.give_back(surplus)
    await database.lanes.retire(surplus)
    assert surplus.driver.is_closed()
    assert database.lanes.give_back(first)
    async with asyncio.timeout(5):
        while await states(superuser) != ["idle"]:
            await asyncio.sleep(0.01)
    assert (database.lanes.idle, database.lanes.in_use) == (1, 0)


async def test_short_wait_opens_no_further_connection(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=4)
    assert await asyncio.gather(*(boxes(database) for _ in range(20))) == [[0, 0]] * 20
    assert database.counters.connects == 1


async def test_lane_that_is_too_old_is_replaced(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0, pool_recycle_s=1)
    lane = await database.lanes.take()
    assert database.lanes.give_back(lane)
    lane.born -= 2
    assert database.lanes.take_idle() is None
    younger = await database.lanes.take()
    assert younger is not lane
    assert database.lanes.give_back(younger)
    assert (database.lanes.idle, database.lanes.in_use) == (1, 0)


async def test_who_leaves_while_a_lane_is_pinged_leaves_none_behind(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0, pool_pre_ping=True)
    assert await boxes(database) == [0, 0]
    leaving = asyncio.create_task(database.lanes.take())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert database.lanes.in_use == 0
    assert await boxes(database) == [0, 0]


async def test_prepared_statement_outlived_by_a_migration_is_prepared_anew(
    open_database: OpenDatabase, superuser: Driver
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    assert [tuple(row) for row in await database.fetch(ALL, {})] == [(1, 0), (2, 0)]
    await superuser.execute("ALTER TABLE boxes ADD COLUMN colour text")
    assert [tuple(row) for row in await database.fetch(ALL, {})] == [(1, 0, None), (2, 0, None)]
    assert database.counters.connects == 1


async def test_prepared_statement_outlived_within_a_transaction_fails_once(
    open_database: OpenDatabase, superuser: Driver
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    await database.fetch(ALL, {})
    await superuser.execute("ALTER TABLE boxes ADD COLUMN colour text")
    with pytest.raises(asyncpg.InvalidCachedStatementError):
        async with database.read() as snapshot:
            await snapshot.fetch(ALL, {})
    async with database.read() as snapshot:
        assert [tuple(row) for row in await snapshot.fetch(ALL, {})] == [(1, 0, None), (2, 0, None)]
