"""Connections that break, and connections that are returned: no fault of one reaches the next caller.

Every fault is real: a superuser terminates backends, and tasks are cancelled at any moment.
"""

import asyncio
from contextlib import suppress

import pytest
from pydantic import SecretStr

from db.connections.database import Database, OpenTransaction
from db.connections.leases import Driver
from db.connections.pool import PoolCounters
from db.errors import Unavailable
from db.settings import Settings
from tests.db.support.backends import (
    BOXES,
    GATE,
    OpenDatabase,
    Runner,
    assert_no_transaction_stays_open,
    boxes,
    every_runner,
    fill,
    increment,
    run_in_snapshot,
    run_in_write,
    states,
    terminate,
    terminate_all,
    terminate_all_unseen,
    waiting_backend,
)
from tests.running.repeating import Cases

LIMIT_S = 10


pytestmark = pytest.mark.usefixtures("boxes_table")


# ---------------------------------------------------------------- connections that break


@every_runner
async def test_callers_do_not_notice_killed_connections(database: Database, superuser: Driver, runner: Runner) -> None:
    await fill(database, 5)
    assert await terminate_all(superuser) == 5
    assert await runner(database, BOXES) == await superuser.fetch(BOXES.sql)
    await fill(database, 5)
    assert (database.counters.connects, database.counters.invalidations) == (10, 5)


@every_runner
async def test_callers_do_not_notice_killed_connections_before_the_event_loop_does(
    database: Database, database_url: str, superuser: Driver, runner: Runner
) -> None:
    await fill(database, 3)
    assert terminate_all_unseen(database_url) == 3
    assert await runner(database, BOXES) == await superuser.fetch(BOXES.sql)
    await fill(database, 3)
    assert (database.counters.connects, database.counters.invalidations) == (6, 3)


@every_runner
async def test_connection_found_to_be_closed_is_replaced_at_check_out(
    database: Database, superuser: Driver, runner: Runner
) -> None:
    await fill(database, 1)
    assert await terminate_all(superuser) == 1
    await asyncio.sleep(0.05)  # by now the event loop has noticed that the connection is closed
    assert await runner(database, BOXES) == await superuser.fetch(BOXES.sql)
    assert database.counters == PoolCounters(connects=2, check_outs=2, check_ins=1, invalidations=1, statements=1)


async def test_read_that_loses_its_connection_is_sent_again(database: Database, closed_gate: Driver) -> None:
    reading = asyncio.create_task(database.fetch(GATE, {}))
    first = await waiting_backend(closed_gate)
    await terminate(closed_gate, first)
    await waiting_backend(closed_gate, without=first)
    await closed_gate.execute("SELECT pg_advisory_unlock(1)")
    assert len(await reading) == 1
    assert database.counters == PoolCounters(connects=2, check_outs=2, check_ins=1, invalidations=1, statements=2)


async def test_read_that_loses_its_connection_too_often_is_unavailable(
    open_database: OpenDatabase, closed_gate: Driver
) -> None:
    database = open_database(write_attempts_max=2)
    reading = asyncio.create_task(database.fetch(GATE, {}))
    first = await waiting_backend(closed_gate)
    await terminate(closed_gate, first)
    await terminate(closed_gate, await waiting_backend(closed_gate, without=first))
    with pytest.raises(Unavailable) as caught:
        await reading
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_UNAVAILABLE", False)
    assert database.counters.statements == 2


async def test_snapshot_that_loses_its_connection_is_unavailable(database: Database, closed_gate: Driver) -> None:
    reading = asyncio.create_task(run_in_snapshot(database, GATE))
    await terminate(closed_gate, await waiting_backend(closed_gate))
    with pytest.raises(Unavailable) as caught:
        await asyncio.wait_for(reading, LIMIT_S)
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_UNAVAILABLE", False)
    assert database.counters.statements == 1


async def test_write_that_loses_its_connection_before_commit_is_run_again_and_happens_once(
    database: Database, closed_gate: Driver
) -> None:
    attempts = 0

    async def work(transaction: OpenTransaction) -> None:
        nonlocal attempts
        attempts += 1
        await increment(transaction, 1)
        await transaction.fetch(GATE, {})

    writing = asyncio.create_task(database.write(work))
    first = await waiting_backend(closed_gate)
    await terminate(closed_gate, first)
    await waiting_backend(closed_gate, without=first)
    await closed_gate.execute("SELECT pg_advisory_unlock(1)")
    await writing
    assert attempts == 2
    assert (database.counters.retries, await boxes(database)) == (1, [1, 0])


@pytest.mark.parametrize("turns", range(5))
async def test_statement_after_the_last_message_of_the_server_is_unavailable_at_every_turn_of_the_event_loop(
    database: Database, database_url: str, turns: int
) -> None:
    async def work(transaction: OpenTransaction) -> None:
        await increment(transaction, 1)
        terminate_all_unseen(database_url)
        # asyncpg first reads why the server ends the connection; only in a later turn it reads that it is closed.
        for _ in range(turns):
            await asyncio.sleep(0)
        await increment(transaction, 1)

    with pytest.raises(Unavailable) as caught:
        await database.write(work)
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_UNAVAILABLE", False)
    assert await boxes(database) == [0, 0]


async def test_connection_that_breaks_before_commit_leaves_nothing(database: Database, superuser: Driver) -> None:
    async def work(transaction: OpenTransaction) -> None:
        await increment(transaction, 1)
        await terminate(superuser, transaction.driver.get_server_pid())

    with pytest.raises(Unavailable) as caught:
        await database.write(work)
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_UNAVAILABLE", True)
    assert await boxes(database) == [0, 0]


@every_runner
async def test_database_that_cannot_be_reached_is_unavailable(settings: Settings, runner: Runner) -> None:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    # No server, a server that rejects all connections, and a server without this database.
    for part, wrong in (("host=", "host=/nowhere"), ("//folio@", "//nobody@"), ("/t_", "/no_such_database_")):
        unreachable = SecretStr(url.replace(part, wrong))
        database = Database(settings.model_copy(update={"database_url": unreachable}))
        with pytest.raises(Unavailable) as caught:
            await runner(database, BOXES)
        assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_UNAVAILABLE", False)


async def test_server_that_has_no_connection_left_is_unavailable(
    open_database: OpenDatabase, superuser: Driver
) -> None:
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 2")  # the superuser has one of them
    database = open_database()
    async with database.read():
        with pytest.raises(Unavailable) as caught:
            await boxes(database)
    assert caught.value.code == "DATABASE_UNAVAILABLE"
    assert await boxes(database) == [0, 0]


def test_database_without_a_url_is_refused() -> None:
    with pytest.raises(ValueError, match="database_url"):
        Database(Settings())


# ---------------------------------------------------------------- connections that are returned


async def test_every_event_of_the_pool_is_counted(open_database: OpenDatabase, superuser: Driver) -> None:
    database = open_database(pool_size=2, pool_max_overflow=1)
    assert database.counters == PoolCounters()
    await boxes(database)
    await boxes(database)
    assert database.counters == PoolCounters(connects=1, check_outs=1, check_ins=0, statements=2)
    await database.write(lambda transaction: increment(transaction, 1))
    assert database.counters == PoolCounters(connects=1, check_outs=1, check_ins=0, statements=3)
    await fill(database, 3)  # one of them is surplus, and is closed when it is returned
    while database.leases.closing:
        await asyncio.sleep(0)
    assert database.counters == PoolCounters(connects=3, check_outs=3, check_ins=0, statements=3)
    assert await terminate_all(superuser) == 2


@every_runner
async def test_cancelled_task_returns_its_connection_outside_any_transaction(
    open_database: OpenDatabase, closed_gate: Driver, runner: Runner
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    task = asyncio.ensure_future(runner(database, GATE))
    await waiting_backend(closed_gate)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await boxes(database) == [0, 0]
    assert await states(closed_gate) == ["idle"]


@every_runner
async def test_task_cancelled_at_any_turn_of_the_event_loop_returns_its_connection_outside_any_transaction(
    open_database: OpenDatabase, superuser: Driver, runner: Runner
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0, pool_timeout_s=1)
    await fill(database, 1)
    turns = 0
    cancelled = True
    while cancelled:
        task = asyncio.ensure_future(runner(database, BOXES))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled = task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await assert_no_transaction_stays_open(superuser)
        turns += 1
    assert await boxes(database) == [0, 0]


async def test_task_cancelled_again_while_it_rolls_back_returns_its_connection_outside_any_transaction(
    open_database: OpenDatabase, closed_gate: Driver
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0, pool_timeout_s=1)
    for turns in range(0, 200, 5):
        task = asyncio.ensure_future(run_in_write(database, GATE))
        await waiting_backend(closed_gate)
        task.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await boxes(database) == [0, 0]
        assert await states(closed_gate) == ["idle"]


async def test_tasks_cancelled_at_any_moment_write_all_or_nothing(open_database: OpenDatabase, cases: Cases) -> None:
    database = open_database(pool_size=3, pool_max_overflow=0)
    moments = cases.random()

    async def work(transaction: OpenTransaction) -> None:
        await increment(transaction, 1)
        await increment(transaction, 2)

    async def cancel_at_some_moment() -> bool:
        task = asyncio.create_task(database.write(work))
        for _ in range(moments.randint(1, 2)):
            await asyncio.sleep(moments.random() * 0.01)
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return False
        return True

    committed = sum(await asyncio.gather(*(cancel_at_some_moment() for _ in range(150))))
    one, other = await boxes(database)
    assert one == other
    # A write that was cancelled during its COMMIT may have happened.
    assert committed <= one
