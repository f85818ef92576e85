"""Endless heads and trailers, from clients that take unlimited time."""

import asyncio
import contextlib

import pytest

from graph.http.wire.protocol import HEAD_BYTES_MAX
from tests.graph.support.callers import Client
from tests.graph.support.served_app import block_process, is_alive, posted, sent

TOO_LARGE = (
    b'{"errors":[{"message":"the headers have more than 65536 bytes","extensions":{"code":"HEADERS_TOO_LARGE"}}]}'
)
ENDLESS = {
    "one header": (b"POST /graphql HTTP/1.1\r\nx-large: ", b"x" * 8192),
    "the name of a header": (b"POST /graphql HTTP/1.1\r\n", b"x" * 8192),
    "many headers": (b"POST /graphql HTTP/1.1\r\n", b"x-large: y\r\n" * 500),
    "the target": (b"GET /graphql?query=", b"x" * 8192),
}


async def flood(client: Client, start: bytes, more: bytes, *, pieces: int) -> tuple[int, bytes]:
    """Send `start`, then `more` until the server stops reading; return the number of bytes sent, and the response."""
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    written = len(start)
    try:
        writer.write(start)
        with contextlib.suppress(ConnectionError):
            for _ in range(pieces):
                writer.write(more)
                written += len(more)
                await writer.drain()
                await asyncio.sleep(0.002)
        async with asyncio.timeout(10):
            return written, await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("kind", ENDLESS)
async def test_head_without_an_end_is_refused(client: Client, kind: str) -> None:
    start, more = ENDLESS[kind]
    _, answer = await flood(client, start, more, pieces=HEAD_BYTES_MAX // len(more) + 5)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 431 Request Header Fields Too Large", TOO_LARGE)
    assert b"connection: close" in head
    assert await is_alive(client)


async def test_trailers_without_an_end_close_the_connection(client: Client) -> None:
    start = (
        b"POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-trailer: "
    )
    _, answer = await flood(client, start, b"x" * 8192, pieces=20)
    assert answer == b""
    assert await is_alive(client)


@pytest.mark.parametrize("start", [b"", b"POST /graphql HTTP/1.1\r\nhost: local"])
async def test_head_that_does_not_arrive_in_time_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr("graph.http.wire.protocol.HEAD_S", 0.2)
    async with sent(client, start) as reader, asyncio.timeout(10):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert answer.endswith(
        b'{"errors":[{"message":"the headers took longer than 0.2 s to arrive",'
        b'"extensions":{"code":"REQUEST_TIMEOUT"}}]}'
    )


async def test_head_has_its_full_time_after_a_pause_of_the_process(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.http.wire.protocol.HEAD_S", 0.3)
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    message = posted("{ __typename }")
    writer.write(message[:8])
    await asyncio.sleep(0.05)
    block_process(0.6)
    await asyncio.sleep(0.05)  # the server's timeout is due before the client runs
    writer.write(message[8:])
    async with asyncio.timeout(10):
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_process_that_is_always_late_extends_the_time_of_a_head_only_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.http.wire.protocol.HEAD_S", 0.2)

    async def block_repeatedly() -> None:
        while True:
            await asyncio.sleep(0.05)
            block_process(0.5)

    late = asyncio.create_task(block_repeatedly())
    try:
        async with sent(client, b"POST /graphql") as reader, asyncio.timeout(10):
            assert (await reader.readline()) == b"HTTP/1.1 408 Request Timeout\r\n"
    finally:
        late.cancel()


async def test_head_that_arrives_in_pieces_does_not_extend_its_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graph.http.wire.protocol.HEAD_S", 0.3)
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for byte in posted("{ __typename }")[:8]:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.1)
    assert (await reader.readline()) == b"HTTP/1.1 408 Request Timeout\r\n"
    writer.close()


async def test_timeout_ends_when_a_head_is_complete(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.http.wire.protocol.HEAD_S", 0.2)
    async with client.http.stream("GET", "/livez") as first:
        await first.aread()
    await asyncio.sleep(0.5)
    # On the same connection, which is kept alive.
    async with client.http.stream("GET", "/livez") as second:
        await second.aread()
        assert second.extensions["network_stream"] is first.extensions["network_stream"]
    assert (first.status_code, second.status_code) == (200, 200)


async def test_large_bodies_and_pipelined_requests_are_read_as_before(client: Client) -> None:
    document = "{ __typename }" + " " * 200_000
    async with sent(client, posted(document) + posted("{ __typename }")) as reader, asyncio.timeout(10):
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert await reader.readexactly(31) == b'{"data":{"__typename":"Query"}}'


async def test_bytes_that_are_no_http_are_refused_in_the_usual_format(client: Client) -> None:
    async with sent(client, b"what is this\r\n\r\n") as reader, asyncio.timeout(10):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json; charset=utf-8\r\n")
    assert body == (
        b'{"errors":[{"message":"the received bytes are not an HTTP/1.1 request","extensions":{"code":"BAD_REQUEST"}}]}'
    )
