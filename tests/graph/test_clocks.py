"""Every connection is under a clock, whatever its client has sent, has not sent, or does not read."""

import asyncio
import contextlib
import socket

import pytest

from graph.http import protocol
from tests.graph.callers import Client
from tests.graph.edge import is_alive, posted
from tests.graph.raw import asked, request

INTROSPECTION = "{ __schema { types { name description fields { name description args { name description } } } } }"
BODY = "content-length: 100\r\n\r\n"

# Requests that are answered before their body is there, and which part of it comes.
ANSWERED_EARLY = {
    "a probe": (f"GET /livez HTTP/1.1\r\nhost: localhost\r\n{BODY}", b"200"),
    "404": (f"POST /nothing HTTP/1.1\r\nhost: localhost\r\n{BODY}", b"404"),
    "405": (f"PUT /graphql HTTP/1.1\r\nhost: localhost\r\n{BODY}", b"405"),
    "413": (
        "POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n",
        b"413",
    ),
    "415": (f"POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n{BODY}", b"415"),
}


@pytest.fixture
def short_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time run out soon. What lasts until the end of a test has no clock at all."""
    monkeypatch.setattr(protocol, "REST_S", 0.3)
    monkeypatch.setattr(protocol, "ANSWER_S", 0.3)


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the server ends the connection."""
    got = bytearray()
    async with asyncio.timeout(15):
        with contextlib.suppress(ConnectionResetError):
            while part := await reader.read(65_536):
                got += part
    return bytes(got)


@pytest.mark.usefixtures("short_clocks")
@pytest.mark.parametrize("pieces", [1, 1000], ids=["one byte", "byte after byte"])
@pytest.mark.parametrize("kind", ANSWERED_EARLY)
async def test_connection_ends_whose_request_is_answered_and_whose_body_never_comes(
    client: Client, kind: str, pieces: int
) -> None:
    head, status = ANSWERED_EARLY[kind]
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head.encode())
    async with asyncio.timeout(10):
        assert (await reader.readline()).split()[1] == status

    async def trickle() -> None:
        for _ in range(pieces):
            writer.write(b"x")
            await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    await to_the_end(reader)
    assert await is_alive(client)
    trickling.cancel()
    writer.close()


@pytest.mark.parametrize("kind", ["404", "405", "415"])
async def test_connection_is_kept_whose_body_comes_after_the_answer_and_closed_when_it_is_quiet(
    client: Client, kind: str
) -> None:
    head, status = ANSWERED_EARLY[kind]
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head.encode())
    async with asyncio.timeout(10):
        assert (await reader.readline()).split()[1] == status
    writer.write(b"x" * 99)
    await asyncio.sleep(0.05)
    writer.write(b"x" + posted("{ __typename }"))
    assert (await to_the_end(reader)).endswith(b'{"data":{"__typename":"Query"}}')
    writer.close()


async def test_connection_is_closed_when_it_is_quiet_after_the_rest_of_a_body(client: Client) -> None:
    head, _ = ANSWERED_EARLY["415"]
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head.encode())
    async with asyncio.timeout(10):
        await reader.readline()
    for part in (b"x" * 50, b"x" * 50):
        writer.write(part)
        await asyncio.sleep(0.05)
    await to_the_end(reader)
    writer.close()


async def deaf(client: Client, *, buffer: int = 4096) -> socket.socket:
    """Return a connection whose client takes as little as it can."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    one.setblocking(False)
    url = client.http.base_url
    await asyncio.get_running_loop().sock_connect(one, (url.host, url.port))
    return one


async def read_slowly(one: socket.socket) -> int:
    """Return how many bytes came until the server ended the connection."""
    got = 0
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionResetError):
            while part := await asyncio.get_running_loop().sock_recv(one, 1_000_000):
                got += len(part)
    return got


@pytest.mark.usefixtures("short_clocks")
@pytest.mark.parametrize("is_last", [False, True], ids=["kept alive", "to be closed"])
async def test_client_that_never_reads_its_answers_is_cut_off(client: Client, *, is_last: bool) -> None:
    one_answer = len((await client.http.post("/graphql", json={"query": INTROSPECTION})).content)
    number = 20_000_000 // one_answer
    lines = [request(asked(INTROSPECTION))] * (number - 1)
    lines.append(request(asked(INTROSPECTION), *(["connection: close"] if is_last else [])))
    one = await deaf(client)
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(3):
            await asyncio.get_running_loop().sock_sendall(one, b"".join(lines))
    await asyncio.sleep(1.5)
    assert await is_alive(client)
    assert await read_slowly(one) < 15_000_000
    one.close()


@pytest.mark.usefixtures("short_clocks")
async def test_client_that_reads_slowly_gets_all(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "ANSWER_S", 1.0)
    one_answer = len((await client.http.post("/graphql", json={"query": INTROSPECTION})).content)
    number = 8_000_000 // one_answer
    one = await deaf(client, buffer=65_536)
    loop = asyncio.get_running_loop()
    raw = request(asked(INTROSPECTION)) * (number - 1) + request(asked(INTROSPECTION), "connection: close")
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
