"""Every connection has a timeout, whatever its client has sent, has not sent, or does not read."""

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import httpx
import pytest

from db.connections.leases import Driver
from graph.http.direct import DirectHttpProtocol
from graph.http.wire import protocol, write_watch
from tests.graph.cli.test_serving import free_port
from tests.graph.support.callers import Client
from tests.graph.support.forked import forked
from tests.graph.support.raw import query_body, request, via_asgi
from tests.graph.support.served_app import is_alive, locked, posted, reset, until, waiting

INTROSPECTION = "{ __schema { types { name description fields { name description args { name description } } } } }"
BODY = "content-length: 100\r\n\r\n"

# Requests that are answered before their body is complete, and the part of the body that is sent.
ANSWERED_EARLY = {
    "a probe": (f"GET /livez HTTP/1.1\r\nhost: localhost\r\n{BODY}", b"200"),
    "404": (f"POST /nothing HTTP/1.1\r\nhost: localhost\r\n{BODY}", b"404"),
    "405": (f"PATCH /graphql HTTP/1.1\r\nhost: localhost\r\n{BODY}", b"405"),
    "413": (
        "POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n",
        b"413",
    ),
    "415": (f"POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n{BODY}", b"415"),
}


@pytest.fixture
def short_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten all timeouts. A connection that stays open until the end of a test has no timeout at all."""
    monkeypatch.setattr(protocol, "REST_S", 0.3)
    monkeypatch.setattr(write_watch, "ANSWER_S", 0.3)


async def answered_early(client: Client, kind: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection whose request is answered although its body of 100 bytes is still missing."""
    head, status = ANSWERED_EARLY[kind]
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head.encode())
    async with asyncio.timeout(10):
        assert (await reader.readline()).split()[1] == status
    return reader, writer


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    """Return all bytes until the server closes the connection."""
    got = bytearray()
    async with asyncio.timeout(15):
        with contextlib.suppress(ConnectionResetError):
            while part := await reader.read(65_536):
                got += part
    return bytes(got)


@pytest.mark.usefixtures("short_clocks")
@pytest.mark.parametrize("pieces", [1, 1000], ids=["one byte", "byte after byte"])
@pytest.mark.parametrize("kind", ANSWERED_EARLY)
async def test_connection_whose_request_is_answered_and_whose_body_never_arrives_is_closed(
    client: Client, kind: str, pieces: int
) -> None:
    reader, writer = await answered_early(client, kind)

    async def send_slowly() -> None:
        for _ in range(pieces):
            writer.write(b"x")
            await asyncio.sleep(0.05)

    trickling = asyncio.create_task(send_slowly())
    await to_the_end(reader)
    assert await is_alive(client)
    trickling.cancel()
    writer.close()


@pytest.fixture
def short_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the idle time of connections to a second."""
    monkeypatch.setattr(
        DirectHttpProtocol, "timeout_keep_alive", property(lambda _: 1.0, lambda *_: None), raising=False
    )


@pytest.mark.usefixtures("short_idle_time")
@pytest.mark.parametrize("kind", ["404", "405", "415"])
async def test_connection_whose_body_arrives_after_the_answer_is_kept_and_closed_when_idle(
    client: Client, kind: str
) -> None:
    reader, writer = await answered_early(client, kind)
    writer.write(b"x" * 99)
    await asyncio.sleep(0.05)
    writer.write(b"x" + posted("{ __typename }"))
    assert (await to_the_end(reader)).endswith(b'{"data":{"__typename":"Query"}}')
    writer.close()


@pytest.mark.usefixtures("short_idle_time")
async def test_connection_is_closed_when_it_is_idle_after_the_rest_of_a_body(client: Client) -> None:
    reader, writer = await answered_early(client, "415")
    for part in (b"x" * 50, b"x" * 50):
        writer.write(part)
        await asyncio.sleep(0.05)
    await to_the_end(reader)
    writer.close()


async def slow_reader(client: Client, *, buffer: int = 4096) -> socket.socket:
    """Return a connection whose client reads as little as possible."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    one.setblocking(False)
    url = client.http.base_url
    await asyncio.get_running_loop().sock_connect(one, (url.host, url.port))
    return one


async def read_slowly(one: socket.socket) -> int:
    """Return how many bytes arrived until the server closed the connection."""
    got = 0
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionResetError):
            while part := await asyncio.get_running_loop().sock_recv(one, 1_000_000):
                got += len(part)
    return got


@pytest.mark.usefixtures("short_clocks")
@pytest.mark.parametrize("is_last", [False, True], ids=["kept alive", "to be closed"])
async def test_connection_of_a_client_that_never_reads_is_closed(client: Client, *, is_last: bool) -> None:
    one_answer = len((await client.http.post("/graphql", json={"query": INTROSPECTION})).content)
    number = 20_000_000 // one_answer
    lines = [request(query_body(INTROSPECTION))] * (number - 1)
    lines.append(request(query_body(INTROSPECTION), *(["connection: close"] if is_last else [])))
    one = await slow_reader(client)
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(3):
            await asyncio.get_running_loop().sock_sendall(one, b"".join(lines))
    await asyncio.sleep(1.5)
    assert await is_alive(client)
    assert await read_slowly(one) < 15_000_000
    one.close()


@pytest.mark.long("seconds of a blocked process")
async def test_connection_of_a_client_that_never_reads_is_closed_by_a_server_that_is_always_late(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_watch, "ANSWER_S", 1.85)
    one_answer = len((await client.http.post("/graphql", json={"query": INTROSPECTION})).content)
    one = await slow_reader(client)
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(1):
            requests = request(query_body(INTROSPECTION)) * (20_000_000 // one_answer)
            await asyncio.get_running_loop().sock_sendall(one, requests)
    for _ in range(28):  # each timer is due while the loop is blocked, and is 0.2 s late
        time.sleep(0.25)  # noqa: ASYNC251 - blocks on purpose
        await asyncio.sleep(0.005)
    assert await read_slowly(one) < 15_000_000
    one.close()


@pytest.mark.usefixtures("short_clocks")
async def test_client_that_reads_slowly_gets_the_whole_answer(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_watch, "ANSWER_S", 1.0)
    one_answer = len((await client.http.post("/graphql", json={"query": INTROSPECTION})).content)
    number = 8_000_000 // one_answer
    one = await slow_reader(client, buffer=65_536)
    loop = asyncio.get_running_loop()
    raw = request(query_body(INTROSPECTION)) * (number - 1) + request(query_body(INTROSPECTION), "connection: close")
    sending = asyncio.create_task(loop.sock_sendall(one, raw))
    got = 0
    async with asyncio.timeout(60):
        while part := await loop.sock_recv(one, 200_000):
            got += len(part)
            if got < 2_000_000:
                await asyncio.sleep(0.01)
    await sending
    assert got > number * one_answer
    one.close()


async def test_client_that_resets_its_connection_leaves_no_traceback(database_url: str, tmp_path: Path) -> None:
    # On the server's own event loop: asyncio's silently ignores a write to a lost connection.
    port, log = free_port(), tmp_path / "log"
    raw = request(query_body(INTROSPECTION)) * 200
    async with forked("serve", cwd=tmp_path, port=port, log=log, FOLIO_DATABASE_URL=database_url):
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(raw)
            await reader.read(10_000)
            reset(writer)
            writer.transport.abort()
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    assert "Traceback" not in log.read_text()


async def test_pipelined_requests_whose_client_resets_the_connection_leave_no_traceback(
    database_url: str, superuser: Driver, tmp_path: Path
) -> None:
    async def waits() -> bool:
        return await waiting(superuser) == 1

    async def is_over() -> bool:
        return await waiting(superuser) == 0

    port, log = free_port(), tmp_path / "log"
    query = posted("{ posts { nodes { id } } }")
    async with forked("serve", cwd=tmp_path, port=port, log=log, FOLIO_DATABASE_URL=database_url):
        for raw in (via_asgi(query) * 20, query * 20, (query + via_asgi(query)) * 10):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            async with locked(database_url, "posts"):
                writer.write(raw)
                await until(waits, "the wait of the first query")
                reset(writer)
                writer.transport.abort()
                await asyncio.sleep(0.1)
            await until(is_over, "the end of the queries")
            async with httpx.AsyncClient() as http:
                answer = await http.get(f"http://127.0.0.1:{port}/readyz")
            assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    assert "Traceback" not in log.read_text()
