"""A flood from many addresses neither fills the server's memory nor resets the budget of an address that spent it."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from graph.http.admission.budgets import SPENDERS_MAX
from tests.graph.cli.test_serving import free_port, started
from tests.graph.http.test_memory import STATUS, resident_mib
from tests.graph.support.raw import query_body, request

pytestmark = pytest.mark.long("a flood of a process")

GROWTH_MIB_MAX = 64
CONNECTIONS, AT_ONCE = 4, 50

# Most of the budget of an address: a second request is refused until nearly the whole minute has passed.
BUDGET = 105
QUERY = "{ users(first: 100) { nodes { username } } }"
CHEAP = query_body("{ __typename }")


def addresses(number: int, network: int = 10) -> Iterator[str]:
    for one in range(number):
        yield f"{network}.{one >> 16}.{one >> 8 & 255}.{one & 255}"


def invalid_addresses(number: int) -> Iterator[str]:
    for one in range(number):
        yield f"{one}{'x' * 12_000}"


async def flood(port: int, forwarded: Iterator[str]) -> int:
    """Send a query from each address, and return how many were answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    try:
        while batch := [one for _, one in zip(range(AT_ONCE), forwarded, strict=False)]:
            writer.write(b"".join(request(CHEAP, f"x-forwarded-for: {one}") for one in batch))
            for _ in batch:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r")[0]))
                answered += head.startswith(b"HTTP/1.1 200")
    finally:
        writer.close()
    return answered


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux shows the memory of another process like this")
async def test_flood_from_many_addresses_leaves_memory_and_budgets_as_they_are(
    database_url: str, tmp_path: Path
) -> None:
    port, freed = free_port(), 0
    variables = {
        "FOLIO_DATABASE_URL": database_url,
        "FOLIO_COST_PER_MINUTE_PER_ADDRESS_MAX": str(BUDGET),
        "FOLIO_LOG_LEVEL": "error",
    }
    async with (
        started("serve", cwd=tmp_path, port=port, **variables) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):

        async def status_of(address: str, query: str) -> int:
            return (
                await http.post("/graphql", json={"query": query}, headers={"x-forwarded-for": address})
            ).status_code

        where = Path(f"/proc/{process.pid}/status")
        # The first request with a document pays for parsing it.
        assert await flood(port, addresses(2_000, network=11)) == 2_000
        before = resident_mib(where)
        assert [await status_of("192.0.2.1", QUERY) for _ in range(2)] == [200, 429]
        began = time.monotonic()
        floods = [addresses(SPENDERS_MAX + 2_000), invalid_addresses(3_000)]
        async with asyncio.TaskGroup() as group:
            flooding = [group.create_task(flood(port, one)) for one in floods for _ in range(CONNECTIONS // 2)]
            while not all(one.done() for one in flooding):
                assert await status_of("192.0.2.2", "{ __typename }") in {200, 429}
                await asyncio.sleep(0.05)
                freed += await status_of("192.0.2.1", QUERY) == 200
        # The budget is available again after nearly a minute, for one more query of this cost.
        assert freed <= (time.monotonic() - began) // 50
        assert sum(one.result() for one in flooding) == SPENDERS_MAX + 5_000
        assert resident_mib(where) - before < GROWTH_MIB_MAX
