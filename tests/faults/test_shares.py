"""One caller, and one operation, whose statements all wait: the rest of the connections stays for others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from db.connections.leases import Driver
from db.settings import Settings
from tests.db.support.backends import connected_superuser
from tests.faults.operations import Body
from tests.faults.served import Town, served, settle, told
from tests.graph.support.edge import until, waiting

PATIENT = {"lock_timeout_ms": 60_000, "statement_timeout_ms": 60_000, "operation_deadline_ms": 90_000}
SETTLED_S = 0.7  # longer than it takes until further connections are opened
FIELDS = ("id", "title", "content", "published", "views", "version", "createdAt", "updatedAt")


@asynccontextmanager
async def locked_posts(database_url: str) -> AsyncIterator[Driver]:
    """Lock the table of posts until the end of the block, and give a connection to watch from."""
    async with (
        connected_superuser(database_url) as watcher,
        connected_superuser(database_url) as holder,
        holder.transaction(),
    ):
        await holder.execute("LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        yield watcher


async def waiters(watcher: Driver) -> int:
    """Return how many connections wait, when that changes no more."""

    async def somebody_waits() -> bool:
        return await waiting(watcher) > 0

    await until(somebody_waits, "a wait for the table")
    await asyncio.sleep(SETTLED_S)
    return await waiting(watcher)


def different(town: Town) -> list[str]:
    """Return look-ups that no two of share a statement: each reads other columns."""
    chosen = [[one for bit, one in enumerate(FIELDS) if number >> bit & 1] for number in range(1, 41)]
    return [f'{{ post(id: "{town.posts[0]}") {{ {" ".join(fields)} }} }}' for fields in chosen]


async def user(town: Town, **by: Any) -> Body:
    """Look a user up, whom nobody has locked."""
    return await town.bank.client.run('{ user(id: "user_1") { username } }', **by)


async def test_caller_whose_lookups_all_wait_leaves_connections_to_others(
    settings: Settings, database_url: str
) -> None:
    async with served(settings, **PATIENT) as client:
        town, shares = await settle(client), client.database.shares
        for _ in range(2):  # compiled, so that they need no task of their own
            for text in different(town):
                assert told([await client.run(text)]) == {}
        async with locked_posts(database_url) as watcher:
            asking = [asyncio.create_task(client.run(text)) for text in different(town)]
            assert 1 < await waiters(watcher) <= shares.of_caller_max
            answers = await asyncio.wait_for(asyncio.gather(*(user(town, by=town.ida) for _ in range(50))), 20)
            assert told(answers) == {}
            assert not any(task.done() for task in asking)
        assert told(await asyncio.gather(*asking)) == {}
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
            asking = asyncio.create_task(client.run(f"{{ {fields} }}"))
            assert 1 < await waiters(watcher) <= shares.of_operation_max
            # The same caller has another operation answered.
            assert told(await asyncio.gather(*(user(town) for _ in range(20)))) == {}
            assert not asking.done()
        assert told([await asking]) == {}
        assert len(shares) == 0
