"""A database that takes no writes, as a standby after a failover that went wrong: it is said, and reads go on."""

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
from tests.faults.operations import Body, Stopped
from tests.faults.served import kill_all, served, settle, told
from tests.graph.cli.test_serving import FOLIO, ROOT

WRITES = [*operations.SINGLE_STATEMENTS, *operations.TRANSACTIONS]
LIMIT_S = 60


async def switch(superuser: Driver, *, writes: bool, terminates: bool = True) -> None:
    """Let the database take writes, or none; where it terminates the backends, connections begin anew, too."""
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {'off' if writes else 'on'}")
    if terminates:
        await terminate_all(superuser)
        await asyncio.sleep(0.05)  # by now the event loop has seen the end of the connections


@asynccontextmanager
async def read_only(superuser: Driver) -> AsyncIterator[None]:
    """Let the database take no writes for a while."""
    await switch(superuser, writes=False)
    yield
    await switch(superuser, writes=True)


def ensure_refused(body: Body) -> None:
    [error] = body["errors"]
    assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE"
    assert "no writes" in error["message"]
    assert "outcomeUnknown" not in error["extensions"]  # it is known: nothing was written


@pytest.mark.parametrize("kind", WRITES, ids=lambda kind: kind.name)
async def test_write_to_a_read_only_database_is_refused_and_goes_through_again_afterwards(
    settings: Settings, database_url: str, kind: Stopped
) -> None:
    async with served(settings) as client, connected_superuser(database_url) as superuser:
        town = await settle(client)
        async with read_only(superuser):
            for _ in range(3):
                ensure_refused(await kind.ask(town))
        assert told([await kind.ask(town)]) == {}


async def test_reads_of_a_read_only_database_are_served(settings: Settings, database_url: str) -> None:
    async with served(settings) as client, connected_superuser(database_url) as superuser:
        town = await settle(client)
        async with read_only(superuser):
            answers = [await kind.ask(town) for kind in [*operations.READS, *operations.SNAPSHOTS] * 3]
        assert told(answers) == {}


async def test_connection_from_the_read_only_time_does_not_refuse_writes_for_ever(
    settings: Settings, database_url: str
) -> None:
    async with served(settings, pool_size=2) as client, connected_superuser(database_url) as superuser:
        town = await settle(client)
        await switch(superuser, writes=False)
        ensure_refused(await operations.update_post(town))
        await switch(superuser, writes=True, terminates=False)
        answers = [await operations.update_post(town) for _ in range(4)]
        assert told(answers[1:]) == {}  # the first at most was sent on a connection that takes no writes


async def test_readiness_says_that_the_database_takes_no_writes(settings: Settings, database_url: str) -> None:
    async with served(settings) as client, connected_superuser(database_url) as superuser:
        async with read_only(superuser):
            answer = await client.http.get("/readyz")
            assert answer.status_code == 503
            assert "no writes" in answer.json()["reason"]
        assert (await client.http.get("/readyz")).json() == {"status": "ok"}


@pytest.mark.long("many processes")
async def test_doctor_reports_a_database_that_takes_no_writes(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    async with connected_superuser(database_url) as superuser:
        assert (await doctor(settings, database_url, tmp_path))[0] == 0
        async with read_only(superuser):
            status, said = await doctor(settings, database_url, tmp_path)
    assert (status, "failure" in said, "no writes" in said) == (1, True, True)


async def doctor(settings: Settings, database_url: str, cwd: Path) -> tuple[int | None, str]:
    """Run `folio doctor`; return its exit status and what it says."""
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
    said, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    return process.returncode, said.decode()


@pytest.mark.long("a storm")
async def test_storm_of_writes_over_a_switch_has_no_unnamed_error(settings: Settings, database_url: str) -> None:
    async with served(settings) as client, connected_superuser(database_url) as superuser:
        town, over = await settle(client), asyncio.Event()
        answers: list[Body] = []

        async def ask(kind: Stopped) -> None:
            while not over.is_set():
                answers.append(await kind.ask(town))

        async def fail_over() -> None:
            for writes in [False, True] * 3:
                await switch(superuser, writes=writes, terminates=False)
                await kill_all(superuser)
                await asyncio.sleep(0.3)
            over.set()

        kinds = [operations.SINGLE_STATEMENTS[1], operations.SINGLE_STATEMENTS[2], operations.TRANSACTIONS[0]]
        await asyncio.gather(fail_over(), *map(ask, kinds))
        assert {message.partition(":")[0] for message in told(answers)} <= {"DATABASE_UNAVAILABLE"}
        assert told([await kind.ask(town) for kind in kinds]) == {}
