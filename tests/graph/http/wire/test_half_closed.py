"""Half-closed connections: their clients get their responses; connections of clients that have left are closed."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import orjson
import pytest

from db.connections.leases import Driver
from db.settings import Settings
from graph.http.admission import time_limits
from tests.graph.cli.test_serving import free_port
from tests.graph.http.wire.test_upgrade import answers, fine
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.forked import forked
from tests.graph.support.raw import via_asgi
from tests.graph.support.served_app import half_closed, is_alive, locked, opened, posted, sent, served, until, waiting

POSTS = "{ posts { nodes { id } } }"
LOOKUP = '{ post(id: "post_1") { id } }'
CREATE_POST = 'mutation { createPost(input: {title: "t", content: "c"}) { post { title } userErrors { code } } }'
Answer = tuple[bytes, object]

NO_POSTS: Answer = (b"HTTP/1.1 200 OK", {"data": {"posts": {"nodes": []}}})
NO_POST: Answer = (b"HTTP/1.1 200 OK", {"data": {"post": None}})
CREATED: Answer = (b"HTTP/1.1 200 OK", {"data": {"createPost": {"post": {"title": "t"}, "userErrors": []}}})
ALIVE = posted("{ a: __typename }")

LONGER_THAN_A_LOOK = 0.5  # than the interval at which a query checks whether its client is still connected

CLOSE_WAIT = "08"

LEFT = {
    "message": "the client disconnected, or closed its side more than 0.3 s ago; keep the connection open until the "
    "response arrives",
    "extensions": {"code": "CLIENT_CLOSED_REQUEST"},
}
PATIENT = {"lock_timeout_ms": 60_000, "statement_timeout_ms": 60_000, "operation_deadline_ms": 60_000}


@pytest.fixture(params=["direct", "asgi"])
def endpoint(request: pytest.FixtureRequest) -> str:
    """The endpoint that the requests take."""
    kind: str = request.param
    return kind


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time after which a query of a half-closed connection ends."""
    monkeypatch.setattr(time_limits, "HALF_CLOSED_S", 0.3)


def request_for(endpoint: str, raw: bytes) -> bytes:
    """Return the request for this endpoint."""
    return raw if endpoint == "direct" else via_asgi(raw)


async def wait_for(superuser: Driver, number: int = 1) -> None:
    """Wait until `number` or more statements wait for a lock; with 0, until none does."""

    async def waits() -> bool:
        found = await waiting(superuser)
        return found >= number if number else not found

    await until(waits, "the wait of the statements")


def half_open_at(port: int) -> int:
    """Return how many connections of a port only the client has closed; 0 if the system has no list of connections."""
    table = Path("/proc/net/tcp")
    lines = [line.split() for line in table.read_text().splitlines()] if table.exists() else []
    return sum(line[1].endswith(f":{port:04X}") and line[3] == CLOSE_WAIT for line in lines)


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        return await reader.read()


@pytest.mark.parametrize(("query", "expected"), [(POSTS, NO_POSTS), (LOOKUP, NO_POST)], ids=["list", "lookup"])
async def test_query_that_waits_for_the_database_is_answered(
    client: Client, database_url: str, superuser: Driver, query: str, expected: Answer, endpoint: str
) -> None:
    await client.run(query)  # compiled, so that a lookup needs no task
    async with AsyncExitStack() as stack:
        async with locked(database_url, "posts"):
            reader = await stack.enter_async_context(half_closed(client, request_for(endpoint, posted(query))))
            await wait_for(superuser)
            await asyncio.sleep(LONGER_THAN_A_LOOK)
            assert await is_alive(client)
        assert await answers(reader, 1) == [expected]
        assert await to_the_end(reader) == b""


async def test_mutation_is_answered(
    client: Client, database_url: str, superuser: Driver, sign_up: SignUp, endpoint: str
) -> None:
    ada = await sign_up("ada")
    async with AsyncExitStack() as stack:
        async with locked(database_url, "posts"):
            raw = request_for(endpoint, posted(CREATE_POST, by=ada))
            reader = await stack.enter_async_context(half_closed(client, raw))
            await wait_for(superuser)
            await asyncio.sleep(LONGER_THAN_A_LOOK)
            assert await is_alive(client)
        assert await answers(reader, 1) == [CREATED]
        assert await to_the_end(reader) == b""


async def test_pipelined_requests_are_all_answered(
    client: Client, database_url: str, superuser: Driver, endpoint: str
) -> None:
    raw = ALIVE + posted(POSTS) + ALIVE + posted(LOOKUP) + ALIVE
    async with AsyncExitStack() as stack:
        async with locked(database_url, "posts"):
            reader = await stack.enter_async_context(half_closed(client, request_for(endpoint, raw)))
            await wait_for(superuser)
            await asyncio.sleep(LONGER_THAN_A_LOOK)
        assert await answers(reader, 5) == [*fine("a"), NO_POSTS, *fine("a"), NO_POST, *fine("a")]
        assert await to_the_end(reader) == b""


@pytest.mark.parametrize("rest", [ALIVE[:30], ALIVE[:-5], b"GET / HTTP/1.1\r\nx\r\n\r\n"], ids=["head", "body", "none"])
async def test_only_complete_requests_are_answered(
    client: Client, database_url: str, superuser: Driver, rest: bytes, endpoint: str
) -> None:
    raw = request_for(endpoint, posted(POSTS) + ALIVE)
    async with AsyncExitStack() as stack:
        async with locked(database_url, "posts"):
            reader = await stack.enter_async_context(half_closed(client, raw + rest))
            await wait_for(superuser)
            await asyncio.sleep(LONGER_THAN_A_LOOK)
        assert await answers(reader, 2) == [NO_POSTS, *fine("a")]
        assert (await to_the_end(reader))[:12] == (b"HTTP/1.1 400" if rest.startswith(b"GET") else b"")


@pytest.mark.parametrize("raw", [b"", ALIVE[:30], ALIVE[:-5], ALIVE + ALIVE[:-5]], ids=range(4))
async def test_connection_without_a_complete_request_is_closed(client: Client, raw: bytes, endpoint: str) -> None:
    files = Path("/proc/self/fd")
    before = len(list(files.iterdir())) if files.exists() else 0
    for _ in range(20):
        async with half_closed(client, request_for(endpoint, raw) if raw else raw) as reader:
            if raw.startswith(ALIVE):
                assert await answers(reader, 1) == fine("a")
            assert await to_the_end(reader) == b""
    assert await is_alive(client)
    if before:

        async def are_closed() -> bool:
            return len(list(files.iterdir())) <= before + 2

        await until(are_closed, "the end of the connections")


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("query", [POSTS, LOOKUP], ids=["list", "lookup"])
async def test_query_that_takes_longer_is_cancelled_with_an_error(
    settings: Settings, database_url: str, superuser: Driver, query: str, endpoint: str
) -> None:
    async with served(settings, **PATIENT) as client:
        await client.run(query)
        async with locked(database_url, "posts"):
            async with opened(client, request_for(endpoint, posted(query))) as (reader, writer):
                await wait_for(superuser)
                writer.write_eof()
                assert await answers(reader, 1) == [(b"HTTP/1.1 499 ", {"errors": [LEFT]})]
                assert await to_the_end(reader) == b""
            await wait_for(superuser, 0)
            assert await is_alive(client)


@pytest.mark.usefixtures("short_grace")
async def test_mutation_that_takes_longer_is_answered(
    settings: Settings, database_url: str, superuser: Driver, sign_up: SignUp, endpoint: str
) -> None:
    ada = await sign_up("ada")
    async with served(settings, **PATIENT) as client, AsyncExitStack() as stack:
        async with locked(database_url, "posts"):
            raw = request_for(endpoint, posted(CREATE_POST, by=ada))
            reader, writer = await stack.enter_async_context(opened(client, raw))
            await wait_for(superuser)
            writer.write_eof()
            await asyncio.sleep(1)
        assert await answers(reader, 1) == [CREATED]
        assert await to_the_end(reader) == b""


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("resets", [False, True], ids=["closed", "reset"])
async def test_queries_of_disconnected_clients_end_and_others_are_served(
    settings: Settings, database_url: str, superuser: Driver, endpoint: str, *, resets: bool
) -> None:
    async with served(settings, **PATIENT) as client, locked(database_url, "posts"):
        async with AsyncExitStack() as stack:
            for size in range(1, 4):
                raw = request_for(endpoint, posted(POSTS.replace("posts", f"posts(first: {size})")))
                await stack.enter_async_context(sent(client, raw, resets=resets))
            await wait_for(superuser, 3)
        await wait_for(superuser, 0)
        assert await is_alive(client)


async def test_deadline_ends_an_operation_of_a_half_closed_connection(
    settings: Settings, database_url: str, endpoint: str
) -> None:
    limits = {**PATIENT, "operation_deadline_ms": 500}
    async with served(settings, **limits) as client, locked(database_url, "posts"):
        async with half_closed(client, request_for(endpoint, posted(POSTS))) as reader:
            [(status, _)] = await answers(reader, 1)
            assert await to_the_end(reader) == b""
        assert await is_alive(client)
    assert status == b"HTTP/1.1 503 Service Unavailable"


async def test_real_server_answers_half_closed_connections(
    database_url: str, superuser: Driver, tmp_path: Path
) -> None:
    # On the server's own event loop, whose streams have other classes.
    port, log = free_port(), tmp_path / "log"
    raw = ALIVE + posted(POSTS) + via_asgi(posted(POSTS)) + ALIVE
    async with forked("serve", cwd=tmp_path, port=port, log=log, FOLIO_DATABASE_URL=database_url):
        connections = []
        async with locked(database_url, "posts"):
            for _ in range(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(raw)
                writer.write_eof()
                connections.append((reader, writer))
            await wait_for(superuser)
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
            await asyncio.sleep(LONGER_THAN_A_LOOK)
        for reader, writer in connections:
            assert await answers(reader, 4) == [*fine("a"), NO_POSTS, NO_POSTS, *fine("a")]
            assert await to_the_end(reader) == b""
            writer.close()

        async def are_closed() -> bool:
            return not half_open_at(port)

        await until(are_closed, "the end of the connections")
    lines = [orjson.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [line for line in lines if line.get("level") in {"error", "critical"}] == []
    assert "Traceback" not in log.read_text()
