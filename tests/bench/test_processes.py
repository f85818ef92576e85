"""The processes of a private PostgreSQL: all are killed, and a restart recovers what was committed."""

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest

from bench.soak.processes import Cluster, children, frozen_process
from db.embedded.server import EmbeddedServer, embedded_postgres
from tests.db.support.clusters import reachable_directory, rows, serves

LIMIT_S = 60


def test_killed_cluster_restarts_with_all_committed_data() -> None:
    with reachable_directory() as path, embedded_postgres(path / "data") as server:
        cluster = Cluster(path / "data")
        asyncio.run(written(server))
        family = [cluster.postmaster(), *children(cluster.postmaster())]
        assert len(family) > 1
        cluster.kill()
        assert not serves(server)
        assert [pid for pid in family if is_alive(pid)] == []
        cluster.start()
        assert rows(server, "SELECT n FROM kept", "postgres") == [(1,)]
    assert not serves(server)


async def written(server: EmbeddedServer) -> None:
    connection = await asyncpg.connect(server.url(role="postgres").replace("+asyncpg", ""))
    await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
    await connection.close()


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


async def test_frozen_process_continues_when_the_block_ends() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "0.05")
    with frozen_process(process.pid):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(process.wait())), 0.5)
        assert "State:\tT" in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0
    with frozen_process(process.pid):  # which has already ended
        assert process.pid not in children(os.getpid())
