"""Too many connections: an idle one of the address with the most makes room, or else the newest one is refused."""

import asyncio
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from db.connections.leases import Driver
from db.settings import Settings
from graph.app import create_app
from graph.http.wire.open_connections import allow_open_files
from tests.graph.cli.test_serving import FOLIO, free_port, started
from tests.graph.http.wire.test_upgrade import answers, fine
from tests.graph.support.callers import Client, http_client, serving
from tests.graph.support.recorded_log import Log, recorded_log
from tests.graph.support.served_app import is_alive, locked, posted, served, until, waiting

needs_loopback_network = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="has one loopback address")

FEW_FILES = 400
REFUSED = b"the server has reached its limit of connections; try again shortly"
REQUEST = posted("{ a: __typename }")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(client: Client, address: str = "127.0.0.1") -> AsyncIterator[Streams]:
    """Open a connection from an address of this machine, and send nothing on it."""
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port, local_addr=(address, 0))
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.fixture
def few_files() -> Iterator[int]:
    """Lower the number of files that the process may open; yield the normal number."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, before[1]))
    yield before[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def end_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        return await reader.read()


async def is_kept(streams: Streams) -> bool:
    """Return whether a request over the connection is answered."""
    reader, writer = streams
    try:
        writer.write(REQUEST)
        return await answers(reader, 1) == fine("a")
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


def messages(log: Log, what: str = "connections are open") -> list[str]:
    return [line["message"] for line in log.lines if what in line["message"]]


async def test_new_connection_takes_the_place_of_the_oldest_idle_one(settings: Settings) -> None:
    with recorded_log() as log:
        async with served(settings, connections_max=4) as client, AsyncExitStack() as stack:
            idle = [await stack.enter_async_context(connected(client)) for _ in range(4)]
            assert [await is_kept(one) for one in idle] == [True] * 4
            assert [await is_alive(client) for _ in range(3)] == [True] * 3
            assert await end_of(idle[0][0]) == b""
            assert [await is_kept(one) for one in idle[1:]] == [True] * 3
    message = (
        "4 connections are open, as many as FOLIO_CONNECTIONS_MAX allows; "
        "since the last such line 1 were closed for new ones, and 0 were refused"
    )
    assert messages(log) == [message]


async def test_connection_is_refused_where_all_others_are_in_use_and_they_go_on(
    settings: Settings, database_url: str, superuser: Driver
) -> None:
    async def all_wait() -> bool:
        return await waiting(superuser) == 3

    with recorded_log() as log:
        async with served(settings, connections_max=3) as client, AsyncExitStack() as stack:
            async with locked(database_url, "posts"):
                busy = [await stack.enter_async_context(connected(client)) for _ in range(3)]
                for size, (_, writer) in enumerate(busy, 1):
                    writer.write(posted(f"{{ posts(first: {size}) {{ nodes {{ id }} }} }}"))
                await until(all_wait, "the wait of all")
                for _ in range(5):
                    async with connected(client) as (reader, _):
                        answer = await end_of(reader)
                    assert (answer.startswith(b"HTTP/1.1 503 "), REFUSED in answer) == (True, True)
            for reader, _ in busy:
                assert [status for status, _ in await answers(reader, 1)] == [b"HTTP/1.1 200 OK"]
            assert await is_alive(client)
    assert [line.partition("; ")[2] for line in messages(log)] == [
        "since the last such line 0 were closed for new ones, and 1 were refused"
    ]


async def test_client_with_an_incomplete_request_is_closed_with_an_error_that_names_the_reason(
    settings: Settings,
) -> None:
    async with served(settings, connections_max=1) as client, connected(client) as (reader, writer):
        writer.write(REQUEST[:30])
        await asyncio.sleep(0.1)
        assert await is_alive(client)
        answer = await end_of(reader)
    assert (answer.startswith(b"HTTP/1.1 503 "), REFUSED in answer) == (True, True)


async def test_slot_of_a_connection_that_ended_is_free_again(settings: Settings) -> None:
    with recorded_log() as log:
        async with served(settings, connections_max=3) as client:
            assert await is_alive(client)
            for _ in range(10):
                async with connected(client) as streams:
                    assert await is_kept(streams)
                await asyncio.sleep(0.05)
            assert await is_alive(client)
    assert messages(log) == []


@needs_loopback_network
async def test_address_with_the_most_connections_makes_room_for_others(settings: Settings) -> None:
    async with served(settings, connections_max=20) as client, AsyncExitStack() as stack:
        assert await is_alive(client)
        few = [await stack.enter_async_context(connected(client, "127.0.0.4")) for _ in range(3)]
        attackers = [await stack.enter_async_context(connected(client, "127.0.0.2")) for _ in range(100)]
        others = [await stack.enter_async_context(connected(client, "127.0.0.3")) for _ in range(5)]
        assert [await is_kept(one) for one in [*few, *others]] == [True] * 8
        assert await is_alive(client)
        assert await end_of(attackers[0][0]) == b""
        kept = [await is_kept(one) for one in attackers]
    assert kept == [False] * 89 + [True] * 11


async def test_connection_is_refused_where_others_have_taken_the_file_descriptors(
    settings: Settings, few_files: int
) -> None:
    app = create_app(settings)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with recorded_log() as log:
        async with serving(app) as address, http_client(address) as http:
            client = Client(http, app.state.services)
            assert await is_alive(client)
            with ExitStack() as stack:
                while stack.enter_context(Path("/dev/null").open("rb")).fileno() < FEW_FILES:  # noqa: ASYNC230
                    pass
                for _ in range(3):
                    async with connected(client) as (reader, _):
                        assert REFUSED in await end_of(reader)
                assert await is_alive(client)
            async with connected(client) as streams:
                assert await is_kept(streams)
    [message] = messages(log, "file descriptors run out")
    assert message.endswith(
        f"of {FEW_FILES} are open; since the last such line 0 were closed for new ones, and 1 were refused"
    )


def test_process_raises_its_limit_of_files_to_the_maximum(few_files: int) -> None:
    assert few_files > FEW_FILES
    allow_open_files()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))


@needs_loopback_network
async def test_real_server_serves_others_while_one_address_opens_connections_without_end(
    database_url: str, superuser: Driver, tmp_path: Path
) -> None:
    # On the server's own event loop, whose transports have other classes, and with few files.
    with_few_files = ["/bin/sh", "-c", f'ulimit -n {FEW_FILES} && exec "$@"', "sh", *FOLIO]
    port, log, silent = free_port(), tmp_path / "log", []
    async with started(
        "serve", cwd=tmp_path, port=port, log=log, command=with_few_files, FOLIO_DATABASE_URL=database_url
    ) as process:
        for number in range(3 * FEW_FILES):
            silent.append(await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0)))
            if number % 100 == 0:
                await asyncio.sleep(0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            for _ in range(5):
                # New connections to the database need files, too.
                await superuser.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name LIKE 'folio%'"
                )
                began = time.monotonic()
                answer = await http.post("/graphql", json={"query": "{ posts { totalCount } }"})
                assert answer.json() == {"data": {"posts": {"totalCount": 0}}}
                assert time.monotonic() - began < 10
                assert (await http.get("/readyz")).status_code == 200
            files = Path(f"/proc/{process.pid}/fd")
            assert len(list(files.iterdir())) < FEW_FILES - 50
        for _, writer in silent:
            writer.close()
    output = log.read_text()
    assert output.count("as many as the limit of open files (ulimit -n) allows") in {1, 2}
    assert "Traceback" not in output
