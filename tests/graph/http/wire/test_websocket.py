"""The WebSocket connection byte by byte: handshakes, frames, closing, and clients that send what is not allowed."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from graph.http.wire import websocket
from tests.graph.support.callers import Client
from tests.graph.support.served_app import is_alive, opened, reset, sent, until
from tests.running.amounts import examples
from tests.running.repeating import Cases

KEY = base64.b64encode(os.urandom(16)).decode()
LIMIT_S = 20


def handshake(*lines: str, method: str = "GET", target: str = "/graphql", version: str = "1.1", **others: str) -> bytes:
    """Return a handshake. `others` has other values of its headers; an empty one leaves the header out."""
    headers = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "graphql-transport-ws",
    }
    headers |= {name.replace("_", "-"): value for name, value in others.items()}
    written = [f"{name}: {value}" for name, value in headers.items() if value]
    return "\r\n".join([f"{method} {target} HTTP/{version}", *written, *lines, "", ""]).encode()


class RawSocket:
    """A WebSocket whose bytes a test writes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        offered = [Subprotocol("graphql-transport-ws")]
        self.protocol = ClientProtocol(parse_uri("ws://localhost/graphql"), subprotocols=offered)
        self._events: list[object] = []

    async def open(self) -> None:
        """Open it."""
        self.protocol.send_request(self.protocol.connect())
        self.flush()
        assert isinstance(await self.event(), Response)

    def flush(self) -> None:
        """Send what waits."""
        for data in self.protocol.data_to_send():
            self.writer.write(data)

    async def event(self) -> object:
        """Return the next frame, or None at the end of the connection."""
        async with asyncio.timeout(LIMIT_S):
            while not self._events:
                data = await self.reader.read(65_536)
                if not data:
                    return None
                self.protocol.receive_data(data)
                self._events += self.protocol.events_received()
        return self._events.pop(0)

    def text(self, text: str) -> None:
        """Send a message."""
        self.protocol.send_text(text.encode())
        self.flush()

    async def close_code(self) -> int | None:
        """Wait for the close frame, and return its code; None if the connection was cut."""
        while (event := await self.event()) is not None:
            if isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                return self.protocol.close_rcvd.code if self.protocol.close_rcvd else None
        return None


@asynccontextmanager
async def raw(client: Client) -> AsyncIterator[RawSocket]:
    """Open a WebSocket."""
    async with opened(client, b"") as (reader, writer):
        one = RawSocket(reader, writer)
        await one.open()
        yield one


async def status(client: Client, request: bytes) -> bytes:
    """Send a handshake, and return the status of its response."""
    async with sent(client, request) as reader, asyncio.timeout(LIMIT_S):
        return (await reader.readline()).split()[1]


REFUSED = {
    "no key": (handshake(Sec_WebSocket_Key=""), b"400"),
    "a short key": (handshake(Sec_WebSocket_Key="YQ=="), b"400"),
    "another version": (handshake(Sec_WebSocket_Version="8"), b"400"),
    "a long protocol": (handshake(Sec_WebSocket_Protocol="x" * 9000), b"400"),
    "many headers": (handshake(*(f"x-{n}: 1" for n in range(300))), b"101"),
    "another path": (handshake(target="/livez"), b"404"),
    "large headers": (handshake("x-large: " + "x" * 17_000), b"431"),
    "no Connection": (handshake(Connection="keep-alive"), b"405"),  # so that it is a plain GET
    "HTTP/1.0": (handshake(version="1.0"), b"405"),
    "a POST": (handshake("content-length: 0", "content-type: application/json", method="POST"), b"400"),
    "no Host": (handshake(Host=""), b"400"),
    "two protocols": (handshake(Upgrade="websocket, h2c"), b"405"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_handshake_that_is_not_valid_is_refused(client: Client, kind: str) -> None:
    request, expected = REFUSED[kind]
    assert await status(client, request) == expected
    assert await is_alive(client)


async def test_handshake_in_parts_and_with_a_frame_behind_it_is_accepted(client: Client) -> None:
    async with opened(client, b"") as (reader, writer):
        one = RawSocket(reader, writer)
        one.protocol.send_request(one.protocol.connect())
        request = b"".join(one.protocol.data_to_send())
        frame = Frame(Opcode.TEXT, b'{"type": "ping"}').serialize(mask=True)
        for start in range(0, len(request), 50):
            writer.write(request[start : start + 50] + (frame if start + 50 >= len(request) else b""))
            await writer.drain()
            await asyncio.sleep(0.005)
        assert isinstance(await one.event(), Response)
        event = await one.event()
        assert isinstance(event, Frame)
        assert bytes(event.data) == b'{"type":"pong"}'


async def test_handshake_behind_a_request_on_one_connection_is_accepted(client: Client) -> None:
    plain = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"
    async with opened(client, plain) as (reader, writer), asyncio.timeout(LIMIT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r")[0]))
        writer.write(handshake())
        assert (await reader.readline()) == b"HTTP/1.1 101 Switching Protocols\r\n"


async def test_protocol_ping_is_answered(client: Client) -> None:
    async with raw(client) as one:
        one.protocol.send_ping(b"abc")
        one.flush()
        event = await one.event()
        assert isinstance(event, Frame)
        assert (event.opcode, bytes(event.data)) == (Opcode.PONG, b"abc")


async def test_message_in_fragments_with_a_ping_between_is_one_message(client: Client) -> None:
    async with raw(client) as one:
        one.protocol.send_text(b'{"type": ', fin=False)
        one.protocol.send_ping(b"x")
        one.protocol.send_continuation(b'"ping"}', fin=True)
        one.flush()
        opcodes = [event.opcode for event in (await one.event(), await one.event()) if isinstance(event, Frame)]
        assert opcodes == [Opcode.PONG, Opcode.TEXT]


BROKEN = {
    "an unmasked frame": (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
    "a reserved bit": (b"\xc1\x80\x00\x00\x00\x00", 1002),
    "an unknown opcode": (b"\x83\x80\x00\x00\x00\x00", 1002),
    "a long ping": (b"\x89\xfe\x00\x80" + bytes(4 + 128), 1002),
    "a continuation of nothing": (Frame(Opcode.CONT, b"{}").serialize(mask=True), 1002),
    "bytes that are not UTF-8": (Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True), 1007),
    "a length of 2^60": (b"\x81\xff\x10" + bytes(7) + bytes(4), 1009),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_frame_that_is_not_allowed_closes_the_socket(client: Client, kind: str) -> None:
    data, code = BROKEN[kind]
    async with raw(client) as one:
        one.writer.write(data)
        assert await one.close_code() == code
    assert await is_alive(client)


async def test_client_that_does_not_confirm_a_close_is_cut_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_S", 0.1)
    async with raw(client) as one:
        one.text("no JSON")
        assert await one.close_code() == 4400
        async with asyncio.timeout(LIMIT_S):
            assert await one.reader.read() == b""


@pytest.mark.parametrize("ends", ["closes", "resets"])
async def test_random_bytes_leave_nothing(app: FastAPI, client: Client, cases: Cases, ends: str) -> None:
    messages = ["{}", '{"type": "connection_init"}', '{"type": "ping"}', '{"type": "complete", "id": "1"}']
    for _, random in cases.numbered(examples(100)):
        async with opened(client, b"") as (reader, writer):
            one = RawSocket(reader, writer)
            await one.open()
            for _ in range(random.randint(0, 4)):
                data = Frame(Opcode.TEXT, random.choice(messages).encode()).serialize(mask=True)
                if random.random() < 0.3:
                    data = random.randbytes(random.randint(1, 300))
                if random.random() < 0.3:
                    data = data[: random.randint(0, len(data))]
                writer.write(data)
            if ends == "resets":
                reset(writer)

    async def is_over() -> bool:
        return int(app.state.live.sockets) == 0

    await until(is_over, "the end of the sockets")
    assert await is_alive(client)
