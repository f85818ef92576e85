"""A read-only database, such as a standby after a failed failover: the server reports it, and still serves reads."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from db.connections.leases import Driver
from db.settings import Settings
from tests.db.support.backends import connected_superuser, terminate_all
from tests.faults import operations
from tests.faults.operations import BlockedOperation, Body
from tests.faults.served import error_counts, kill_all, served, settle
from tests.graph.cli.test_serving import FOLIO, ROOT
from tests.running.amounts import sample

WRITES = [*operations.SINGLE_STATEMENTS, *operations.TRANSACTIONS]
LIMIT_S = 60


async def switch(superuser: Driver, *, writes: bool, terminates: bool = True) -> None:
    """Make the database writable or read-only; with `terminates`, also terminate the backends for new connections."""
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {'off' if writes else 'on'}")
    if terminates:
        await terminate_all(superuser)
        await asyncio.sleep(0.05)  # by now the event loop has noticed that the connections are closed


@asynccontextmanager
async def read_only(superuser: Driver) -> AsyncIterator[None]:
    """Make the database read-only until the block ends."""
    await switch(superuser, writes=False)
    yield
    await switch(superuser, writes=True)


def ensure_refused(body: Body) -> None:
    [error] = body["errors"]
    assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE"
    assert "no writes" in error["message"]
    assert "outcomeUnknown" not in error["extensions"]  # the outcome is known: nothing was written


@pytest.mark.parametrize("kind", sample(WRITES, every=3), ids=lambda kind: kind.name)
async def test_write_to_a_read_only_database_is_refused_and_succeeds_afterwards(
    settings: Settings, database_url: str, kind: BlockedOperation
) -> None:
    async with served(settings) as client, connected_superuser(database_url) as superuser:
        town = await settle(client)
        async with read_only(superuser):
            for _ in range(3):
                ensure_refused(await kind.send(town))
        assert error_counts([await kind.send(town)]) == {}


async def test_reads_of_a_read_only_database_are_served(settings: Settings, database_url: str) -> None:
    async with served(settings) as client, connected_superuser(database_url) as superuser:
        town = await settle(client)
        async with read_only(superuser):
            answers = [await kind.send(town) for kind in [*operations.READS, *operations.SNAPSHOTS] * 3]
        assert error_counts(answers) == {}


async def test_connection_from_the_read_only_period_accepts_writes_again(settings: Settings, database_url: str) -> None:
    async with served(settings, pool_size=2) as client, connected_superuser(database_url) as superuser:
        town = await settle(client)
        await switch(superuser, writes=False)
        ensure_refused(await operations.update_post(town))
        await switch(superuser, writes=True, terminates=False)
        answers = [await operations.update_post(town) for _ in range(4)]
        assert error_counts(answers[1:]) == {}  # at most the first was sent on a read-only connection


async def test_readiness_reports_a_read_only_database(settings: Settings, database_url: str) -> None:
    async with served(settings) as client, connected_superuser(database_url) as superuser:
        async with read_only(superuser):
            answer = await client.http.get("/readyz")
            assert answer.status_code == 503
            assert "no writes" in answer.json()["reason"]
        assert (await client.http.get("/readyz")).json() == {"status": "ok"}


@pytest.mark.long("many processes")
async def test_doctor_reports_a_read_only_database(settings: Settings, database_url: str, tmp_path: Path) -> None:
    async with connected_superuser(database_url) as superuser:
        assert (await doctor(settings, database_url, tmp_path))[0] == 0
        async with read_only(superuser):
            status, output = await doctor(settings, database_url, tmp_path)
    assert (status, "failure" in output, "no writes" in output) == (1, True, True)


async def doctor(settings: Settings, database_url: str, cwd: Path) -> tuple[int | None, str]:
    """Run `folio doctor`; return its exit status and its output."""
    assert settings.secret_key is not None
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "FOLIO_DATABASE_URL": database_url,
        "FOLIO_SECRET_KEY": settings.secret_key.get_secret_value(),
    }
    process = await asyncio.create_subprocess_exec(
        *FOLIO, "doctor", cwd=cwd, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    return process.returncode, output.decode()


@pytest.mark.long("a storm")
async def test_storm_of_writes_over_a_switch_has_no_unnamed_error(settings: Settings, database_url: str) -> None:
    async with served(settings) as client, connected_superuser(database_url) as superuser:
        town, over = await settle(client), asyncio.Event()
        answers: list[Body] = []

        async def send(kind: BlockedOperation) -> None:
            while not over.is_set():
                answers.append(await kind.send(town))

        async def fail_over() -> None:
            for writes in [False, True] * 3:
                await switch(superuser, writes=writes, terminates=False)
                await kill_all(superuser)
                await asyncio.sleep(0.3)
            over.set()

        kinds = [operations.SINGLE_STATEMENTS[1], operations.SINGLE_STATEMENTS[2], operations.TRANSACTIONS[0]]
        await asyncio.gather(fail_over(), *map(send, kinds))
        assert {message.partition(":")[0] for message in error_counts(answers)} <= {"DATABASE_UNAVAILABLE"}
        assert error_counts([await kind.send(town) for kind in kinds]) == {}
