"""The total of unread response bytes is bounded: the address with the most loses its oldest connection."""

import asyncio
import socket

import pytest
from fastapi import FastAPI
from graphql import get_introspection_query

from graph.http.wire import protocol, write_watch
from graph.http.wire.unread import UnreadAnswers
from tests.graph.support.callers import Client
from tests.graph.support.raw import query_body, request
from tests.graph.support.served_app import is_alive, until

LARGE = request(query_body(get_introspection_query())) * 200
BYTES_MAX = 12_000_000


async def slow_reader(client: Client, address: str, sending: list[asyncio.Task[None]]) -> socket.socket:
    """Return a connection from an address that requests much data, and reads as little as possible."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.setblocking(False)
    one.bind((address, 0))
    url = client.http.base_url
    await asyncio.get_running_loop().sock_connect(one, (url.host, url.port))
    sending.append(asyncio.create_task(asyncio.get_running_loop().sock_sendall(one, LARGE)))
    return one


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The addresses of the clients whose connections are closed, in this order."""
    monkeypatch.setattr(write_watch, "ANSWER_S", 60.0)  # longer than the test, so that this timeout closes none
    ends: list[tuple[str, int]] = []
    original = protocol.BoundedHttpProtocol.cut_off

    def watched(self: protocol.BoundedHttpProtocol, left: int) -> None:
        assert self.client is not None
        ends.append(self.client)
        original(self, left)

    monkeypatch.setattr(protocol.BoundedHttpProtocol, "cut_off", watched)
    return ends


async def test_address_with_the_most_unread_bytes_loses_its_oldest_connections(
    app: FastAPI, client: Client, cut_off: list[tuple[str, int]]
) -> None:
    assert await is_alive(client)
    unread = UnreadAnswers(BYTES_MAX)
    vars(app)["connections"].unread = unread
    sending: list[asyncio.Task[None]] = []
    modest = await slow_reader(client, "127.0.0.3", sending)
    greedy = [await slow_reader(client, "127.0.0.2", sending) for _ in range(12)]

    async def most_are_cut_off() -> bool:
        assert unread.bytes <= BYTES_MAX
        return len(cut_off) >= 6

    await until(most_are_cut_off, "the end of the connections that have waited longest")
    assert set(cut_off) <= {one.getsockname() for one in greedy}
    assert await is_alive(client)
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    for one in (modest, *greedy):
        one.close()

    async def is_forgotten() -> bool:
        return unread.bytes == 0

    await until(is_forgotten, "the end of the count")
