"""What waits to be read by slow clients is bounded in all: whose most waits for loses the oldest connection."""

import asyncio
import contextlib
import socket

import pytest
from fastapi import FastAPI
from graphql import get_introspection_query

from graph.http import protocol
from graph.http.unread import UnreadAnswers
from tests.graph.callers import Client
from tests.graph.edge import is_alive, until
from tests.graph.raw import asked, request

LARGE = request(asked(get_introspection_query())) * 200
BYTES_MAX = 12_000_000


async def deaf(client: Client, address: str, sent: bytes) -> socket.socket:
    """Return a connection from an address that has asked, and takes as little as it can."""
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.setblocking(False)
    one.bind((address, 0))
    url = client.http.base_url
    await asyncio.get_running_loop().sock_connect(one, (url.host, url.port))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await asyncio.get_running_loop().sock_sendall(one, sent)
    return one


async def is_cut_off(one: socket.socket) -> bool:
    """Read what there is; say whether the connection was reset."""
    try:
        async with asyncio.timeout(0.5):
            while await asyncio.get_running_loop().sock_recv(one, 1_000_000):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


async def test_address_for_which_most_waits_loses_its_oldest_connections(
    app: FastAPI, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "ANSWER_S", 60.0)  # after which each would be cut off by itself
    assert await is_alive(client)
    unread = UnreadAnswers(BYTES_MAX)
    vars(app)["connections"].unread = unread
    modest = await deaf(client, "127.0.0.3", LARGE)
    greedy = []
    for _ in range(12):
        greedy.append(await deaf(client, "127.0.0.2", LARGE))
        assert unread.bytes <= BYTES_MAX

    async def first_is_cut_off() -> bool:
        return await is_cut_off(greedy[0])

    await until(first_is_cut_off, "the end of the connection that has waited longest")
    assert not await is_cut_off(modest)
    assert await is_alive(client)
    for one in (modest, *greedy):
        one.close()

    async def is_forgotten() -> bool:
        return unread.bytes == 0

    await until(is_forgotten, "the end of the count")
