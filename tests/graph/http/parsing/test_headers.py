"""Compression, foreign origins, security headers, and batches."""

import re
from typing import Any

import pytest

from db.settings import Settings
from tests.graph.support.callers import Client
from tests.graph.support.served_app import ALIVE, locked, served, served_with_documents

APP = "https://app.example.org"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}


# ---------------------------------------------------------------- compression


@pytest.mark.parametrize(
    ("setting", "accept", "length", "encoding"),
    [
        (2048, "gzip", 2048, "gzip"),
        (2048, "gzip", 2047, None),
        (2048, "identity", 4096, None),
        (0, "gzip", 100_000, None),
    ],
)
async def test_answer_is_compressed_from_a_minimum_size(
    settings: Settings, setting: int, accept: str, length: int, encoding: str | None
) -> None:
    # The response repeats an unknown name, and can so have any length.
    async with served(settings, compress_bytes_min=setting) as client:

        async def answer_of(name: str) -> Any:
            body = {"query": "query A { __typename }", "operationName": name}
            return await client.http.post("/graphql", json=body, headers={"accept-encoding": accept})

        shortest = len((await answer_of("")).content)
        answer = await answer_of("x" * (length - shortest))
    assert (len(answer.content), answer.headers.get("content-encoding")) == (length, encoding)


# ---------------------------------------------------------------- foreign origins


def allowed(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


# Headers that common clients send besides content-type: Apollo, urql, Relay, gql, a tracing agent, a proxy.
CLIENT_HEADERS = (
    "accept,apollographql-client-name,apollographql-client-version,apollo-require-preflight,authorization,baggage,"
    "content-type,graphql-require-preflight,sentry-trace,traceparent,tracestate,x-apollo-operation-id,"
    "x-apollo-operation-name,x-graphql-client-name,x-graphql-client-version,x-requested-with,x-whatever-comes-next"
)


async def preflight(client: Client, origin: str, **requested: str) -> Any:
    return await client.http.options("/graphql", headers={"origin": origin, **PREFLIGHT, **requested})


async def call(client: Client, origin: str) -> Any:
    return await client.http.post("/graphql", json={"query": "{ __typename }"}, headers={"origin": origin})


@pytest.mark.parametrize("origin", [APP, "http://localhost:3000", "http://127.0.0.1", "http://[::1]:5173"])
async def test_no_origin_may_call_by_default_in_production(settings: Settings, origin: str) -> None:
    async with served(settings, env="production") as client:
        answer, before = await call(client, origin), await preflight(client, origin)
    assert (answer.status_code, allowed(answer.headers)) == (200, {})
    assert (before.status_code, allowed(before.headers)) == (405, {})


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "http://localhost", "https://localhost:8443", "http://127.0.0.1:5173", "http://[::1]:80"],
)
async def test_pages_of_the_same_machine_may_call_in_development(client: Client, origin: str) -> None:
    answer, before = await call(client, origin), await preflight(client, origin)
    assert (answer.json(), before.status_code) == (ALIVE, 200)
    for one in (answer, before):
        assert one.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-credentials" not in one.headers


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", "http://localhost.evil.example", "http://evil.example/http://localhost", "null"),
        *(
            "http://localhost:3000@evil.example",
            "http://127.0.0.1.evil.example",
            "http://127.0.0.2",
            "file://localhost",
        ),
    ],
)
async def test_other_pages_may_not_call_in_development(client: Client, origin: str) -> None:
    answer, before = await call(client, origin), await preflight(client, origin)
    assert "access-control-allow-origin" not in answer.headers
    assert (before.status_code, "access-control-allow-origin" in before.headers) == (400, False)


async def test_origins_that_are_named_are_the_only_ones_in_development_too(settings: Settings) -> None:
    async with served(settings, cors_origins=f"{APP}, http://[::1]:8080") as client:
        named = [(await preflight(client, origin)).status_code for origin in (APP, "http://[::1]:8080")]
        local = await preflight(client, "http://localhost:3000")
    assert (named, local.status_code) == ([200, 200], 400)


async def test_page_may_send_every_header_that_its_client_sends(settings: Settings) -> None:
    requested = {"access-control-request-headers": CLIENT_HEADERS}
    async with served(settings, cors_origins=APP) as client:
        answer = await preflight(client, APP, **requested)
        foreign = await preflight(client, "https://evil.example", **requested)
        private = await preflight(client, APP, **requested, **{"access-control-request-private-network": "true"})
    assert (answer.status_code, answer.headers["access-control-allow-headers"]) == (200, CLIENT_HEADERS)
    assert (private.status_code, private.headers["access-control-allow-private-network"]) == (200, "true")
    assert (foreign.status_code, "access-control-allow-origin" in foreign.headers) == (400, False)


async def test_configured_origin_may_call(settings: Settings) -> None:
    async with served(settings, cors_origins=f"https://other.example, {APP}") as client:
        answer, before = await call(client, APP), await preflight(client, APP)
    assert answer.json() == ALIVE
    assert answer.headers["access-control-allow-origin"] == APP
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert exposed >= {"x-request-id", "retry-after", "ratelimit", "ratelimit-policy", "www-authenticate"}
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == APP
    assert before.headers["access-control-allow-methods"] == "GET, HEAD, POST, PUT, DELETE"
    assert "access-control-allow-credentials" not in before.headers


@pytest.mark.parametrize("origin", ["https://evil.example", f"{APP}.evil.example", "http://app.example.org", "null"])
async def test_other_origins_may_not_call(settings: Settings, origin: str) -> None:
    async with served(settings, cors_origins=APP) as client:
        answer, before = await call(client, origin), await preflight(client, origin)
    assert "access-control-allow-origin" not in answer.headers
    assert before.status_code == 400
    assert "access-control-allow-origin" not in before.headers


# ---------------------------------------------------------------- security


@pytest.mark.parametrize(
    ("method", "url", "headers", "content", "status"),
    [
        ("POST", "/graphql", {"content-type": "application/json"}, b'{"query": "{ __typename }"}', 200),
        ("POST", "/graphql", {"content-type": "application/json"}, b'{"query": "{"}', 200),
        ("POST", "/graphql", {"content-type": "application/json"}, b"{", 400),
        ("POST", "/graphql", {"content-type": "text/plain"}, b"{}", 415),
        ("POST", "/graphql", {"content-type": "application/json", "accept": "image/png"}, b"{}", 406),
        (
            "POST",
            "/graphql",
            {"content-type": "application/json", "authorization": "Bearer x"},
            b'{"query": "{ __typename }"}',
            401,
        ),
        ("GET", "/graphql", {"accept": "text/html"}, None, 200),
        ("GET", "/graphql?query={a}", {}, None, 403),
        ("GET", "/graphql", {}, None, 405),
        ("DELETE", "/graphql", {}, None, 405),
    ],
)
async def test_every_answer_has_the_security_headers_and_an_id(
    client: Client, method: str, url: str, headers: dict[str, str], content: bytes | None, status: int
) -> None:
    answers = [await client.http.request(method, url, headers=headers, content=content) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == status
        assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
        assert answer.headers["cache-control"] == "no-store"
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len([one for one in ids if re.fullmatch(r"[0-9a-f]{16}", one)]) == 2


async def test_page_loads_only_from_the_origins_of_its_policy_and_runs_in_no_frame(client: Client) -> None:
    page = await client.http.get("/graphql", headers={"accept": "text/html"})
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    for directive in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        assert policy[directive] == "'none'"
    assert (policy["connect-src"], policy["script-src"]) == ("'self'", "'self'")
    loaded = re.findall(r'<(?:script|link rel="stylesheet")[^>]+(?:src|href)="([^"]+)', page.text)
    assert loaded
    assert all(one.startswith("graphql/assets/") for one in loaded)


# ---------------------------------------------------------------- batches


async def test_batch_is_refused_by_default(client: Client) -> None:
    answer = await client.http.post("/graphql", json=[{"query": "{ __typename }"}])
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "errors": [
                {
                    "message": 'the body should be an object, for example {"query": "{ __typename }"}',
                    "extensions": {"code": "BAD_REQUEST"},
                }
            ]
        },
    )


async def test_batch_is_answered_in_its_order_by_a_list(settings: Settings) -> None:
    one, broken = {"query": "{ __typename }"}, {"query": "{"}
    user = {"query": "query($n: String!) { userByUsername(username: $n) { id } }", "variables": {"n": "treasury"}}
    async with served(settings, batch_operations_max=3) as client:
        three = await client.http.post("/graphql", json=[user, broken, one])
        single = await client.http.post("/graphql", json=[one])
        alone = await client.http.post("/graphql", json=one)
    first, second, third = three.json()
    assert (three.status_code, first, third) == (200, {"data": {"userByUsername": {"id": "user_1"}}}, ALIVE)
    assert second["errors"][0]["extensions"] == {"code": "GRAPHQL_PARSE_FAILED"}
    assert (single.json(), alone.json()) == ([ALIVE], ALIVE)


@pytest.mark.parametrize("size", [0, 4, 1000])
async def test_batch_of_another_size_is_refused(settings: Settings, size: int) -> None:
    async with served(settings, batch_operations_max=3) as client:
        answer = await client.http.post("/graphql", json=[{"query": "{ __typename }"}] * size)
    message = f"a batch should have 1 to 3 operations, not {size}"
    assert (answer.status_code, answer.json()) == (
        400,
        {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]},
    )


async def test_refused_operation_of_a_batch_does_not_affect_the_others(settings: Settings) -> None:
    users = {"query": "{ users(first: 20) { nodes { username } } }"}
    known = [users["query"], "{ __typename }"]
    async with served_with_documents(known, settings, batch_operations_max=4, cost_per_minute_max=50) as client:
        answer = await client.http.post("/graphql", json=[users, users, users, {"query": "{ __typename }"}])
    first, second, third, fourth = answer.json()
    nobody: dict[str, Any] = {"data": {"users": {"nodes": []}}}
    assert (answer.status_code, first, second, fourth) == (200, nobody, nobody, ALIVE)
    [error] = third.pop("errors")
    assert (third, error["extensions"]) == ({}, {"code": "RATE_LIMITED"})


async def test_operation_of_a_batch_that_takes_too_long_does_not_affect_the_others(
    settings: Settings, database_url: str
) -> None:
    posts = {"query": "{ posts { totalCount } }"}
    changes = {"batch_operations_max": 2, "operation_deadline_ms": 200}
    async with served(settings, **changes) as client, locked(database_url, "posts"):
        answer = await client.http.post("/graphql", json=[posts, {"query": "{ __typename }"}])
    message = "the operation took longer than 0.2 s; request less"
    late = {"errors": [{"message": message, "extensions": {"code": "DEADLINE_EXCEEDED"}}]}
    assert (answer.status_code, answer.json()) == (200, [late, ALIVE])
