"""After each fault the server recovers without intervention: ready, no slower, and without leaks."""

import asyncio
import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from alembic import command
from pydantic import SecretStr

from bench.soak.network_proxy import Proxy, proxied_database
from bench.soak.processes import Cluster
from db.embedded.server import EmbeddedServer, embedded_postgres
from db.settings import Settings
from db.setup.schema_version import alembic_config
from tests.conftest import superuser_execute
from tests.db.support.backends import connected_superuser
from tests.db.support.clusters import reachable_directory
from tests.faults.recovery import Health
from tests.faults.served import OURS, kill_all, served, served_by_process, settle, url_of
from tests.faults.storms import ensure_ready, storm, with_client

pytestmark = pytest.mark.long("each fault lasts for seconds")

# Acknowledged writes are then in the kernel's buffers, which survive the death of every process.
OPTIONS = {"fsync": "off", "folio.throwaway": "on"}
POOL_SIZE, OVERFLOW = 5, 3
TIMES = {
    "operation_deadline_ms": 3000,
    "statement_timeout_ms": 1000,
    "lock_timeout_ms": 800,
    "connect_timeout_s": 2,
    "pool_size": POOL_SIZE,
    "pool_max_overflow": OVERFLOW,
    "accounts_per_user_max": 10_000,
}
NO_WRITES = "the database accepts no writes at the moment; try again later"
LASTS_S = 3.5  # longer than any timeout above

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def own_server() -> Iterator[tuple[EmbeddedServer, Cluster]]:
    """A PostgreSQL that no other test uses, and its processes; the database `folio` is migrated and a template."""
    with reachable_directory() as path, embedded_postgres(path / "data", options=OPTIONS) as server:
        command.upgrade(alembic_config(server.url()), "head")
        yield server, Cluster(path / "data", OPTIONS)


@pytest.fixture
async def own_settings(settings: Settings, own_server: tuple[EmbeddedServer, Cluster]) -> Settings:
    """Settings with a new database on that server."""
    name = f"recovery_{next(_numbers)}"
    await superuser_execute(own_server[0], f"CREATE DATABASE {name} TEMPLATE folio OWNER folio")
    return settings.model_copy(update={"database_url": SecretStr(own_server[0].url(name))})


@dataclass(frozen=True)
class World:
    """What can break: the processes of PostgreSQL, and the network to it.

    Attributes:
        url: the URL of the database, not through the network that breaks.
    """

    cluster: Cluster
    proxy: Proxy
    url: str

    async def backends(self) -> list[int]:
        """Return the process ids of the backends that serve the pool."""
        async with connected_superuser(self.url) as superuser:
            return [row[0] for row in await superuser.fetch(f"SELECT pid {OURS}")]


async def terminated(world: World) -> None:
    async with connected_superuser(world.url) as superuser:
        assert await kill_all(superuser) > 0


async def killed(world: World) -> None:
    """Kill a backend by SIGKILL: PostgreSQL terminates all others and recovers."""
    os.kill((await world.backends())[0], signal.SIGKILL)


async def restarted(world: World) -> None:
    await asyncio.to_thread(world.cluster.kill)
    await asyncio.to_thread(world.cluster.start)


async def frozen(world: World) -> None:
    with world.cluster.frozen():
        await asyncio.sleep(LASTS_S)


async def behind_a_black_hole(world: World) -> None:
    world.proxy.black_hole()
    await asyncio.sleep(LASTS_S)
    world.proxy.pass_on()


async def cut(world: World) -> None:
    world.proxy.refuse()
    await world.proxy.cut()
    await asyncio.sleep(1)
    world.proxy.pass_on()


async def set_to_read_only(world: World) -> None:
    """Make all transactions read-only, also on open connections, as hosting providers do when a disk is full."""
    async with connected_superuser(world.url) as superuser:
        await superuser.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await superuser.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(1)
        await superuser.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await superuser.execute("SELECT pg_reload_conf()")


FAULTS = [set_to_read_only, terminated, killed, restarted, frozen, behind_a_black_hole, cut]


async def test_server_recovers_without_intervention_after_each_fault(
    own_settings: Settings, own_server: tuple[EmbeddedServer, Cluster]
) -> None:
    url, cluster = url_of(own_settings), own_server[1]
    async with served(own_settings) as client:
        town = await settle(client)
    async with (
        proxied_database(url) as proxy,
        served_by_process(town.client, **{**TIMES, "database_url": proxy.url(url)}) as other_process,
    ):
        health = await Health.of(with_client(other_process.client, town), url, POOL_SIZE + OVERFLOW)
        for fault in FAULTS:
            async with storm(health.town) as one:
                await one.ensure_made(50)
                await fault(World(cluster, proxy, url))
                await one.ensure_made(50)
            await health.ensure_recovered(fault.__name__)
            async with connected_superuser(url) as superuser:
                await one.settle(superuser)


async def test_transfers_while_the_database_is_repeatedly_set_to_read_only_are_made_or_refused_with_a_named_error(
    own_settings: Settings,
) -> None:
    url = url_of(own_settings)
    async with served(own_settings) as client:
        town = await settle(client)
    async with served_by_process(town.client, **TIMES) as other_process, connected_superuser(url) as superuser:
        town = with_client(other_process.client, town)
        async with storm(town) as one:
            for _ in range(3):
                await one.ensure_made(50)
                await superuser.execute("ALTER SYSTEM SET default_transaction_read_only = on")
                await superuser.execute("SELECT pg_reload_conf()")
                await one.ensure_refused(4)
                readiness = await town.client.http.get("/readyz")
                await superuser.execute("ALTER SYSTEM RESET default_transaction_read_only")
                await superuser.execute("SELECT pg_reload_conf()")
                assert (readiness.status_code, "accepts no writes" in readiness.json()["reason"]) == (503, True)
            await one.ensure_made(50)
        assert NO_WRITES in one.messages
        await one.settle(superuser)
        await ensure_ready(town.client)
