"""The proxy of the fault tests: each fault does to a connection what its name says."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from bench.soak.network_proxy import Proxy, proxied, proxied_database

LIMIT_S = 10
DARK_S = 0.1


@asynccontextmanager
async def echoing() -> AsyncIterator[Proxy]:
    """A proxy in front of an echo server."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(LIMIT_S), proxied(*server.sockets[0].getsockname()) as proxy:
            yield proxy
    finally:
        server.close()
        await server.wait_closed()


async def connected(proxy: Proxy, text: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection through the proxy and send `text` on it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(text)
    return reader, writer


async def is_silent(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(DARK_S):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def test_bytes_pass_in_both_directions_and_a_close_passes_too() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy, b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert (proxy.counts.bytes_to_server, proxy.counts.bytes_to_client) == (5, 5)
        writer.close()
        while proxy.open_connections:
            await asyncio.sleep(0)
        assert proxy.counts.accepted == 1


async def test_a_delay_is_taken_by_each_chunk_in_each_direction() -> None:
    async with echoing() as proxy:
        proxy.delay(0.05)
        started_at = time.monotonic()
        reader, _writer = await connected(proxy, b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert time.monotonic() - started_at >= 0.1


async def test_a_black_hole_swallows_bytes_and_a_connection_that_lost_some_stays_dark() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy, b"1")
        quiet_reader, quiet_writer = await connected(proxy, b"1")
        assert await reader.readexactly(1) == await quiet_reader.readexactly(1) == b"1"
        proxy.black_hole()
        writer.write(b"2")
        new_reader, _new_writer = await connected(proxy, b"3")
        assert await is_silent(reader)
        assert await is_silent(new_reader)
        proxy.pass_on()
        writer.write(b"4")
        quiet_writer.write(b"5")
        assert await quiet_reader.readexactly(1) == b"5"
        assert await is_silent(reader)


async def test_held_bytes_are_delivered_after_the_release() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy, b"1")
        assert await reader.readexactly(1) == b"1"
        proxy.hold()
        writer.write(b"2")
        new_reader, _new_writer = await connected(proxy, b"3")
        assert await is_silent(reader)
        assert await is_silent(new_reader)
        proxy.pass_on()
        assert await reader.readexactly(1) == b"2"
        assert await new_reader.readexactly(1) == b"3"


async def test_a_cut_resets_every_open_connection_and_new_ones_pass() -> None:
    async with echoing() as proxy:
        ends = [await connected(proxy, b"1") for _ in range(3)]
        for reader, _ in ends:
            await reader.readexactly(1)
        await proxy.cut()
        for reader, _ in ends:
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
        assert proxy.counts.cut == 3
        reader, _writer = await connected(proxy, b"2")
        assert await reader.readexactly(1) == b"2"


async def test_a_held_connection_can_be_cut() -> None:
    async with echoing() as proxy:
        proxy.hold()
        reader, _writer = await connected(proxy, b"1")
        while not proxy.open_connections:
            await asyncio.sleep(0)
        await proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


@pytest.mark.parametrize("passed", [0, 3])
async def test_a_connection_is_cut_after_so_many_bytes(passed: int) -> None:
    async with echoing() as proxy:
        proxy.cut_after(passed)
        reader, _writer = await connected(proxy, b"hello")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(5)
        assert proxy.counts.bytes_to_client == passed
        assert proxy.counts.bytes_to_server == 5
        reader, _writer = await connected(proxy, b"again")
        assert await reader.readexactly(5) == b"again"


async def test_a_refusal_affects_only_new_connections() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy, b"1")
        await reader.readexactly(1)
        proxy.refuse()
        writer.write(b"2")
        assert await reader.readexactly(1) == b"2"
        new_reader, _new_writer = await connected(proxy, b"3")
        with pytest.raises(ConnectionResetError):
            await new_reader.read(1)
        assert proxy.counts.refused == 1


async def test_a_server_that_is_gone_resets_the_client() -> None:
    async with asyncio.timeout(LIMIT_S), proxied("127.0.0.1", 1) as proxy:
        reader, _writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


async def test_a_commit_whose_answer_is_cut_has_happened(empty_database_url: str) -> None:
    url = empty_database_url.replace("+asyncpg", "")
    async with asyncio.timeout(LIMIT_S), proxied_database(url) as proxy:
        writing = await asyncpg.connect(proxy.url(url))
        await writing.execute("CREATE TABLE boxes (n int)")
        await writing.execute("BEGIN")
        await writing.execute("INSERT INTO boxes VALUES (1)")
        proxy.cut_after(0)
        with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
            await writing.execute("COMMIT")
        looking = await asyncpg.connect(url)
        try:
            assert await looking.fetchval("SELECT count(*) FROM boxes") == 1
        finally:
            await looking.close()


@pytest.mark.parametrize(("number", "received"), [(0, b""), (2, b"he")])
async def test_connection_is_cut_after_so_many_bytes_to_the_server(number: int, received: bytes) -> None:
    async with echoing() as proxy:
        proxy.cut_after(to_server=number)
        reader, _writer = await connected(proxy, b"hello")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(5)
        assert (proxy.counts.bytes_to_server, proxy.counts.cut) == (len(received), 1)
        again, _ = await connected(proxy, b"hello")
        assert await again.readexactly(5) == b"hello"


@pytest.mark.parametrize("answer", [False, True])
async def test_connection_is_cut_at_a_word_before_the_server_receives_it_or_before_its_answer(answer: bool) -> None:
    async with echoing() as proxy:
        proxy.cut_at(b"COMMIT", answer=answer)
        reader, writer = await connected(proxy, b"BEGIN")
        assert await reader.readexactly(5) == b"BEGIN"
        writer.write(b"COMMIT")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(6)
        assert (proxy.counts.bytes_to_server, proxy.counts.bytes_to_client) == (11 if answer else 5, 5)
        again, _ = await connected(proxy, b"COMMIT")
        assert await again.readexactly(6) == b"COMMIT"


async def test_planned_cuts_can_be_cancelled() -> None:
    async with echoing() as proxy:
        proxy.cut_at(b"h", answer=True)
        proxy.cut_after(0, to_server=0)
        proxy.black_hole()
        proxy.pass_through()
        reader, _writer = await connected(proxy, b"hello")
        assert await reader.readexactly(5) == b"hello"


async def test_slow_connection_delivers_everything_late() -> None:
    async with echoing() as proxy:
        proxy.slow(100)
        started_at = time.monotonic()
        reader, _writer = await connected(proxy, b"x" * 40)
        assert await reader.readexactly(40) == b"x" * 40
        assert time.monotonic() - started_at >= 0.25


async def test_half_open_connection_is_closed_for_one_end_and_silent_for_the_other() -> None:
    async with echoing() as proxy:
        reader, writer = await connected(proxy, b"1")
        assert await reader.readexactly(1) == b"1"
        await proxy.half_open(clients_stay=False)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        reader, writer = await connected(proxy, b"2")
        assert await reader.readexactly(1) == b"2"
        await proxy.half_open(clients_stay=True)
        writer.write(b"3")
        assert await is_silent(reader)
        assert proxy.open_connections == 2
        writer.close()
        while proxy.open_connections > 1:
            await asyncio.sleep(0)
        proxy.end_half_open()
        while proxy.open_connections:
            await asyncio.sleep(0)
