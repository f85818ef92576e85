"""The header Host: each request of HTTP/1.1 has one that is a host, and no answer leads to where it says."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from graph.http.wire.hosts import wrong_host
from tests.graph.http.wire.test_upgrade import answers, fine
from tests.graph.support.callers import Client
from tests.graph.support.edge import is_alive, sent
from tests.graph.support.raw import LONG_WAY, asked, request

BODY = asked("{ a: __typename }")
WAYS = {"short": "", "long": LONG_WAY}

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


def posted(*hosts: str, way: str = "short", version: str = "1.1", offer: str = "") -> bytes:
    """Return a POST with these lines in the place of Host."""
    raw = request(BODY, *hosts, version=version)
    return raw.replace(b"host: localhost\r\n", WAYS[way].encode() + offer.encode(), 1)


def refused(message: str) -> tuple[bytes, object]:
    return b"HTTP/1.1 400 Bad Request", {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", WRONG)
async def test_request_whose_host_is_wrong_is_refused_and_nothing_behind_it_is_read(
    client: Client, what: str, way: str
) -> None:
    hosts, message = WRONG[what]
    async with sent(client, posted(*hosts, way=way) + posted("host: localhost")) as reader:
        assert await answers(reader, 1) == [refused(message)]
        assert await reader.read() == b""
    assert await is_alive(client)


@pytest.mark.parametrize("target", ["/", "/livez", "/graphql?query={__typename}", "/nothing", "*"])
async def test_request_without_a_host_is_refused_whatever_it_asks_for(client: Client, target: str) -> None:
    method = "OPTIONS" if target == "*" else "GET"
    async with sent(client, f"{method} {target} HTTP/1.1\r\naccept: application/json\r\n\r\n".encode()) as reader:
        assert await answers(reader, 1) == [refused(NONE)]


@pytest.mark.parametrize("way", WAYS)
async def test_request_without_a_host_that_offers_an_upgrade_is_refused(client: Client, way: str) -> None:
    offer = "connection: upgrade\r\nupgrade: h2c\r\n"
    async with sent(client, posted(way=way, offer=offer)) as reader:
        assert await answers(reader, 1) == [refused(NONE)]


@pytest.mark.parametrize("way", WAYS)
async def test_what_came_before_is_answered_first(client: Client, way: str) -> None:
    good = posted("host: localhost", way=way)
    async with sent(client, good + good + posted(way=way) + good) as reader:
        assert await answers(reader, 3) == [*fine("a", "a"), refused(NONE)]
        assert await reader.read() == b""


async def test_request_without_a_host_behind_a_known_head_is_refused(client: Client) -> None:
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for hosts, expected in ((("host: a",), fine("a")), (("host: a",), fine("a")), ((), [refused(NONE)])):
        writer.write(posted(*hosts))
        assert await answers(reader, 1) == expected
    writer.close()


@pytest.mark.parametrize("way", WAYS)
async def test_older_protocol_needs_no_host_but_has_no_more_than_one(client: Client, way: str) -> None:
    for hosts, expected in (
        ((), fine("a")),
        (("host: localhost",), fine("a")),
        (WRONG["two"][0], [refused(TWICE)]),
        (WRONG["a user"][0], [refused(INVALID)]),
    ):
        async with sent(client, posted(*hosts, way=way, version="1.0")) as reader:
            assert await answers(reader, 1) == expected


@pytest.mark.parametrize("host", RIGHT)
async def test_hosts_of_every_kind_are_taken(client: Client, host: str) -> None:
    async with sent(client, posted(f"host: {host}")) as reader:
        assert await answers(reader, 1) == fine("a")


def test_long_host_is_looked_at_in_no_time() -> None:
    for value in (b"a" * 60_000 + b"/", b"a%" * 30_000, b"[" + b":" * 60_000):
        assert wrong_host([(b"host", value)], "1.1") == INVALID


async def test_no_answer_leads_to_the_host_that_a_client_names(client: Client, app: FastAPI) -> None:
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    assert {"/graphql", "/livez", "/"} <= paths
    for path in sorted(paths):
        for one in (path, f"{path}/", f"/{path}", f"//evil.example{path}/", f"{path}//"):
            answer = await client.http.get(one, headers={"host": "evil.example", "accept": "text/html"})
            assert "evil" not in answer.headers.get("location", ""), one
            assert "://" not in answer.headers.get("location", ""), one


@pytest.mark.parametrize("query", ["", "?query=%7B__typename%7D"])
async def test_slash_behind_the_path_is_one_too_many_and_leads_to_it(client: Client, query: str) -> None:
    answer = await client.http.get(f"/graphql/{query}", headers={"accept": "application/json"})
    assert (answer.status_code, answer.headers["location"]) == (307, f"../graphql{query}")
    followed = await client.http.post("/graphql/", json={"query": "{ __typename }"}, follow_redirects=True)
    assert followed.json() == {"data": {"__typename": "Query"}}
    assert httpx.URL(followed.url).path == "/graphql"
