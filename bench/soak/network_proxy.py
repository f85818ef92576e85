"""A TCP proxy between a client and a server that simulates faults of the network.

The mode can be switched at any time, and applies to open and to new connections. The proxy owns one task for each
connection. When the block of `proxied` ends, all tasks have ended and all connections are closed.
"""

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

_CHUNK_BYTES = 65_536
_PIECES_PER_S = 10
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with zero seconds: the kernel sends RST instead of FIN


class Mode(enum.Enum):
    """What the proxy does with bytes and connections that arrive."""

    PASS = "pass"  # noqa: S105 - no password
    DELAY = "delay"
    SLOW = "slow"
    HOLD = "hold"
    BLACK_HOLE = "black hole"
    REFUSE = "refuse"


@dataclass
class Counts:
    """Counts of a proxy so far: connections, and bytes forwarded in each direction."""

    accepted: int = 0
    refused: int = 0
    cut: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0


@dataclass(eq=False)
class Connection:
    """A connection of a client, with its connection to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    # A black hole has dropped bytes of it. Later bytes would make no sense to either end, and are dropped too.
    is_lost: bool = False
    # One end is gone, and the other end has not been notified.
    is_half_open: bool = False
    # The next bytes of the server are not forwarded: the connection is cut instead.
    is_cut_at_answer: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def reset(self) -> None:
        """Close both sides by RST."""
        for writer in (self.client, self.server):
            if writer is not None:
                _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    writer.transport.abort()


class Proxy:
    """A proxy of one server; `proxied` makes one.

    Attributes:
        port: the port on 127.0.0.1 if it listens.
        counts: the counts so far.
    """

    def __init__(self, host: str, port: int) -> None:
        """Forward to `host` and `port` after `start` is called."""
        self.port = 0
        self.counts = Counts()
        self._target = (host, port)
        self._mode = Mode.PASS
        self._delay_s = 0.0
        self._bytes_per_s = 0
        # The bytes to the server (False) or to clients (True) that are left before a connection is cut.
        self._bytes_until_cut: dict[bool, int] = {}
        self._cut_at: tuple[bytes, bool] | None = None
        self._flows = asyncio.Event()  # cleared while nothing is forwarded: neither bytes nor the end of a connection
        self._flows.set()
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None

    @property
    def mode(self) -> Mode:
        """The current mode."""
        return self._mode

    @property
    def open_connections(self) -> int:
        """The number of open client connections."""
        return len(self._connections)

    def url(self, database_url: str) -> str:
        """Return the URL of the same database and role, through this proxy. It speaks no TLS."""
        parts = urlsplit(database_url)
        option = "ssl" if "+asyncpg" in parts.scheme else "sslmode"
        user = parts.netloc.rpartition("@")[0]
        return f"{parts.scheme}://{user}@127.0.0.1:{self.port}{parts.path}?{option}=disable"

    # ------------------------------------------------------------ modes

    def pass_on(self) -> None:
        """Forward everything at once. Held bytes are forwarded; bytes that a black hole has dropped are lost."""
        self._switch(Mode.PASS)

    def delay(self, seconds: float) -> None:
        """Forward every chunk of bytes after a delay of `seconds`, in both directions."""
        self._delay_s = seconds
        self._switch(Mode.DELAY)

    def slow(self, bytes_per_s: int) -> None:
        """Forward at most `bytes_per_s` for each connection and direction, in ten pieces per second."""
        self._bytes_per_s = bytes_per_s
        self._switch(Mode.SLOW)

    def hold(self) -> None:
        """Hold all bytes, and forward them after the mode is switched, like a network that recovers."""
        self._switch(Mode.HOLD)

    def black_hole(self) -> None:
        """Accept connections and bytes, and drop them: nothing is forwarded in either direction, neither FIN nor RST.

        A connection that has lost bytes forwards nothing in other modes either, until one of its ends closes it.
        """
        self._switch(Mode.BLACK_HOLE)

    def refuse(self) -> None:
        """Close new connections when they are accepted. Open connections continue."""
        self._switch(Mode.REFUSE)

    def cut_after(self, to_client: int | None = None, *, to_server: int | None = None) -> None:
        """Cut one connection by RST after this many more bytes in one direction, counted over all connections.

        With 0 bytes to clients, the connection on which the server sends next is cut, and its client receives nothing.
        With 0 bytes to the server, the connection on which a client sends next is cut. The mode does not change.
        """
        given = {True: to_client, False: to_server}
        self._bytes_until_cut = {way: number for way, number in given.items() if number is not None}

    def cut_at(self, word: bytes, *, answer: bool) -> None:
        """Cut the connection by RST on which a client next sends `word` within one chunk of bytes.

        Args:
            word: bytes that a client sends, such as `COMMIT`.
            answer: whether the server receives the word and only its response is lost; otherwise the word is lost.
        """
        self._cut_at = (word, answer)

    def pass_through(self) -> None:
        """Cancel all planned cuts, and forward everything at once."""
        self._bytes_until_cut, self._cut_at = {}, None
        self.pass_on()

    async def cut(self) -> None:
        """Abort all open connections by RST on both sides, and return when they are closed."""
        victims = list(self._connections)
        self.counts.cut += len(victims)
        await self._reset(victims)

    async def half_open(self, *, clients_stay: bool) -> None:
        """Reset all open connections on one side only, as if its machine had crashed: the other side gets no notice.

        Bytes that the other side sends from then on are dropped, until it closes the connection.
        """
        victims = [one for one in self._connections if one.server is not None and not one.is_half_open]
        self.counts.cut += len(victims)
        for one in victims:
            one.is_lost = one.is_half_open = True
            gone = one.server if clients_stay else one.client
            if gone is not None:
                _reset(gone)

    def end_half_open(self) -> None:
        """Reset half-open connections on the remaining side. TCP keepalive would do so only after two hours."""
        for one in self._connections:
            if one.is_half_open:
                one.reset()

    def _switch(self, mode: Mode) -> None:
        self._mode = mode
        if mode in {Mode.HOLD, Mode.BLACK_HOLE}:
            self._flows.clear()
        else:
            self._flows.set()

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Listen on a free port."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and reset all open connections."""
        assert self._listener is not None
        self._listener.close()
        await self._reset(list(self._connections))
        await self._listener.wait_closed()

    async def _reset(self, victims: list[Connection]) -> None:
        tasks = [one.task for one in victims if one.task is not None]
        for one in victims:
            one.reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.accepted += 1
        connection = Connection(writer)
        if self._mode is Mode.REFUSE:
            self.counts.refused += 1
            connection.reset()
            return
        self._connections.add(connection)
        connection.task = asyncio.create_task(self._serve(connection, reader))

    async def _serve(self, connection: Connection, from_client: asyncio.StreamReader) -> None:
        try:
            if self._mode is Mode.BLACK_HOLE:
                await self._swallow_all(from_client)
                return
            await self._flows.wait()
            from_server, connection.server = await self._dial()
            pumps = [
                asyncio.create_task(self._pump(connection, from_client, connection.server, to_client=False)),
                asyncio.create_task(self._pump(connection, from_server, connection.client, to_client=True)),
            ]
            try:
                # When one direction ends, both end: neither PostgreSQL nor these HTTP clients half-close connections.
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                if connection.is_half_open:
                    await asyncio.wait(pumps)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            connection.reset()  # the server cannot be reached
        finally:
            self._connections.discard(connection)
            for writer in (connection.client, connection.server):
                if writer is not None:
                    writer.close()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._target
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _swallow_all(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(_CHUNK_BYTES):
                pass

    # ------------------------------------------------------------ bytes

    async def _pump(
        self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if not await self._forward(connection, writer, data, to_client=to_client):
                    return
        await self._flows.wait()

    async def _forward(
        self, connection: Connection, writer: asyncio.StreamWriter, data: bytes, *, to_client: bool
    ) -> bool:
        """Handle `data` according to the mode; return whether the connection continues."""
        if self._mode is Mode.DELAY:
            await asyncio.sleep(self._delay_s)
        if self._mode is Mode.HOLD:
            await self._flows.wait()
        if self._mode is Mode.BLACK_HOLE:
            connection.is_lost = True
        if connection.is_lost:
            return True
        kept, is_cut = self._kept(connection, data, to_client=to_client)
        if self._mode is Mode.SLOW:
            await self._write_slowly(writer, kept)
        else:
            writer.write(kept)
        self._count(len(kept), to_client=to_client)
        if is_cut:
            self.counts.cut += 1
            connection.reset()
            return False
        await writer.drain()
        return True

    def _kept(self, connection: Connection, data: bytes, *, to_client: bool) -> tuple[bytes, bool]:
        """Return the part of `data` to forward, and whether the connection is cut after it."""
        if to_client and connection.is_cut_at_answer:
            return b"", True
        if not to_client and self._cut_at is not None and self._cut_at[0] in data:
            connection.is_cut_at_answer, self._cut_at = self._cut_at[1], None
            if not connection.is_cut_at_answer:
                return b"", True
        left = self._bytes_until_cut.get(to_client)
        if left is None:
            return data, False
        if len(data) >= left:
            del self._bytes_until_cut[to_client]
            return data[:left], True
        self._bytes_until_cut[to_client] = left - len(data)
        return data, False

    async def _write_slowly(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = max(1, self._bytes_per_s // _PIECES_PER_S)
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            if self._mode is Mode.SLOW:
                await asyncio.sleep(1 / _PIECES_PER_S)

    def _count(self, amount: int, *, to_client: bool) -> None:
        if to_client:
            self.counts.bytes_to_client += amount
        else:
            self.counts.bytes_to_server += amount


@asynccontextmanager
async def proxied(host: str, port: int) -> AsyncIterator[Proxy]:
    """Proxy a server while the block runs.

    Args:
        host: its address, or the directory of its Unix socket, as for PostgreSQL's clients.
        port: its port.
    """
    proxy = Proxy(host, port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()


@asynccontextmanager
async def proxied_database(database_url: str) -> AsyncIterator[Proxy]:
    """Proxy the PostgreSQL server of `database_url`. The proxy's `url` method returns the URL through the proxy."""
    parts = urlsplit(database_url)
    options = parse_qs(parts.query)
    host = options["host"][0] if "host" in options else parts.hostname or "127.0.0.1"
    port = int(options["port"][0]) if "port" in options else parts.port or 5432
    async with proxied(host, port) as proxy:
        yield proxy
