"""Offers to upgrade the connection are ignored (RFC 9110, section 7.8): this request and the next one are answered.

Only a GET that is the handshake of a WebSocket is accepted: `tests/graph/http/wire/test_websocket.py`.
"""

import asyncio
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.http.wire.parser import RequestParser
from graph.http.wire.protocol import HEAD_BYTES_MAX
from tests.graph.support.callers import Client
from tests.graph.support.raw import ASGI_HEADER, query_body
from tests.graph.support.served_app import sent

# Real offers on the wire: the JDK's HttpClient, curl --http2, a WebSocket handshake sent as POST by mistake, others.
OFFERS = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAA"),
    "websocket": (
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==",
        "Sec-WebSocket-Version: 13",
    ),
    "an unknown one": ("connection: upgrade", "upgrade: TLS/1.0"),
    "several": ("Connection: Upgrade", "Upgrade: h2c, websocket, HTTP/3.0"),
    "several lines": ("Connection: Upgrade", "Upgrade: h2c", "Connection: keep-alive", "Upgrade: websocket"),
    "none that it names": ("Connection: Upgrade", "Upgrade:"),
    "one without Connection": ("Upgrade: h2c",),
}
BODIES = ("declared", "chunked")
ENDPOINTS = ("direct", "asgi")


def offering(name: str, offer: tuple[str, ...], body: str = "declared", endpoint: str = "direct") -> bytes:
    """Return a POST for `{ name: __typename }` that offers to upgrade."""
    content = query_body(f"{{ {name}: __typename }}")
    lines = ["POST /graphql HTTP/1.1", "host: localhost", *offer, "content-type: application/json"]
    if body == "chunked":
        lines.append("transfer-encoding: chunked")
        content = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (content[:9], content[9:])) + b"0\r\n\r\n"
    else:
        lines.append(f"content-length: {len(content)}")
    head = "\r\n".join([*lines, ""]) + (ASGI_HEADER if endpoint == "asgi" else "") + "\r\n"
    return head.encode() + content


async def answers(reader: asyncio.StreamReader, number: int) -> list[tuple[bytes, object]]:
    """Read `number` responses, and return the status line and the content of each."""
    found: list[tuple[bytes, object]] = []
    async with asyncio.timeout(10):
        for _ in range(number):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
            found.append((head.split(b"\r\n")[0], orjson.loads(await reader.readexactly(length))))
    return found


def fine(*names: str) -> list[tuple[bytes, object]]:
    """Return the responses to requests with these names."""
    return [(b"HTTP/1.1 200 OK", {"data": {name: "Query"}}) for name in names]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", OFFERS)
async def test_post_that_offers_an_upgrade_and_the_next_request_are_answered(
    client: Client, kind: str, body: str, endpoint: str
) -> None:
    first, plain = offering("a", OFFERS[kind], body, endpoint), offering("b", (), body, endpoint)
    async with sent(client, first + first + plain + first) as reader:
        assert await answers(reader, 4) == fine("a", "a", "b", "a")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("body", BODIES)
async def test_connection_whose_offer_was_ignored_is_kept(client: Client, body: str, endpoint: str) -> None:
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for name in "abcd":  # clients either offer with each request, or only with the first
        writer.write(offering(name, OFFERS["h2c"] if name != "c" else (), body, endpoint))
        assert await answers(reader, 1) == fine(name)
    writer.close()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("body", BODIES)
async def test_post_that_offers_an_upgrade_may_arrive_in_parts(client: Client, body: str, endpoint: str) -> None:
    url = client.http.base_url
    raw = offering("a", OFFERS["h2c"], body, endpoint) + offering("b", ())
    cuts = [
        0,
        10,
        raw.index(b"h2c") + 1,
        raw.index(b"\r\n\r\n") + 2,
        raw.index(b"\r\n\r\n") + 4,
        len(raw) - 60,
        len(raw),
    ]
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for start, stop in pairwise(cuts):
        writer.write(raw[start:stop])
        await writer.drain()
        await asyncio.sleep(0.02)
    assert await answers(reader, 2) == fine("a", "b")
    writer.close()


@pytest.mark.parametrize("kind", [kind for kind in OFFERS if kind != "websocket"])
async def test_get_that_offers_an_upgrade_is_answered(client: Client, kind: str) -> None:
    lines = ["GET /graphql?query={a:__typename} HTTP/1.1", "host: localhost", "accept: application/json", *OFFERS[kind]]
    async with sent(client, "\r\n".join([*lines, "", ""]).encode() + offering("b", ())) as reader:
        assert await answers(reader, 2) == fine("a", "b")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("body", BODIES)
async def test_connection_close_is_obeyed_after_a_request_that_offers_an_upgrade(
    client: Client, body: str, endpoint: str
) -> None:
    raw = offering("a", ("Connection: Upgrade, close", "Upgrade: h2c"), body, endpoint)
    older = offering("a", OFFERS["h2c"], endpoint=endpoint).replace(b"HTTP/1.1", b"HTTP/1.0")
    for one in (raw, older):
        async with sent(client, one) as reader:
            assert await answers(reader, 1) == fine("a")
            assert await reader.read() == b""


async def test_each_of_many_offers_that_arrive_at_once_is_answered(client: Client) -> None:
    number = 3000  # more than Python's recursion limit
    async with sent(client, offering("a", OFFERS["an unknown one"]) * number) as reader:
        assert await answers(reader, number) == fine("a") * number


async def test_head_that_offers_an_upgrade_without_an_end_is_refused(client: Client) -> None:
    raw = b"POST /graphql HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\nx-large: " + b"x" * (HEAD_BYTES_MAX + 1)
    async with sent(client, raw) as reader, asyncio.timeout(10):
        assert (await reader.readline()) == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_trailers_are_no_headers(client: Client, endpoint: str) -> None:
    raw = offering("a", (), "chunked", endpoint)
    trailers = b"authorization: Bearer nonsense\r\naccept: text/csv\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    async with sent(client, raw[:-2] + trailers + b"\r\n" + offering("b", ())) as reader:
        assert await answers(reader, 2) == fine("a", "b")


# ---------------------------------------------------------------- the parser alone


class Reading:
    """Reads requests like the protocol does, and records them."""

    is_handshake = False  # in this test no WebSocket is accepted

    def on_handshake(self, rest: bytes) -> None:
        raise AssertionError

    def __init__(self) -> None:
        self.parser = RequestParser(self)
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.started = 0
        self.read: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]] = []

    def begin_again(self) -> None:
        self.started -= 1

    def on_message_begin(self) -> None:
        self.started += 1
        self.url, self.headers, self.body = b"", [], b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        assert not self.parser.is_offer
        self.body += body

    def on_message_complete(self) -> None:
        if not self.parser.is_offer:
            kept = [line for line in self.headers if line[0] != b"upgrade"]
            self.read.append((self.parser.get_method(), self.url, kept, self.body))


def read(raw: bytes, cuts: list[int]) -> Reading:
    reading = Reading()
    for start, stop in pairwise([0, *sorted(cut % len(raw) for cut in cuts), len(raw)]):
        reading.parser.feed_data(raw[start:stop])
    return reading


@given(
    requests=st.lists(
        st.tuples(st.sampled_from(list(OFFERS)), st.sampled_from(BODIES), st.sampled_from("abc")),
        min_size=1,
        max_size=4,
    ),
    cuts=st.lists(st.integers(0, 2000), max_size=6),
)
def test_requests_are_parsed_alike_with_and_without_an_offer_however_they_are_split(
    requests: list[tuple[str, str, str]], cuts: list[int]
) -> None:
    offering_all = [offering(name, OFFERS[kind], body) for kind, body, name in requests]
    plain = [b"".join(line for line in one.splitlines(keepends=True) if b"pgrade:" not in line) for one in offering_all]
    found, expected = read(b"".join(offering_all), cuts), read(b"".join(plain), [])
    assert found.read == expected.read
    assert (found.started, len(found.read)) == (len(requests), len(requests))
