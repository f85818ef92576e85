"""The gauges of the pool agree with PostgreSQL, and time spent in the queue is not counted as database time."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from db.connections.leases import Driver
from db.settings import Settings
from tests.db.support.backends import connected_superuser
from tests.faults import operations
from tests.faults.served import Town, backends, error_counts, kill_all, served, settle
from tests.graph.support.callers import PASSWORD, Client
from tests.graph.support.recorded_log import recorded_log
from tests.graph.support.served_app import until, waiting

POOL_SIZE = 2
OVERFLOW = 3
HELD_S = 1.0

GAUGE = re.compile(r'^folio_pool_connections\{state="(in_use|idle)".*\} ([0-9.]+)$', re.MULTILINE)


async def gauges(client: Client) -> dict[str, float]:
    """Return the connections that `/metrics` shows, by state."""
    return {state: float(value) for state, value in GAUGE.findall((await client.http.get("/metrics")).text)}


@asynccontextmanager
async def held(database_url: str) -> AsyncIterator[Driver]:
    """Lock the posts until the block ends; yield a superuser who sees the waiting backends."""
    async with (
        connected_superuser(database_url) as watcher,
        connected_superuser(database_url) as holder,
        holder.transaction(),
    ):
        await holder.execute("LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        yield watcher


async def burst(town: Town, database_url: str) -> int:
    """Make the pool open all its connections; return how many were waiting at once."""
    async with held(database_url) as watcher:
        requested = [town.client.run(f"{{ posts(first: {n}) {{ nodes {{ id }} }} }}") for n in range(1, 8)]
        sending = asyncio.gather(*requested)

        async def overflowed() -> bool:
            return await waiting(watcher) > POOL_SIZE

        await until(overflowed, "an overflow")
        most = await waiting(watcher)
    assert error_counts(await sending) == {}
    return most


@pytest.mark.parametrize("engine", ["compiled", "ordinary"])
async def test_gauges_show_the_connections_that_postgresql_has(
    settings: Settings, database_url: str, engine: str
) -> None:
    changes = {"engine": engine, "pool_size": POOL_SIZE, "pool_max_overflow": OVERFLOW}
    async with served(settings, **changes) as client, connected_superuser(database_url) as superuser:
        town = await settle(client)

        async def is_true() -> bool:
            shown = await gauges(client)
            return sum(shown.values()) == await backends(superuser) and shown["in_use"] == 0

        for _ in range(3):
            assert await burst(town, database_url) > POOL_SIZE
            await until(is_true, "a gauge that is true")
            assert 1 <= await backends(superuser) <= POOL_SIZE
        await kill_all(superuser)
        assert error_counts([await kind.send(town) for kind in operations.EVERY_KIND]) == {}
        await until(is_true, "a gauge that is true after connections broke")


SIGN_IN = f'mutation SignIn {{ signIn(input: {{login: "ida", password: "{PASSWORD}"}}) {{ viewer {{ id }} }} }}'


def anonymous(town: Town) -> dict[str, str]:
    """Return operations by name: one with a single statement, one with several, one in a snapshot, and a write."""
    account = (
        f'account(id: "{town.payer_account}") {{ balance {{ amount }} transactions(first: 1) {{ nodes {{ id }} }} }}'
    )
    return {
        "LookUp": f'query LookUp {{ user(id: "{town.ida.id}") {{ username }} }}',
        "Page": "query Page { users(first: 3) { totalCount nodes { username profile { bio } } } }",
        "Money": f"query Money {{ {account} }}",
        "SignIn": SIGN_IN,
    }


@pytest.mark.parametrize("sights", [1, 3])
async def test_wait_for_a_free_connection_is_not_counted_as_database_time(
    settings: Settings, database_url: str, sights: int
) -> None:
    async with served(settings, pool_size=1, pool_max_overflow=0) as client:
        town = await settle(client)
        requested = anonymous(town)
        for _ in range(sights - 1):
            assert error_counts([await client.run(query) for query in requested.values()]) == {}
        with recorded_log() as log:
            async with held(database_url) as watcher:
                page = asyncio.create_task(operations.page(town))

                async def holds_the_connection() -> bool:
                    return await waiting(watcher) == 1

                await until(holds_the_connection, "a wait on the only connection")
                sending = asyncio.gather(*map(client.run, requested.values()))
                await asyncio.sleep(HELD_S)
            assert error_counts([await page, *await sending]) == {}
        spent = {line["operation"]: line for line in log.operations if line["operation"] in requested}
        assert set(spent) == set(requested)
        assert min(line["total_us"] for line in spent.values()) > HELD_S * 0.8e6
        assert {name: line["database_us"] for name, line in spent.items() if line["database_us"] > HELD_S * 0.4e6} == {}
