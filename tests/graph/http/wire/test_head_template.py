"""Head templates: a request with a known head has the same response as on a new connection."""

import asyncio
import gzip
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from db.settings import Settings
from graph.http.direct import HEADS_LEARNT_MAX, DirectHttpProtocol
from graph.http.parsing.head import Head
from graph.http.wire.head_template import HEAD_BYTES_MAX, HeadTemplate
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.raw import query_body, request
from tests.graph.support.served_app import is_alive, posted, served

Answer = tuple[bytes, list[bytes], bytes]


class Parsed:
    """The result of httptools for a message; None for malformed HTTP, and for anything but exactly one request."""

    def __init__(self, message: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.started = self.ended = 0
        self.url = b""
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(message)
        except httptools.HttpParserError:
            self.ended = -1
        self.is_whole = self.started == self.ended == 1
        self.keeps = self.is_whole and self.parser.should_keep_alive()

    def on_message_begin(self) -> None:
        self.started += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1

    @property
    def meaning(self) -> tuple[object, ...]:
        """Everything except the length of the body."""
        others = [header for header in self.headers if header[0] != b"content-length"]
        return self.parser.get_method(), self.url, self.parser.get_http_version(), self.keeps, others


FIRST = b'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\naccept: */*\r\n\r\n{"query":"a"}'[:-1]
HEADS = [
    FIRST[:-12],
    b"POST /graphql HTTP/1.1\r\ncontent-length:7\r\nx: content-length: 9\r\n\r\n",
    b"POST /graphql HTTP/1.1\r\ncontent-length: \t 0012\r\n\r\n",
    b"POST /graphql HTTP/1.1\r\nx-content-length: 3\r\ncontent-length: 12 \r\n\r\n",
    b"POST /graphql HTTP/1.1\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n",
    b"POST /graphql HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
    b"POST /graphql HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
]
BITS = [b"0", b"00", b"1", b"9" * 12, b"+", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"x", b":", b"{}", FIRST]


@given(st.sampled_from(HEADS), st.binary(max_size=14), st.data())
def test_head_template_has_the_same_result_as_the_parser(head: bytes, body: bytes, data: st.DataObject) -> None:
    declared = re.sub(rb"(?i)(\r\ncontent-length:[ \t]*)[0-9]+", rb"\g<1>%d" % len(body), head)
    learnt = Parsed(declared + body)
    if not (learnt.is_whole and learnt.keeps):
        return
    known = HeadTemplate.of(declared + body, Head(learnt.headers), learnt.body)
    if known is None:
        return
    assert known.body_of(declared + body) in {body, None}
    message = declared + data.draw(st.binary(max_size=14))
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(message)))
        message = message[:start] + data.draw(st.sampled_from(BITS)) + message[start + data.draw(st.integers(0, 3)) :]
    found = known.body_of(message)
    if found is not None:
        parsed = Parsed(message)
        assert parsed.is_whole
        assert (parsed.body, parsed.meaning) == (found, learnt.meaning)


@given(st.binary(max_size=2000))
@example(b"")
def test_bodies_of_any_length_are_found_after_a_known_head(body: bytes) -> None:
    learnt = Parsed(FIRST)
    known = HeadTemplate.of(FIRST, Head(learnt.headers), learnt.body)
    assert known is not None
    assert known.body_of(FIRST.replace(b": 12", b": %d" % len(body))[: -len(learnt.body)] + body) == body


@pytest.mark.parametrize(
    "message",
    [
        FIRST.replace(b"accept", b"transfer-encoding"),
        FIRST.replace(b"*/*", b"x" * HEAD_BYTES_MAX),
        FIRST.replace(b"accept: */*", b"Content-Length: 12"),
        b"\r\n\r\n" + FIRST,
        FIRST + FIRST,
    ],
)
def test_heads_that_are_not_remembered(message: bytes) -> None:
    lines = [tuple(line.split(b": ")) for line in message.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    head = Head([(line[0].lower(), line[1]) for line in lines if len(line) == 2])
    assert HeadTemplate.of(message, head, FIRST[-12:]) is None


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator["Connection"]:
    """Open a connection to the server."""
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


class Connection:
    """A connection on which requests are sent one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answers(self, *parts: bytes, count: int = 1) -> list[Answer]:
        """Send bytes that arrive in parts, and return the responses without their variable headers."""
        for part in parts:
            self.writer.write(part)
            await asyncio.sleep(0.02 * (len(parts) > 1))
        return [await self._answer() for _ in range(count)]

    async def _answer(self) -> Answer:
        async with asyncio.timeout(10):
            status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            length = next(int(line[16:]) for line in lines if line.startswith(b"content-length: "))
            body = await self.reader.readexactly(length)
        varying = (b"x-request-id", b"traceresponse", b"date")
        return status, sorted(line for line in lines if not line.startswith(varying)), body


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets of the requests whose heads were parsed."""
    seen: list[bytes] = []
    complete = DirectHttpProtocol.on_headers_complete

    def counted(protocol: DirectHttpProtocol) -> None:
        seen.append(protocol.url)
        complete(protocol)

    monkeypatch.setattr(DirectHttpProtocol, "on_headers_complete", counted)
    return seen


ALIVE = posted("{ __typename }")
LONGER = posted("{ a: __typename, b: __typename }")
LONGEST = posted("{ " + ", ".join(f"a{number}: __typename" for number in range(100)) + " }")


async def test_head_is_parsed_once_however_long_the_bodies_are(client: Client, parsed: list[bytes]) -> None:
    requests = [ALIVE, LONGER, LONGEST, posted("{ nonsense }"), ALIVE]
    alone = []
    for one in requests:
        async with connected(client) as fresh:
            alone += await fresh.answers(one)
    del parsed[:]
    async with connected(client) as connection:
        assert [answer for one in requests for answer in await connection.answers(one)] == alone
    assert parsed == [b"/graphql"]


OTHERS: dict[str, tuple[list[bytes], int]] = {
    "another header": ([ALIVE.replace(b"host: ", b"accept: text/csv\r\nhost: ")], 1),
    "another path": ([ALIVE.replace(b"/graphql", b"/healthz")], 1),
    "another method": ([ALIVE.replace(b"POST ", b"PUT ")], 1),
    "another version": ([ALIVE.replace(b"HTTP/1.1", b"HTTP/1.0")], 1),
    "one that ends the connection": ([ALIVE.replace(b"host: ", b"connection: close\r\nhost: ")], 1),
    "no HTTP": ([b"nonsense\r\n\r\n"], 1),
    "an invalid length": ([re.sub(rb"(length: )\d+", rb"\1+5", ALIVE)], 1),
    "two requests at once": ([ALIVE + LONGER], 2),
    "a request and half of one": ([ALIVE + LONGER[:60], LONGER[60:]], 2),
    "half of a head": ([LONGER[:60], LONGER[60:]], 1),
    "a head without its body": ([LONGER[:-40], LONGER[-40:]], 1),
    "two halves and a whole one": ([LONGER[:-9], LONGER[-9:] + ALIVE[:9], ALIVE[9:], LONGER], 3),
    "a line before": ([b"\r\n" + ALIVE], 1),
    "zeros before the length": ([re.sub(rb"(length: )(\d+)", rb"\g<1>00\2", ALIVE)], 1),
    "a body that is shorter than declared, and the next request": (
        [re.sub(rb"(length: )\d+", rb"\g<1>%d" % (len(ALIVE)), ALIVE) + ALIVE],
        1,
    ),
}


@pytest.mark.parametrize("what", OTHERS)
async def test_bytes_after_a_known_head_have_the_same_response(client: Client, what: str) -> None:
    parts, count = OTHERS[what]
    async with connected(client) as fresh:
        alone = await fresh.answers(*parts, count=count)
        is_over = any(b"connection: close" in lines for _, lines, _ in alone)
    async with connected(client) as connection:
        first = await connection.answers(ALIVE)
        assert await connection.answers(ALIVE) == first
        assert await connection.answers(*parts, count=count) == alone
        if not is_over and "shorter" not in what:
            assert await connection.answers(ALIVE) == first


async def test_session_that_has_ended_is_refused_with_a_known_head(client: Client, sign_up: SignUp) -> None:
    ada = await sign_up("ada")
    viewer_query = posted("{ viewer { username } }", by=ada)
    async with connected(client) as connection:
        for _ in range(2):
            [(status, _, body)] = await connection.answers(viewer_query)
            assert (status, body) == (b"HTTP/1.1 200 OK", b'{"data":{"viewer":{"username":"ada"}}}')
        ended = await client.run("mutation { signOut { signedOut } }", by=ada)
        assert ended == {"data": {"signOut": {"signedOut": True}}}
        [(status, _, body)] = await connection.answers(viewer_query)
        assert status == b"HTTP/1.1 401 Unauthorized"
        assert b"UNAUTHENTICATED" in body


async def test_connection_whose_heads_always_differ_stops_looking_for_templates(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = 0
    of = HeadTemplate.of

    def counted(*arguments: Any) -> HeadTemplate | None:
        nonlocal learnt
        learnt += 1
        return of(*arguments)

    monkeypatch.setattr(HeadTemplate, "of", counted)
    query_body = [ALIVE.replace(b"host: ", b"x: %d\r\nhost: " % number) for number in range(HEADS_LEARNT_MAX + 5)]
    async with connected(client) as connection:
        for before, after in pairwise(query_body):
            assert await connection.answers(before) == await connection.answers(after)
    assert learnt == HEADS_LEARNT_MAX


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_body_that_is_too_large_does_not_affect_the_next_one(settings: Settings, coding: str) -> None:
    lines = () if coding == "identity" else ("content-encoding: gzip",)
    large = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(60))  # 2 kB after compression
    bodies = [query_body("{ a: __typename }", extensions={"large": large}), query_body("{ a: __typename }")]
    too_large, fitting = (request(one if coding == "identity" else gzip.compress(one), *lines) for one in bodies)
    async with served(settings, body_bytes_max=1024) as client, connected(client) as connection:
        found = [await connection.answers(one) for one in (too_large, fitting, too_large, fitting)]
        assert await is_alive(client)
    assert [status.split(b" ")[1] for [(status, _, _)] in found] == [b"413", b"200"] * 2
