"""Writes of a single statement: committed without BEGIN and COMMIT, or not executed at all."""

import asyncio

import pytest
from sqlalchemy import text

from db.connections import leased_connection
from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statements import Statement
from db.errors import Unavailable
from tests.db.support.backends import (
    GATE,
    OpenDatabase,
    boxes,
    connected_superuser,
    fill,
    terminate,
    terminate_all_unseen,
    waiting_backend,
)

pytestmark = pytest.mark.usefixtures("boxes_table")

PUT = Statement(text("UPDATE boxes SET n = n + 1 WHERE id = :id RETURNING n"))
TAKE = Statement(text("UPDATE boxes SET n = n - 1 WHERE id = :id RETURNING n"))
LOCK_AND_TAKE = Statement(
    text(
        "WITH locked AS MATERIALIZED (SELECT id FROM boxes WHERE id = :id FOR UPDATE)"
        " UPDATE boxes SET n = n - 1 FROM locked WHERE boxes.id = locked.id RETURNING n"
    )
)
# Waits after its write until the superuser releases the lock.
GATED = Statement(text("UPDATE boxes SET n = n + 1 WHERE id = :id RETURNING n, pg_advisory_xact_lock_shared(1)"))
CONFLICTING = (
    "CREATE FUNCTION fails() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{}'; END $$"
)
FAILING = Statement(text("UPDATE boxes SET n = fails() WHERE id = :id RETURNING n"))


async def test_autocommit_write_is_committed_when_it_returns(database: Database, superuser: Driver) -> None:
    assert [tuple(row) for row in await database.autocommit_write(PUT, {"id": 1})] == [(1,)]
    assert await superuser.fetchval("SELECT array_agg(n ORDER BY id) FROM boxes") == [1, 0]
    assert database.counters.statements == 1
    assert database.leases.in_use == 0


async def test_autocommit_write_that_changes_nothing_returns_no_rows(database: Database) -> None:
    assert list(await database.autocommit_write(PUT, {"id": 3})) == []
    assert await boxes(database) == [0, 0]


class Sender:
    """Knows whether its write was sent."""

    committing = False


async def test_nothing_is_sent_on_a_connection_that_was_not_used_for_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender()
    monkeypatch.setattr(leased_connection, "TRUSTED_S", 0.05)
    await fill(database, 1)
    await asyncio.sleep(0.06)
    assert list(await database.autocommit_write(PUT, {"id": 1}, sender)) == []
    assert (sender.committing, await boxes(database), database.leases.in_use) == (False, [0, 0], 0)
    # The reads above have shown that the connection is alive.
    assert len(await database.autocommit_write(PUT, {"id": 1}, sender)) == 1
    assert (sender.committing, await boxes(database)) == (True, [1, 0])


async def test_violated_constraint_is_retried_in_a_transaction(database: Database, superuser: Driver) -> None:
    await superuser.execute("ALTER TABLE boxes ADD CHECK (n >= 0)")
    assert list(await database.autocommit_write(TAKE, {"id": 1})) == []
    assert await boxes(database) == [0, 0]


async def test_constraint_that_only_the_old_row_violates_does_not_prevent_the_write(
    database: Database, superuser: Driver
) -> None:
    await superuser.execute("ALTER TABLE boxes ADD CHECK (n >= 0)")
    async with superuser.transaction():
        await superuser.execute("UPDATE boxes SET n = 1 WHERE id = 1")
        taking = asyncio.create_task(database.autocommit_write(LOCK_AND_TAKE, {"id": 1}))
        await waiting_backend(superuser)
    assert list(await taking) == []
    assert len(await database.write(lambda transaction: transaction.fetch(LOCK_AND_TAKE, {"id": 1}))) == 1
    assert await boxes(database) == [0, 0]


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_conflict_is_retried_in_a_transaction(database: Database, superuser: Driver, sqlstate: str) -> None:
    await superuser.execute(CONFLICTING.format(sqlstate))
    assert list(await database.autocommit_write(FAILING, {"id": 1})) == []
    assert database.counters.retries == 1
    assert (await boxes(database), database.leases.in_use) == ([0, 0], 0)


async def test_wait_for_a_lock_ends_with_busy_and_nothing_written(
    closed_gate: Driver, open_database: OpenDatabase
) -> None:
    database = open_database(lock_timeout_ms=20)
    with pytest.raises(Unavailable) as caught:
        await database.autocommit_write(GATED, {"id": 1})
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_BUSY", False)
    assert await boxes(database) == [0, 0]


async def test_statement_that_takes_too_long_ends_with_timeout_and_nothing_written(
    closed_gate: Driver, open_database: OpenDatabase
) -> None:
    database = open_database(statement_timeout_ms=50)
    with pytest.raises(Unavailable) as caught:
        await database.autocommit_write(GATED, {"id": 1})
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_TIMEOUT", False)
    assert await boxes(database) == [0, 0]


async def test_connection_that_breaks_during_the_write_leaves_the_outcome_unknown(
    database: Database, closed_gate: Driver
) -> None:
    writing = asyncio.create_task(database.autocommit_write(GATED, {"id": 1}))
    await terminate(closed_gate, await waiting_backend(closed_gate))
    with pytest.raises(Unavailable) as caught:
        await writing
    assert (caught.value.code, caught.value.outcome_unknown) == ("DATABASE_UNAVAILABLE", True)
    assert database.counters.statements == 1  # not sent again, as a read would be
    assert await boxes(database) == [0, 0]


async def test_connection_that_broke_unnoticed_is_replaced_after_a_while(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased_connection, "TRUSTED_S", 0)
    await fill(database, 1)
    terminate_all_unseen(database_url)
    assert list(await database.autocommit_write(PUT, {"id": 1})) == []
    assert len(await database.write(lambda transaction: transaction.fetch(PUT, {"id": 1}))) == 1
    assert await boxes(database) == [1, 0]


async def test_cancelled_caller_returns_the_connection(
    database: Database, database_url: str, closed_gate: Driver
) -> None:
    writing = asyncio.create_task(database.autocommit_write(GATED, {"id": 1}))
    await waiting_backend(closed_gate)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with connected_superuser(database_url) as superuser:
        await superuser.execute("SELECT FROM boxes FOR UPDATE")  # succeeds at once: no lock is left
    await closed_gate.execute("SELECT pg_advisory_unlock(1)")
    await database.fetch(GATE, {})
    assert (await boxes(database), database.leases.in_use) == ([0, 0], 0)
