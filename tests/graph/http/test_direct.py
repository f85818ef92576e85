"""The two endpoints for POST, direct and through ASGI: their responses to every request are equal, byte by byte."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from graphql import get_introspection_query

from db.settings import Settings
from graph.http.direct import DirectHttpProtocol, RequestCycle
from graph.http.endpoint import GraphQLEndpoint
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.garbage import collected_types
from tests.graph.support.raw import answered, query_body, request, via_asgi
from tests.graph.support.recorded_log import recorded_log
from tests.graph.support.served_app import ALIVE, block_process, is_alive, locked, posted, sent, served, until

PAGE = "{ users { nodes { id username bio: profile { bio } } } }"


class EndpointCounts:
    """The number of requests of each endpoint since the last check."""

    def __init__(self) -> None:
        self.direct = 0
        self.asgi = 0

    def since(self) -> tuple[int, int]:
        """Return how many requests took the direct endpoint and how many the ASGI endpoint since the previous call."""
        seen, self.direct, self.asgi = (self.direct, self.asgi), 0, 0
        return seen


@pytest.fixture
def endpoint_counts(monkeypatch: pytest.MonkeyPatch) -> EndpointCounts:
    """Count the requests of each endpoint."""
    counted = EndpointCounts()
    made, called = RequestCycle.__init__, GraphQLEndpoint.__call__

    def direct(*arguments: Any) -> None:
        counted.direct += 1
        made(*arguments)

    async def asgi(*arguments: Any) -> None:
        counted.asgi += 1
        await called(*arguments)

    monkeypatch.setattr(RequestCycle, "__init__", direct)
    monkeypatch.setattr(GraphQLEndpoint, "__call__", asgi)
    return counted


REQUESTS = {
    "an operation": request(query_body("{ __typename }")),
    "a page": request(query_body(PAGE)),
    "the newer media type": request(query_body("{ __typename }"), "accept: application/graphql-response+json"),
    "a mistake in the document": request(query_body("{ nonsense }")),
    "an error with a status in the newer media type": request(
        query_body("{ nonsense }"), "accept: application/graphql-response+json"
    ),
    "no type that there is": request(query_body("{ __typename }"), "accept: text/csv"),
    "no JSON": request(b"nonsense"),
    "another type": request(b"{}", content_type="text/plain"),
    "an invalid token": request(query_body("{ __typename }"), "authorization: Bearer nonsense"),
    "a connection that ends": request(query_body("{ __typename }"), "connection: close"),
    "an older protocol": request(query_body("{ __typename }"), version="1.0"),
    "too large a body": request(b" " * 2_000_000),
    "a caller's trace": request(
        query_body("{ __typename }"), "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ),
    "an empty body": request(b""),
    "headers that are too large": request(query_body("{ __typename }"), f"x-large: {'x' * 20_000}"),
    "a compressed body": request(gzip.compress(query_body("{ __typename }")), "content-encoding: gzip"),
    "a body in an unknown coding": request(query_body("{ __typename }"), "content-encoding: br"),
    "a body that is no gzip": request(query_body("{ __typename }"), "content-encoding: gzip"),
    "no JSON, in the newer media type": request(b"{", "accept: application/graphql-response+json"),
    "two content types": request(query_body("{ __typename }"), "content-type: text/plain"),
    "an offer to upgrade": request(query_body("{ __typename }"), "connection: upgrade", "upgrade: h2c"),
    "odd headers": request(query_body("{ __typename }"), "Accept-Encoding: identity", "ACCEPT: */*", "x-empty:"),
}


@pytest.mark.parametrize("what", REQUESTS)
async def test_both_endpoints_send_the_same_response(client: Client, what: str) -> None:
    raw = REQUESTS[what]
    assert await answered(client, raw) == await answered(client, via_asgi(raw))


async def test_endpoint_of_each_request(client: Client, endpoint_counts: EndpointCounts) -> None:
    raw = request(query_body("{ __typename }"))
    for one, way in (
        (raw, (1, 0)),
        (via_asgi(raw), (0, 1)),
        (request(query_body("{ __typename }"), "x-forwarded-for: 192.0.2.7"), (0, 1)),
        (raw.replace(b"/graphql", b"/graphql?x"), (0, 1)),
        (REQUESTS["too large a body"], (0, 1)),  # a larger body than arrives at once
    ):
        await answered(client, one)
        assert endpoint_counts.since() == way, one[:100]
    assert (await client.http.get("/graphql", params={"query": "{ __typename }"})).status_code == 403
    assert endpoint_counts.since() == (0, 1)


async def test_both_endpoints_answer_batches_alike(settings: Settings) -> None:
    raw = request(b"[" + query_body("{ __typename }") + b"," + query_body("{ nonsense }") + b"]")
    async with served(settings, batch_operations_max=5) as client:
        direct = await answered(client, raw)
        assert direct == await answered(client, via_asgi(raw))
    assert [set(one) for one in orjson.loads(direct[1])] == [{"data"}, {"errors"}]


@pytest.mark.parametrize("encoding", ["gzip", "gzip, br", "identity", "br"])
async def test_large_answers_are_compressed_by_both_endpoints(settings: Settings, encoding: str) -> None:
    raw = request(query_body("{ __schema { types { name description } } }"), f"accept-encoding: {encoding}")
    async with served(settings, compress_bytes_min=500) as client:
        direct = await answered(client, raw)
        assert direct == await answered(client, via_asgi(raw))
    assert ("content-encoding: gzip" in direct[0]) == ("gzip" in encoding)
    assert "vary: accept, authorization, Accept-Encoding" in direct[0]
    body = gzip.decompress(direct[1]) if "gzip" in encoding else direct[1]
    assert orjson.loads(body)["data"]["__schema"]["types"]


@pytest.mark.parametrize("origin", ["https://app.example", "https://evil.example", ""])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_both_endpoints_share_responses_with_pages_of_allowed_origins_alone(
    settings: Settings, endpoint_counts: EndpointCounts, origin: str, encoding: str
) -> None:
    async with served(settings, cors_origins="https://app.example", compress_bytes_min=100) as client:
        for query in ("{ __typename }", get_introspection_query()):
            raw = request(query_body(query), *([f"origin: {origin}"] if origin else []), f"accept-encoding: {encoding}")
            direct = await answered(client, raw)
            assert endpoint_counts.since() == (1, 0)
            assert direct == await answered(client, via_asgi(raw))
            allowed = [line for line in direct[0] if line.startswith("access-control-allow-origin")]
            assert allowed == (["access-control-allow-origin: https://app.example"] if "app" in origin else [])
            endpoint_counts.since()


async def test_both_endpoints_recognize_a_signed_in_user(client: Client, sign_up: SignUp) -> None:
    ada = await sign_up("ada")
    raw = request(query_body("{ viewer { username } }"), f"authorization: Bearer {ada.token}")
    direct = await answered(client, raw)
    assert orjson.loads(direct[1]) == {"data": {"viewer": {"username": "ada"}}}
    assert direct == await answered(client, via_asgi(raw))


@asynccontextmanager
async def send_in_parts(client: Client, parts: list[bytes]) -> AsyncIterator[asyncio.StreamReader]:
    """Send a request in parts that arrive separately."""
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        yield reader
    finally:
        writer.close()


@pytest.mark.parametrize("cuts", [(10,), (60,), (-1,), (-40, -3), (30, 70, -20, -5)])
async def test_request_that_arrives_in_parts_is_answered(client: Client, cuts: tuple[int, ...]) -> None:
    raw = posted("{ __typename }")
    places = [0, *(cut % len(raw) for cut in cuts), len(raw)]
    parts = [raw[start:stop] for start, stop in pairwise(places)]
    async with send_in_parts(client, parts) as reader, asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert orjson.loads(await reader.readexactly(31)) == ALIVE


async def test_chunked_bodies_take_the_direct_endpoint(client: Client, endpoint_counts: EndpointCounts) -> None:
    body = query_body("{ __typename }")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    head = b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    async with sent(client, head + chunks) as reader, asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert orjson.loads(await reader.readexactly(31)) == ALIVE
    assert endpoint_counts.since() == (1, 0)


@pytest.mark.parametrize("second", [posted("{ __typename }"), via_asgi(posted("{ __typename }"))])
async def test_pipelined_requests_are_answered_in_their_order(client: Client, second: bytes) -> None:
    first = request(query_body("{ users(first: 1) { nodes { id } } }"))
    async with sent(client, first + second + first) as reader, asyncio.timeout(10):
        bodies = []
        for _ in range(3):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            bodies.append(orjson.loads(await reader.readexactly(int(head.split("content-length: ")[1].split("\r")[0]))))
    assert [list(body["data"]) for body in bodies] == [["users"], ["__typename"], ["users"]]


async def test_idle_connection_is_closed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        DirectHttpProtocol, "timeout_keep_alive", property(lambda _: 0.3, lambda *_: None), raising=False
    )
    async with sent(client, posted("{ __typename }")) as reader, asyncio.timeout(10):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(31)
        assert await reader.read() == b""


async def test_connection_that_is_used_again_stays_open(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        DirectHttpProtocol, "timeout_keep_alive", property(lambda _: 0.4, lambda *_: None), raising=False
    )
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for _ in range(4):
        writer.write(posted("{ __typename }"))
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(31)
        await asyncio.sleep(0.2)
    writer.close()


async def test_connection_that_was_used_again_is_closed_after_it_was_idle(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        DirectHttpProtocol, "timeout_keep_alive", property(lambda _: 0.6, lambda *_: None), raising=False
    )
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for pause_s in (0.4, 0):
        writer.write(posted("{ __typename }"))
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(31)
        await asyncio.sleep(pause_s)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_connection_survives_a_pause_of_the_process(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        DirectHttpProtocol, "timeout_keep_alive", property(lambda _: 0.3, lambda *_: None), raising=False
    )
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for _ in range(2):
        writer.write(posted("{ __typename }"))
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(31)
        block_process(0.6)
        await asyncio.sleep(0.05)  # the server's timer is due before the client runs
    writer.close()


@pytest.mark.parametrize("step", ["http.responses.response.encoded", "telemetry.observer.Observer.end"])
@pytest.mark.parametrize("query", ["{ __typename }", '{ post(id: "post_1") { id } }', "{ postsPage { total } }"])
async def test_bug_ends_the_connection_and_is_logged(
    client: Client, app: FastAPI, monkeypatch: pytest.MonkeyPatch, step: str, query: str
) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError("on purpose")

    await client.run(query)
    monkeypatch.setattr(f"graph.{step}", failing)
    with recorded_log() as log:
        async with sent(client, posted(query)) as reader, asyncio.timeout(10):
            assert await reader.read() == b""
    assert vars(app)["direct"].pipeline.admission.in_flight == 0
    assert "a request was not answered" in log.text
    monkeypatch.undo()
    assert await is_alive(client)


@pytest.mark.parametrize("query", ["{ __typename }", '{ post(id: "post_1") { id } }', "{ postsPage { total } }"])
async def test_closed_connection_leaves_no_request_to_the_cycle_collector(client: Client, query: str) -> None:
    for _ in range(2):
        await answered(client, posted(query))
    with collected_types() as left:
        for _ in range(3):
            await answered(client, posted(query))
        async with sent(client, posted(query)):
            pass  # the client leaves without reading the response
        await is_alive(client)
    assert left.isdisjoint({"RequestCycle", "Call", "Head", "generator"})


async def is_running() -> bool:
    return any("RequestCycle.run" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_server_that_stops_waits_for_running_operations(settings: Settings, database_url: str) -> None:
    async with locked(database_url, "posts"):
        async with served(settings, lock_timeout_ms=500) as client:
            url = client.http.base_url
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(posted("{ posts { nodes { id } } }"))
            await until(is_running, "the query")
        # The server has stopped, and no operation runs: it waited until the lock timed out.
        assert not await is_running()
        answer = await reader.read()
        writer.close()
    assert b"DATABASE_BUSY" in answer
    assert b"connection: close" in answer


async def test_server_that_stops_waits_for_a_mutation_whose_client_disconnected(
    settings: Settings, database_url: str, sign_up: SignUp
) -> None:
    ada = await sign_up("ada")
    change = 'mutation { createPost(input: {title: "t", content: "c"}) { userErrors { code } } }'
    with recorded_log() as log:
        async with (
            locked(database_url, "posts"),
            served(settings, lock_timeout_ms=500) as client,
            sent(client, posted(change, by=ada)),
        ):
            await until(is_running, "the change")
        # The client has disconnected and the server has stopped: the running operation has ended.
        assert [line["errors"] for line in log.operations if line["kind"] == "mutation"] == [["DATABASE_BUSY"]]


async def test_connection_stays_open_while_an_operation_takes_its_time(
    client: Client, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        DirectHttpProtocol, "timeout_keep_alive", property(lambda _: 0.3, lambda *_: None), raising=False
    )
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(posted("{ __typename }"))
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(31)
    async with locked(database_url, "posts"):
        writer.write(posted("{ posts { nodes { id } } }"))
        await asyncio.sleep(0.8)
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_request_that_ends_in_malformed_http_is_not_started(
    client: Client, endpoint_counts: EndpointCounts
) -> None:
    head = b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    async with sent(client, head + b"no length\r\n") as reader, asyncio.timeout(10):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert endpoint_counts.since() == (0, 0)
