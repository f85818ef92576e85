"""One caller, or one operation, whose statements all wait: the other connections stay free for other callers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from db.connections.leases import Driver
from db.settings import Settings
from tests.db.support.backends import connected_superuser
from tests.faults.operations import Body
from tests.faults.served import Town, error_counts, served, settle
from tests.graph.support.served_app import until, waiting

PATIENT = {"lock_timeout_ms": 60_000, "statement_timeout_ms": 60_000, "operation_deadline_ms": 90_000}
SETTLED_S = 0.7  # longer than the pool takes to open surplus connections
FIELDS = ("id", "title", "content", "published", "views", "version", "createdAt", "updatedAt")


@asynccontextmanager
async def locked_posts(database_url: str) -> AsyncIterator[Driver]:
    """Lock the table of posts until the block ends; yield a connection for observation."""
    async with (
        connected_superuser(database_url) as watcher,
        connected_superuser(database_url) as holder,
        holder.transaction(),
    ):
        await holder.execute("LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        yield watcher


async def waiters(watcher: Driver) -> int:
    """Return how many connections wait, once the number is stable."""

    async def has_waiter() -> bool:
        return await waiting(watcher) > 0

    await until(has_waiter, "a wait for the table")
    await asyncio.sleep(SETTLED_S)
    return await waiting(watcher)


def different(town: Town) -> list[str]:
    """Return lookups no two of which can share a statement: each reads other columns."""
    chosen = [[one for bit, one in enumerate(FIELDS) if number >> bit & 1] for number in range(1, 41)]
    return [f'{{ post(id: "{town.posts[0]}") {{ {" ".join(fields)} }} }}' for fields in chosen]


async def user(town: Town, **by: Any) -> Body:
    """Look up a user, whose row is not locked."""
    return await town.bank.client.run('{ user(id: "user_1") { username } }', **by)


async def test_caller_whose_lookups_all_wait_leaves_connections_to_others(
    settings: Settings, database_url: str
) -> None:
    async with served(settings, **PATIENT) as client:
        town, shares = await settle(client), client.database.shares
        for _ in range(2):  # compiled by then, so that they need no task
            for text in different(town):
                assert error_counts([await client.run(text)]) == {}
        async with locked_posts(database_url) as watcher:
            sending = [asyncio.create_task(client.run(text)) for text in different(town)]
            assert 1 < await waiters(watcher) <= shares.of_caller_max
            answers = await asyncio.wait_for(asyncio.gather(*(user(town, by=town.ida) for _ in range(50))), 20)
            assert error_counts(answers) == {}
            assert not any(task.done() for task in sending)
        assert error_counts(await asyncio.gather(*sending)) == {}
        assert len(shares) == 0


@pytest.mark.parametrize("engine", ["compiled", "ordinary"])
async def test_operation_whose_fields_all_wait_leaves_connections_to_others(
    settings: Settings, database_url: str, engine: str
) -> None:
    async with served(settings, engine=engine, **PATIENT) as client:
        town, shares = await settle(client), client.database.shares
        fields = " ".join(
            f'p{number}: posts(first: {number}, filter: {{search: "w{number}"}}) {{ nodes {{ id }} }}'
            for number in range(1, 21)
        )
        async with locked_posts(database_url) as watcher:
            sending = asyncio.create_task(client.run(f"{{ {fields} }}"))
            assert 1 < await waiters(watcher) <= shares.of_operation_max
            # Another operation of the same caller is answered.
            assert error_counts(await asyncio.gather(*(user(town) for _ in range(20)))) == {}
            assert not sending.done()
        assert error_counts([await sending]) == {}
        assert len(shares) == 0
