"""Acknowledged writes are durable, or the server is not ready: it detects a database that may lose them in a crash."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from alembic import command
from pydantic import SecretStr

from bench.soak.processes import Cluster
from db.connections.leases import Driver
from db.embedded.server import EmbeddedServer, embedded_postgres
from db.settings import Settings
from db.setup.schema_version import alembic_config
from tests.db.support.backends import connected_superuser
from tests.db.support.clusters import reachable_directory
from tests.faults.served import served, settle
from tests.graph.cli.test_serving import FOLIO, ROOT
from tests.graph.support.bank import TRANSFER, transfer_input
from tests.graph.support.served_app import until

LIMIT_S = 60
PAYERS = 8
PAID_MIN = 100
NAMES = ["fsync", "full_page_writes", "synchronous_commit"]


@pytest.fixture(scope="module")
def durable() -> Iterator[tuple[EmbeddedServer, Cluster]]:
    """A PostgreSQL with default settings, whose database `folio` is migrated, and its processes."""
    with reachable_directory() as path, embedded_postgres(path / "data") as server:
        command.upgrade(alembic_config(server.url()), "head")
        yield server, Cluster(path / "data")


@pytest.fixture
def durable_settings(settings: Settings, durable: tuple[EmbeddedServer, Cluster]) -> Settings:
    """Settings with that database."""
    return settings.model_copy(update={"database_url": SecretStr(durable[0].url())})


@pytest.fixture
async def operator(durable: tuple[EmbeddedServer, Cluster]) -> AsyncIterator[Driver]:
    """A superuser who changes the server's configuration; the defaults are restored at the end."""
    async with connected_superuser(durable[0].url()) as superuser:
        yield superuser
        await superuser.execute("ALTER DATABASE folio RESET ALL")
        await switched(superuser, "ALTER SYSTEM RESET ALL", dict.fromkeys(NAMES, "on"))


async def switched(operator: Driver, statement: str, wanted: dict[str, str]) -> None:
    """Change the server's configuration, and wait until it takes effect."""
    await operator.execute(statement)
    await operator.execute("SELECT pg_reload_conf()")

    async def in_force() -> bool:
        return {name: await operator.fetchval("SELECT current_setting($1)", name) for name in wanted} == wanted

    await until(in_force, "a reload")


async def doctor(settings: Settings, cwd: Path) -> tuple[int | None, str]:
    """Run `folio doctor`; return its exit status and its output, without the table's line breaks."""
    assert settings.database_url is not None
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "300",
        "FOLIO_DATABASE_URL": settings.database_url.get_secret_value(),
        "FOLIO_SECRET_KEY": "of no value: there is nobody to sign in 0123456789",
    }
    process = await asyncio.create_subprocess_exec(
        *FOLIO, "doctor", cwd=cwd, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    return process.returncode, output.decode()


@pytest.mark.parametrize("name", NAMES)
async def test_database_that_may_lose_acknowledged_writes_makes_the_server_not_ready(
    durable_settings: Settings, operator: Driver, name: str
) -> None:
    async with served(durable_settings) as client:
        assert (await client.http.get("/readyz")).status_code == 200
    await switched(operator, f"ALTER SYSTEM SET {name} = off", {name: "off"})
    async with served(durable_settings) as client:
        answer = await client.http.get("/readyz")
        reason = f"the database may lose in a crash what it has acknowledged: {name} is off"
        assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "reason": reason})
        await switched(operator, f"ALTER SYSTEM SET {name} = on", {name: "on"})
        assert (await client.http.get("/readyz")).json() == {"status": "ok"}


async def test_setting_of_only_the_database_counts_like_a_setting_of_the_server(
    durable_settings: Settings, operator: Driver
) -> None:
    await operator.execute("ALTER DATABASE folio SET synchronous_commit = off")
    await switched(operator, "ALTER SYSTEM SET fsync = off", {"fsync": "off"})
    async with served(durable_settings) as client:
        reason = (await client.http.get("/readyz")).json()["reason"]
    assert reason == "the database may lose in a crash what it has acknowledged: fsync and synchronous_commit are off"


async def test_database_that_is_declared_disposable_may_lose_writes(
    durable_settings: Settings, operator: Driver
) -> None:
    await switched(operator, "ALTER SYSTEM SET fsync = off", {"fsync": "off"})
    await operator.execute("ALTER DATABASE folio SET folio.throwaway = on")
    async with served(durable_settings) as client:
        assert (await client.http.get("/readyz")).json() == {"status": "ok"}
    await operator.execute("ALTER DATABASE folio SET folio.throwaway = off")
    async with served(durable_settings) as client:
        assert (await client.http.get("/readyz")).status_code == 503


@pytest.mark.long("many processes")
async def test_doctor_reports_which_writes_a_database_may_lose_and_what_to_do(
    durable_settings: Settings, operator: Driver, tmp_path: Path
) -> None:
    status, output = await doctor(durable_settings, tmp_path)
    assert (status, "acknowledged writes survive a crash" in output) == (0, True)
    await operator.execute("ALTER DATABASE folio SET synchronous_commit = off")
    status, output = await doctor(durable_settings, tmp_path)
    assert (status, "synchronous_commit is off" in output, "switch it on" in output) == (1, True, True)
    await operator.execute("ALTER DATABASE folio SET folio.throwaway = on")
    status, output = await doctor(durable_settings, tmp_path)
    assert (status, "synchronous_commit is off" in output, "warning" in output) == (0, True, True)


@pytest.mark.long("a cluster is killed")
async def test_every_acknowledged_transfer_survives_a_kill_of_the_whole_cluster(
    durable_settings: Settings, durable: tuple[EmbeddedServer, Cluster]
) -> None:
    cluster = durable[1]
    async with served(durable_settings) as client:
        town, over = await settle(client), asyncio.Event()
        acknowledged: dict[str, str] = {}

        async def pay() -> None:
            while not over.is_set():
                given = transfer_input(town.payer_account, town.payee_account, "0.01")
                body = await town.client.run(TRANSFER, by=town.ida, input=given)
                if "errors" not in body:
                    acknowledged[str(given["idempotencyKey"])] = body["data"]["transfer"]["transaction"]["id"]

        async def crash() -> None:
            while len(acknowledged) < PAID_MIN:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(cluster.kill)
            over.set()

        await asyncio.gather(crash(), *(pay() for _ in range(PAYERS)))
        await asyncio.to_thread(cluster.start)
        found = {}
        for key in acknowledged:
            row = await town.bank.by_key(town.ida, key)
            found[key] = row and row["id"]
        assert found == acknowledged
