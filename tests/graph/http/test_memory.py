"""The memory of a server process stays bounded, whatever anonymous clients send, also in floods of large requests."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.connections.leases import Driver
from tests.graph.cli.test_serving import free_port, started
from tests.graph.operations.test_plan_sizes import conditional, vectors
from tests.graph.support.callers import http_client

pytestmark = pytest.mark.long("floods of a process")

STATUS = Path("/proc/self/status")
GROWTH_MIB_MAX = 300
AT_ONCE = 4

Request = dict[str, Any]


@pytest.fixture
async def served(database_url: str, superuser: Driver, tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Path]]:
    """A process that serves 100 posts of 100 kB, and the file with its memory usage."""
    await superuser.execute(
        "WITH author AS (INSERT INTO users (email, username, hashed_password) VALUES ('a@example.org', 'ada', '!')"
        " RETURNING id) INSERT INTO posts (title, content, published, author_id)"
        " SELECT 'Long', repeat(md5(n::text), 3125), true, id FROM author, generate_series(1, 100) AS n"
    )
    port = free_port()
    environment = {"FOLIO_DATABASE_URL": database_url, "FOLIO_COST_PER_MINUTE_MAX": "0", "FOLIO_LOG_LEVEL": "error"}
    environment["FOLIO_COST_PER_MINUTE_PER_ADDRESS_MAX"] = "0"
    async with (
        started("serve", cwd=tmp_path, port=port, **environment) as process,
        http_client(f"http://127.0.0.1:{port}", timeout=120) as http,
    ):
        yield http, Path(f"/proc/{process.pid}/status")


def resident_mib(status: Path) -> int:
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) // 1024


def failing() -> Iterator[Request]:
    """An argument that its field refuses, next to 10 MB of rows."""
    query = "{ good: posts(first: 100) { nodes { id title content } } bad: posts(first: 101) { nodes { id } } }"
    return itertools.repeat({"query": query}, 250)


def nodes() -> Iterator[Request]:
    """A hundred rows behind an interface."""
    ids = [f"post_{number}" for number in range(1, 101)]
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Post { content author { username } } } }"
    # The last field fails, so that none of the 10 MB is sent: the client need not read them.
    query = query[:-1] + " bad: posts(first: 101) { nodes { id } } }"
    return itertools.repeat({"query": query, "variables": {"ids": ids}}, 250)


def plans() -> Iterator[Request]:
    """Operations with 64 vectors of conditions each."""
    for number in range(40):
        for variables in itertools.islice(vectors(), 24):
            yield {"query": conditional(18, f"Q{number}"), "variables": variables}


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux shows the memory of another process like this")
@pytest.mark.parametrize("flood", [failing, nodes, plans], ids=["failing", "nodes", "plans"])
async def test_a_flood_leaves_a_served_process_within_its_memory(
    served: tuple[httpx.AsyncClient, Path], flood: Any
) -> None:
    http, status = served
    requests = flood()

    async def send_all() -> None:
        for request in requests:
            response = await http.post("/graphql", json=request)
            body = response.json()
            assert body.keys() <= {"data", "errors"}, body
            assert all(one.get("path") for one in body.get("errors", ())), body

    async with asyncio.TaskGroup() as group:
        group.create_task(send_all())
        await asyncio.sleep(1)
        before = resident_mib(status)
        for _ in range(AT_ONCE - 1):
            group.create_task(send_all())
    grown = resident_mib(status) - before
    assert grown < GROWTH_MIB_MAX
