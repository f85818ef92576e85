"""The header Host: each HTTP/1.1 request has exactly one valid host, and no response redirects to it."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from graph.http.wire.hosts import wrong_host
from tests.graph.http.wire.test_upgrade import answers, fine
from tests.graph.support.callers import Client
from tests.graph.support.raw import ASGI_HEADER, query_body, request
from tests.graph.support.served_app import is_alive, sent

BODY = query_body("{ a: __typename }")
ENDPOINTS = {"direct": "", "asgi": ASGI_HEADER}

NONE = "an HTTP/1.1 request should have a Host header"
TWICE = "a request should have one Host header, and this one has 2"
INVALID = "the Host header should be a host, or host:port"

WRONG = {
    "none": ((), NONE),
    "two": (("host: localhost", "host: localhost"), TWICE),
    "two that differ": (("host: localhost", "x: y", "HOST: evil.example"), TWICE),
    "an address of a page": (("host: http://localhost/",), INVALID),
    "a user": (("host: user@localhost",), INVALID),
    "a path": (("host: localhost/x",), INVALID),
    "a space": (("host: a b",), INVALID),
    "no port": (("host: localhost:http",), INVALID),
    "half a bracket": (("host: [::1",), INVALID),
    "half an escape": (("host: a%2",), INVALID),
    "letters that are no ASCII": (("host: m\N{LATIN SMALL LETTER U WITH DIAERESIS}nchen",), INVALID),
}
RIGHT = ("localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000", "a_b.example.", "x%2dy", "localhost:", "", " a\t")


def posted(*hosts: str, endpoint: str = "direct", version: str = "1.1", offer: str = "") -> bytes:
    """Return a POST with these lines instead of Host."""
    raw = request(BODY, *hosts, version=version)
    return raw.replace(b"host: localhost\r\n", ENDPOINTS[endpoint].encode() + offer.encode(), 1)


def refused(message: str) -> tuple[bytes, object]:
    return b"HTTP/1.1 400 Bad Request", {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("what", WRONG)
async def test_request_with_an_invalid_host_is_refused_and_the_following_bytes_are_not_read(
    client: Client, what: str, endpoint: str
) -> None:
    hosts, message = WRONG[what]
    async with sent(client, posted(*hosts, endpoint=endpoint) + posted("host: localhost")) as reader:
        assert await answers(reader, 1) == [refused(message)]
        assert await reader.read() == b""
    assert await is_alive(client)


@pytest.mark.parametrize("target", ["/", "/livez", "/graphql?query={__typename}", "/nothing", "*"])
async def test_request_without_a_host_is_refused_for_every_target(client: Client, target: str) -> None:
    method = "OPTIONS" if target == "*" else "GET"
    async with sent(client, f"{method} {target} HTTP/1.1\r\naccept: application/json\r\n\r\n".encode()) as reader:
        assert await answers(reader, 1) == [refused(NONE)]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_request_without_a_host_that_offers_an_upgrade_is_refused(client: Client, endpoint: str) -> None:
    offer = "connection: upgrade\r\nupgrade: h2c\r\n"
    async with sent(client, posted(endpoint=endpoint, offer=offer)) as reader:
        assert await answers(reader, 1) == [refused(NONE)]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_earlier_requests_are_answered_first(client: Client, endpoint: str) -> None:
    good = posted("host: localhost", endpoint=endpoint)
    async with sent(client, good + good + posted(endpoint=endpoint) + good) as reader:
        assert await answers(reader, 3) == [*fine("a", "a"), refused(NONE)]
        assert await reader.read() == b""


async def test_request_without_a_host_after_a_known_head_is_refused(client: Client) -> None:
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for hosts, expected in ((("host: a",), fine("a")), (("host: a",), fine("a")), ((), [refused(NONE)])):
        writer.write(posted(*hosts))
        assert await answers(reader, 1) == expected
    writer.close()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_http_1_0_needs_no_host_but_has_at_most_one(client: Client, endpoint: str) -> None:
    for hosts, expected in (
        ((), fine("a")),
        (("host: localhost",), fine("a")),
        (WRONG["two"][0], [refused(TWICE)]),
        (WRONG["a user"][0], [refused(INVALID)]),
    ):
        async with sent(client, posted(*hosts, endpoint=endpoint, version="1.0")) as reader:
            assert await answers(reader, 1) == expected


@pytest.mark.parametrize("host", RIGHT)
async def test_hosts_of_every_kind_are_accepted(client: Client, host: str) -> None:
    async with sent(client, posted(f"host: {host}")) as reader:
        assert await answers(reader, 1) == fine("a")


def test_long_host_is_checked_quickly() -> None:
    for value in (b"a" * 60_000 + b"/", b"a%" * 30_000, b"[" + b":" * 60_000):
        assert wrong_host([(b"host", value)], "1.1") == INVALID


async def test_no_answer_redirects_to_the_host_that_a_client_sends(client: Client, app: FastAPI) -> None:
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    assert {"/graphql", "/livez", "/"} <= paths
    for path in sorted(paths):
        for one in (path, f"{path}/", f"/{path}", f"//evil.example{path}/", f"{path}//"):
            answer = await client.http.get(one, headers={"host": "evil.example", "accept": "text/html"})
            assert "evil" not in answer.headers.get("location", ""), one
            assert "://" not in answer.headers.get("location", ""), one


@pytest.mark.parametrize("query", ["", "?query=%7B__typename%7D"])
async def test_trailing_slash_is_redirected_to_the_path_without_it(client: Client, query: str) -> None:
    answer = await client.http.get(f"/graphql/{query}", headers={"accept": "application/json"})
    assert (answer.status_code, answer.headers["location"]) == (307, f"../graphql{query}")
    followed = await client.http.post("/graphql/", json={"query": "{ __typename }"}, follow_redirects=True)
    assert followed.json() == {"data": {"__typename": "Query"}}
    assert httpx.URL(followed.url).path == "/graphql"
