"""Errors and lost connections of the database in the middle of an operation: the client never gets an unnamed error.

A wait that is too long has its own error code. A broken connection costs no client its answer: the whole unit of work
is run again on another connection, and nothing happens twice.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from db.connections.leases import Driver
from db.ledger.audit import audit
from db.settings import Settings
from tests.db.support.backends import connected_superuser, terminate, waiting_backend
from tests.faults import operations
from tests.faults.operations import BlockedOperation, Body
from tests.faults.served import Town, codes, error_counts, kill_all, served, settle

engines = pytest.mark.parametrize("engine", ["compiled", "ordinary"])
KILLS = 6
KILL_EVERY_S = 0.3


@asynccontextmanager
async def stopped(database_url: str, kind: BlockedOperation, town: Town) -> AsyncIterator[Driver]:
    """Make statements of this kind wait; yield a superuser who sees them wait."""
    async with (
        connected_superuser(database_url) as watcher,
        connected_superuser(database_url) as holder,
        holder.transaction(),
    ):
        await holder.execute(kind.statement(town))
        yield watcher


def kinds(among: list[BlockedOperation]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", among, ids=lambda kind: kind.name)


async def counted(town: Town) -> tuple[object, ...]:
    """Return counts that grow by one with each write: posts, versions, accounts, profiles, sessions, money."""
    statement = """SELECT
        (SELECT count(*) FROM posts), (SELECT sum(version) FROM posts), (SELECT count(*) FROM accounts),
        (SELECT sum(version) FROM users), (SELECT count(*) FROM refresh_tokens), (SELECT count(*) FROM transactions)"""
    async with town.client.database.read() as snapshot:
        return tuple(await snapshot.driver.fetchrow(statement) or ())


# ---------------------------------------------------------------- waits that are too long


@engines
@kinds(operations.EVERY_KIND)
async def test_wait_for_a_lock_that_is_too_long_is_busy(
    settings: Settings, database_url: str, engine: str, kind: BlockedOperation
) -> None:
    async with served(settings, engine=engine, lock_timeout_ms=150) as client:
        town = await settle(client)
        assert error_counts([await kind.send(town)]) == {}
        before = await counted(town)
        async with stopped(database_url, kind, town):
            assert codes(await kind.send(town)) == ["DATABASE_BUSY"]
        assert await counted(town) == before
        assert error_counts([await kind.send(town)]) == {}


@kinds(operations.EVERY_KIND)
async def test_statement_that_takes_too_long_is_a_timeout(
    settings: Settings, database_url: str, kind: BlockedOperation
) -> None:
    async with served(settings, statement_timeout_ms=250) as client:
        town = await settle(client)
        assert error_counts([await kind.send(town)]) == {}
        before = await counted(town)
        async with stopped(database_url, kind, town):
            assert codes(await kind.send(town)) == ["DATABASE_TIMEOUT"]
        assert await counted(town) == before
        assert error_counts([await kind.send(town)]) == {}


async def test_token_lookup_that_takes_too_long_is_busy(settings: Settings, database_url: str) -> None:
    async with served(settings, lock_timeout_ms=150) as client:
        town = await settle(client)
        async with stopped(database_url, BlockedOperation(operations.page, "LOCK TABLE sessions"), town):
            assert codes(await client.run("{ viewer { id } }", by=town.ida)) == ["DATABASE_BUSY"]


# ---------------------------------------------------------------- connections that break


async def response_despite_a_broken_connection(database_url: str, kind: BlockedOperation, town: Town) -> Body:
    """Send a request, terminate the backend while a statement of it waits there, and return the response."""
    async with stopped(database_url, kind, town) as watcher:
        sending = asyncio.create_task(kind.send(town))
        await terminate(watcher, await waiting_backend(watcher))
    return await sending


@engines
@kinds([*operations.READS, *operations.SNAPSHOTS])
async def test_query_that_loses_its_connection_is_answered(
    settings: Settings, database_url: str, engine: str, kind: BlockedOperation
) -> None:
    async with served(settings, engine=engine) as client:
        town = await settle(client)
        for _ in range(3):  # not compiled at first, then compiled
            expected = await kind.send(town)
            assert await response_despite_a_broken_connection(database_url, kind, town) == expected
            assert "errors" not in expected


@kinds(operations.TRANSACTIONS)
async def test_transaction_that_loses_its_connection_before_commit_happens_once(
    settings: Settings, database_url: str, kind: BlockedOperation
) -> None:
    await ensure_one_write(settings, database_url, kind)


async def test_transfer_of_one_statement_that_loses_its_connection_while_it_waits_happens_once(
    settings: Settings, database_url: str
) -> None:
    # The outcome is unknown; the transfer is sent again, and its key shows the outcome.
    await ensure_one_write(settings, database_url, operations.MOVEMENT)


@kinds([operations.CREATION, operations.CHANGE])
async def test_write_of_one_statement_that_loses_its_connection_while_it_waits_may_have_happened(
    settings: Settings, database_url: str, kind: BlockedOperation
) -> None:
    async with served(settings) as client:
        town = await settle(client)
        assert error_counts([await kind.send(town)]) == {}
        before = await counted(town)
        body = await response_despite_a_broken_connection(database_url, kind, town)
        (error,) = body["errors"]
        assert error["extensions"] == {"code": "DATABASE_UNAVAILABLE", "outcomeUnknown": True}
        assert max(changes(before, await counted(town))) <= 1


async def ensure_one_write(settings: Settings, database_url: str, kind: BlockedOperation) -> None:
    async with served(settings) as client:
        town = await settle(client)
        assert error_counts([await kind.send(town)]) == {}
        start = await counted(town)
        assert error_counts([await kind.send(town)]) == {}
        usual = await counted(town)
        assert usual != start
        assert error_counts([await response_despite_a_broken_connection(database_url, kind, town)]) == {}
        once_more = await counted(town)
        assert changes(usual, once_more) == changes(start, usual)
        assert (await audit(client.database)).clean


def changes(before: tuple[object, ...], after: tuple[object, ...]) -> list[int]:
    return [int(str(new)) - int(str(old)) for old, new in zip(before, after, strict=True)]


@pytest.mark.long("a storm")
@engines
async def test_connections_that_die_under_load_cost_no_query_its_answer(
    settings: Settings, database_url: str, engine: str
) -> None:
    async with served(settings, engine=engine) as client, connected_superuser(database_url) as superuser:
        town, over = await settle(client), asyncio.Event()
        answers: list[Body] = []

        async def send(kind: BlockedOperation) -> None:
            while not over.is_set():
                answers.append(await kind.send(town))

        async def kill() -> None:
            for _ in range(KILLS):
                await asyncio.sleep(KILL_EVERY_S)
                await kill_all(superuser)
            over.set()

        kinds_asked = [*operations.READS, *operations.SNAPSHOTS]
        await asyncio.gather(kill(), *map(send, kinds_asked))
        assert error_counts(answers) == {}
        assert len(answers) > 10 * len(kinds_asked)


@engines
async def test_snapshot_waits_for_no_table_that_it_does_not_read(
    settings: Settings, database_url: str, engine: str
) -> None:
    async with served(settings, engine=engine) as client, connected_superuser(database_url) as superuser:
        town = await settle(client)
        [money] = [kind for kind in operations.SNAPSHOTS if kind.lock.startswith("LOCK TABLE transactions")]
        for _ in range(2):
            expected = await money.send(town)
            assert error_counts([expected]) == {}
            async with superuser.transaction():
                await superuser.execute("LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
                assert await asyncio.wait_for(money.send(town), 4) == expected
