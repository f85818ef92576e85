"""A database that hangs: every client has an answer in time, and service resumes when the database does.

A suspended host, or one behind a network that drops all packets, sends neither an error nor the end of a connection:
only a timeout ends a wait.
"""

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from alembic import command
from pydantic import SecretStr

from bench.soak.network_proxy import Proxy, proxied_database
from bench.soak.processes import Cluster, frozen_process
from db.connections.leases import Driver
from db.embedded.server import EmbeddedServer, embedded_postgres
from db.settings import Settings
from db.setup.schema_version import alembic_config
from tests.conftest import superuser_execute
from tests.db.support.backends import connected_superuser
from tests.db.support.clusters import reachable_directory
from tests.faults import operations
from tests.faults.operations import Body
from tests.faults.served import OURS, Town, backends, codes, error_counts, served, served_by_process, settle, url_of
from tests.graph.support.served_app import waiting

pytestmark = pytest.mark.long("frozen servers are waited for")

DEADLINE_S = 3.0
ANSWERED_S = DEADLINE_S + 5.0
WELL_AGAIN_S = 10.0
ENDED_S = 35.0
SLOW_S = 1.5
POOL_SIZE = 5
OVERFLOW = 3
TIMES = {
    "operation_deadline_ms": int(DEADLINE_S * 1000),
    "statement_timeout_ms": 2000,
    "pool_size": POOL_SIZE,
    "pool_max_overflow": OVERFLOW,
}
NAMED = {"DATABASE_BUSY", "DATABASE_TIMEOUT", "DATABASE_UNAVAILABLE", "DEADLINE_EXCEEDED"}

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def own_server() -> Iterator[tuple[EmbeddedServer, Cluster]]:
    """A PostgreSQL that no other test uses, and its processes; the database `folio` is migrated and a template."""
    options = {"fsync": "off", "synchronous_commit": "off", "folio.throwaway": "on", "full_page_writes": "off"}
    with reachable_directory() as path, embedded_postgres(path / "data", options=options) as server:
        command.upgrade(alembic_config(server.url()), "head")
        yield server, Cluster(path / "data")


@pytest.fixture
def cluster(own_server: tuple[EmbeddedServer, Cluster]) -> Cluster:
    """The processes that can be frozen."""
    return own_server[1]


@pytest.fixture
async def own_settings(settings: Settings, own_server: tuple[EmbeddedServer, Cluster]) -> Settings:
    """Settings with a new database on that server."""
    name = f"frozen_{next(_numbers)}"
    await superuser_execute(own_server[0], f"CREATE DATABASE {name} TEMPLATE folio OWNER folio")
    return settings.model_copy(update={"database_url": SecretStr(own_server[0].url(name)), **TIMES})


async def everything(town: Town) -> list[Body]:
    """Send two requests of each kind, all at once."""
    return await asyncio.gather(*(kind.send(town) for kind in operations.EVERY_KIND * 2))


async def until_true(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until the condition is true, at most WELL_AGAIN_S."""
    deadline = time.monotonic() + WELL_AGAIN_S
    while not await condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


async def ensure_answers(town: Town, superuser: Driver, dark: AbstractContextManager[None]) -> None:
    """Send all kinds of requests while the database hangs; require answers in time, and recovery afterwards."""
    for _ in range(2):
        assert error_counts(await everything(town)) == {}
    with dark:
        for _ in range(2):
            answers = await asyncio.wait_for(everything(town), ANSWERED_S)
            assert {code for answer in answers for code in codes(answer)} <= NAMED

    async def all_served() -> bool:
        return error_counts(await everything(town)) == {}

    async def connections_gone() -> bool:
        return await backends(superuser) <= POOL_SIZE + OVERFLOW

    await until_true(all_served, "something is not served again")
    await until_true(connections_gone, "unused connections stay open")


@pytest.mark.parametrize("engine", ["compiled", "ordinary"])
async def test_clients_of_a_frozen_database_are_answered_in_time(
    own_settings: Settings, cluster: Cluster, engine: str
) -> None:
    async with (
        served(own_settings, engine=engine, accounts_per_user_max=10_000) as client,
        connected_superuser(url_of(own_settings)) as superuser,
    ):
        await ensure_answers(await settle(client), superuser, cluster.frozen())


async def test_clients_of_a_database_behind_a_black_hole_are_answered_in_time(
    settings: Settings, database_url: str
) -> None:
    async with proxied_database(database_url) as proxy:
        with_client = {"database_url": SecretStr(proxy.url(database_url)), "accounts_per_user_max": 10_000}
        async with (
            served(settings, **TIMES, **with_client) as client,
            connected_superuser(database_url) as superuser,
        ):
            try:
                await ensure_answers(await settle(client), superuser, dropping_packets(proxy))
            finally:
                await proxy.cut()  # otherwise a server that waits for dropped packets would never close its pool


@contextmanager
def dropping_packets(proxy: Proxy) -> Iterator[None]:
    """Drop all packets until the block ends."""
    proxy.black_hole()
    try:
        yield
    finally:
        proxy.pass_on()


async def test_sigterm_ends_a_server_whose_database_is_frozen(own_settings: Settings, cluster: Cluster) -> None:
    async with (
        served(own_settings) as client,
        served_by_process(client, **TIMES) as served_apart,
    ):
        town = await settle(client)
        other_process = Town(
            served_apart.client, town.bank, town.ida, town.eve, town.payer_account, town.payee_account, town.posts
        )
        assert error_counts(await everything(other_process)) == {}
        with cluster.frozen():
            sending = [asyncio.create_task(kind.send(other_process)) for kind in operations.EVERY_KIND]
            await asyncio.sleep(0.5)
            served_apart.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(served_apart.process.wait(), ENDED_S) == 0
            answers = await asyncio.gather(*sending, return_exceptions=True)
        assert [answer for answer in answers if isinstance(answer, BaseException)] == []


# ---------------------------------------------------------------- one backend of several


@pytest.fixture
async def idle_connections(own_settings: Settings) -> AsyncIterator[tuple[Town, Driver]]:
    """A served application with POOL_SIZE connections or one less, none of them in use, and a superuser."""
    url = url_of(own_settings)
    async with (
        served(own_settings, pool_max_overflow=0) as client,
        connected_superuser(url) as superuser,
        connected_superuser(url) as holder,
    ):
        town = await settle(client)
        async with holder.transaction():
            await holder.execute("LOCK TABLE posts, users IN ACCESS EXCLUSIVE MODE")
            # Of different kinds, because requests of one kind may share a statement or take turns.
            pages = [f"{{ {name}(first: {n}) {{ nodes {{ id }} }} }}" for name in ("posts", "users") for n in (1, 2)]
            sending = asyncio.gather(operations.lookup(town), *map(client.run, pages))

            async def most_wait() -> bool:
                return await waiting(superuser) >= POOL_SIZE - 1  # one may be reserved

            await until_true(most_wait, "statements do not wait on many connections")
        assert error_counts(await sending) == {}
        yield town, superuser


async def newest(superuser: Driver) -> int:
    """Return the process id of the backend that was used last."""
    await superuser.execute("SELECT pg_stat_clear_snapshot()")
    pid: int = await superuser.fetchval(f"SELECT pid {OURS} ORDER BY state_change DESC LIMIT 1")
    return pid


@pytest.mark.parametrize(
    "send",
    [operations.lookup, operations.page, operations.balance, operations.money, operations.update_post],
    ids=lambda send: send.__name__,
)
async def test_one_frozen_backend_of_several_costs_one_client_one_answer(
    idle_connections: tuple[Town, Driver], send: Callable[[Town], Awaitable[Body]]
) -> None:
    town, superuser = idle_connections
    for _ in range(3):
        assert error_counts([await send(town)]) == {}
    suffered = 0
    with frozen_process(await newest(superuser)):
        for _ in range(30):
            started = time.monotonic()
            answer = await asyncio.wait_for(send(town), ANSWERED_S)
            suffered += "errors" in answer or time.monotonic() - started > SLOW_S
            assert suffered <= 1
    assert error_counts([await send(town)]) == {}
