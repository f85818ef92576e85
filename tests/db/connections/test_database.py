"""The methods of Database: what they commit, roll back and retry, and which limit ends what.

Every fault is a real one: violated constraints, locks that wait, statements that take too long.
"""

import asyncio

import asyncpg
import pytest
from sqlalchemy import BigInteger, bindparam, select, text

from db.connections.database import Database, OpenTransaction
from db.connections.leases import Driver
from db.connections.pool import PoolCounters
from db.connections.statements import Statement
from db.errors import Refusal, Unavailable
from db.repositories.users import NewUser, create_users
from tests.db.support.backends import BOXES, GATE, OpenDatabase, Runner, boxes, every_runner, increment
from tests.db.support.rows import ADMIN

SLEEP = Statement(text("SELECT pg_sleep(5)"))


pytestmark = pytest.mark.usefixtures("boxes_table")


# ---------------------------------------------------------------- writes


async def test_write_commits_and_returns_what_its_work_returns(database: Database) -> None:
    async def work(transaction: OpenTransaction) -> str:
        await increment(transaction, 1)
        return "done"

    assert await database.write(work) == "done"
    assert await boxes(database) == [1, 0]


async def test_write_that_raises_leaves_nothing(database: Database) -> None:
    async def work(transaction: OpenTransaction) -> None:
        await increment(transaction, 1)
        raise LookupError("not here")

    with pytest.raises(LookupError, match="not here"):
        await database.write(work)
    assert await boxes(database) == [0, 0]


async def test_system_error_in_the_work_is_not_mistaken_for_an_error_of_the_database(database: Database) -> None:
    error = ConnectionResetError("of some other connection")

    async def work(transaction: OpenTransaction) -> None:
        await increment(transaction, 1)
        raise error

    with pytest.raises(ConnectionResetError) as caught:
        await database.write(work)
    assert caught.value is error
    assert await boxes(database) == [0, 0]


async def test_refusal_raised_by_the_work_is_the_refusal_of_the_write(database: Database) -> None:
    refusal = Refusal("NOT_FOUND", ("id",), "no such box")

    async def work(transaction: OpenTransaction) -> None:
        await increment(transaction, 1)
        raise refusal

    with pytest.raises(Refusal) as caught:
        await database.write(work)
    assert caught.value is refusal
    assert await boxes(database) == [0, 0]


async def test_one_of_many_simultaneous_writes_of_a_unique_name_is_taken_the_others_refused(
    database: Database,
) -> None:
    async def work(transaction: OpenTransaction) -> None:
        await create_users(transaction, ADMIN, (), [NewUser("ada@example.org", "ada", "a hash")])

    answers = await asyncio.gather(*(database.write(work) for _ in range(8)), return_exceptions=True)
    refusals = [(answer.code, answer.field) for answer in answers if isinstance(answer, Refusal)]
    assert answers.count(None) == 1
    assert refusals == [("EMAIL_TAKEN", ("email",))] * 7
    assert database.counters.retries == 0


async def test_violation_that_only_a_bug_explains_is_raised_unchanged(database: Database) -> None:
    async def work(transaction: OpenTransaction) -> None:
        await increment(transaction, 1)
        await transaction.driver.execute("UPDATE users SET version = 0")

    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await database.write(work)
    assert caught.value.constraint_name == "ck_users_version_positive"
    assert await boxes(database) == [0, 0]
    assert database.counters.retries == 0


async def test_swallowed_error_is_not_reported_as_a_commit(database: Database) -> None:
    async def work(transaction: OpenTransaction) -> str:
        await increment(transaction, 1)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await transaction.driver.execute("SELECT 1/0")
        return "all is well"

    with pytest.raises(RuntimeError, match="COMMIT answered ROLLBACK: the unit of work swallowed an SQL error"):
        await database.write(work)
    assert await boxes(database) == [0, 0]


@every_runner
async def test_bug_is_not_mistaken_for_a_broken_connection(database: Database, runner: Runner) -> None:
    parameter_without_argument = Statement(text("SELECT CAST($1 AS bigint)"))
    with pytest.raises(asyncpg.InterfaceError, match="the server expects 1 argument for this query, 0 were passed"):
        await runner(database, parameter_without_argument)
    assert database.counters == PoolCounters(connects=1, check_outs=1, check_ins=0, statements=1)


async def test_argument_out_of_range_is_raised_unchanged(database: Database) -> None:
    with pytest.raises(asyncpg.DataError, match="value out of int64 range"):
        await database.fetch(Statement(select(bindparam("number", type_=BigInteger))), {"number": 2**63})
    assert database.counters.statements == 1


# ---------------------------------------------------------------- conflicts


async def test_deadlock_is_retried_until_both_have_written(superuser: Driver, open_database: OpenDatabase) -> None:
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '10ms'")
    database = open_database()
    both_hold_one = asyncio.Barrier(2)
    attempts: list[int] = []

    async def lock_in_order(transaction: OpenTransaction, first: int, second: int) -> None:
        attempts.append(first)
        await increment(transaction, first)
        if len(attempts) <= 2:
            await both_hold_one.wait()
        await increment(transaction, second)

    await asyncio.gather(
        database.write(lambda transaction: lock_in_order(transaction, 1, 2)),
        database.write(lambda transaction: lock_in_order(transaction, 2, 1)),
    )
    assert await boxes(database) == [2, 2]
    assert len(attempts) == 3
    assert database.counters.retries == 1


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_conflict_that_never_ends_is_busy(open_database: OpenDatabase, sqlstate: str) -> None:
    database = open_database(write_attempts_max=3)
    attempts = 0

    async def work(transaction: OpenTransaction) -> None:
        nonlocal attempts
        attempts += 1
        await increment(transaction, 1)
        await transaction.driver.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{sqlstate}'; END $$")

    with pytest.raises(Unavailable) as caught:
        await database.write(work)
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_BUSY", False)
    assert (attempts, database.counters.retries) == (3, 2)
    assert await boxes(database) == [0, 0]


async def test_conflict_that_ends_leaves_one_write(database: Database) -> None:
    attempts = 0

    async def work(transaction: OpenTransaction) -> None:
        nonlocal attempts
        attempts += 1
        await increment(transaction, 1)
        if attempts < 3:
            await transaction.driver.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")

    await database.write(work)
    assert await boxes(database) == [1, 0]
    assert database.counters.retries == 2


# ---------------------------------------------------------------- limits


@every_runner
async def test_wait_for_a_lock_ends_with_busy(closed_gate: Driver, open_database: OpenDatabase, runner: Runner) -> None:
    database = open_database(lock_timeout_ms=20)
    with pytest.raises(Unavailable) as caught:
        await runner(database, GATE)
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_BUSY", False)
    assert (database.counters.retries, database.counters.statements) == (0, 1)
    assert await boxes(database) == [0, 0]
    assert database.counters.connects == 1


@every_runner
async def test_statement_that_takes_too_long_ends_with_timeout(open_database: OpenDatabase, runner: Runner) -> None:
    database = open_database(statement_timeout_ms=20)
    with pytest.raises(Unavailable) as caught:
        await runner(database, SLEEP)
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_TIMEOUT", False)
    assert (database.counters.retries, database.counters.statements) == (0, 1)
    assert await boxes(database) == [0, 0]
    assert database.counters.connects == 1


@every_runner
async def test_exhausted_pool_ends_with_busy_and_serves_again(open_database: OpenDatabase, runner: Runner) -> None:
    database = open_database(pool_size=1, pool_max_overflow=1, pool_timeout_s=0.5)
    async with database.read(), database.read():
        with pytest.raises(Unavailable) as caught:
            await runner(database, BOXES)
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_BUSY", False)
    assert await runner(database, BOXES) == await database.fetch(BOXES, {})


async def test_work_that_idles_too_long_is_terminated_and_leaves_nothing(open_database: OpenDatabase) -> None:
    database = open_database(idle_in_transaction_session_timeout_ms=20)

    async def work(transaction: OpenTransaction) -> None:
        await increment(transaction, 1)
        await asyncio.sleep(0.2)
        await increment(transaction, 2)

    with pytest.raises(Unavailable) as caught:
        await database.write(work)
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_UNAVAILABLE", False)
    assert await boxes(database) == [0, 0]


async def test_connection_has_the_limits_of_the_settings(open_database: OpenDatabase) -> None:
    database = open_database(
        statement_timeout_ms=1001,
        lock_timeout_ms=1002,
        idle_in_transaction_session_timeout_ms=1003,
        client_connection_check_interval_ms=1004,
    )
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    names += ["client_connection_check_interval", "TimeZone", "jit", "application_name"]
    shown = Statement(text("SELECT current_setting(unnest(CAST(:names AS text[])))"))
    rows = await database.fetch(shown, {"names": names})
    assert [row[0] for row in rows] == ["1001ms", "1002ms", "1003ms", "1004ms", "UTC", "off", "folio"]


# ---------------------------------------------------------------- snapshots


async def test_snapshot_does_not_see_a_later_write(database: Database) -> None:
    async with database.read() as snapshot:
        assert await boxes(snapshot) == [0, 0]
        await database.write(lambda transaction: increment(transaction, 1))
        assert await boxes(snapshot) == [0, 0]
    assert await boxes(database) == [1, 0]


async def test_snapshot_refuses_to_write(database: Database) -> None:
    async with database.read() as snapshot:
        with pytest.raises(Unavailable, match="accepts no writes"):
            await increment(snapshot, 1)
    assert await boxes(database) == [0, 0]


async def test_exception_within_a_snapshot_is_raised_unchanged(database: Database) -> None:
    with pytest.raises(LookupError):
        async with database.read():
            raise LookupError
    assert database.counters.invalidations == 0
