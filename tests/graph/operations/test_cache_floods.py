"""Each cache of a worker stays within 64 MiB, however many different keys arrive."""

import asyncio
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graph.cli.test_serving import ROOT, free_port, started
from tests.graph.http.test_memory import resident_mib
from tests.graph.support.flooding import FLOODS, GROWTH_MIB_MAX
from tests.graph.support.raw import query_body, request

HEADS = 100_000  # of 3 or 15 kB each
CONNECTIONS = 4
LONG_ANSWER = "{ __schema { types { name description } } }"  # compressed for the clients that accept it

pytestmark = [
    pytest.mark.long("floods of 100,000 requests"),
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux shows a process's memory like this"),
]


@pytest.mark.parametrize("flood", FLOODS)
async def test_100_000_keys_leave_a_process_within_its_memory(flood: str, database_url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "tests.graph.support.flooding", flood, database_url],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert int(output) / 2**20 < GROWTH_MIB_MAX


def heads(numbers: Iterator[int]) -> Iterator[bytes]:
    """Requests with different heads, in every header that the server parses."""
    for number in numbers:
        words = f"{number:0{500 if number % 8 == 0 else 2200}}"  # a connection remembers the short ones
        lines = [f"{name}: {words}" for name in ("x-any", "user-agent", "traceparent", "if-none-match")]
        lines += [f"accept: application/json, x/{words}", f"accept-encoding: identity, x{words}"]
        if number % 8 == 1:
            lines.append(f"authorization: Bearer {words}")
        yield request(query_body(LONG_ANSWER), *lines)


async def test_different_heads_do_not_exceed_the_memory_of_a_process(database_url: str, tmp_path: Path) -> None:
    port, numbers = free_port(), itertools.count()
    environment = {"FOLIO_DATABASE_URL": database_url, "FOLIO_LOG_LEVEL": "error"}
    environment |= {"FOLIO_COST_PER_MINUTE_MAX": "0", "FOLIO_COST_PER_MINUTE_PER_ADDRESS_MAX": "0"}

    async def send(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for message in heads(itertools.islice(numbers, count)):
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            [length] = [line for line in head.split(b"\r\n") if line.startswith(b"content-length: ")]
            assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 401"))
            await reader.readexactly(int(length.split()[1]))
        writer.close()

    async with started("serve", cwd=tmp_path, port=port, **environment) as process:
        status = Path(f"/proc/{process.pid}/status")
        await send(100)
        before = resident_mib(status)
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(send(HEADS // CONNECTIONS))
        grown = resident_mib(status) - before
        assert grown < GROWTH_MIB_MAX
