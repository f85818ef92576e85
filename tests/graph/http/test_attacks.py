"""One attack in each test: the response to the attacker, and that the server still answers correctly afterwards."""

import asyncio
import re
from typing import Any

import orjson
import pytest

from db.settings import Settings
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.served_app import is_alive, posted, sent, served

JSON = {"content-type": "application/json"}


async def codes(client: Client, query: str, **variables: Any) -> list[str]:
    """Send an operation that is refused, and return the codes of its errors without duplicates."""
    answer = await client.post(query, **variables)
    body = answer.json()
    assert (answer.status_code, list(body)) == (200, ["errors"])
    assert await is_alive(client)
    return sorted({error["extensions"]["code"] for error in body["errors"]})


# ---------------------------------------------------------------- documents


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ " + " ".join(f"a{n}: __typename" for n in range(2000)) + " }", "OPERATION_TOO_LARGE"),
        ("{ viewer { " + "id @include(if: true) " * 200 + "} }", "OPERATION_TOO_LARGE"),
        ("{ __typename " + "@skip(if: false) " * 1000 + "}", "GRAPHQL_VALIDATION_FAILED"),
        ("{ __typename " + "@a " * 3000 + "}", "GRAPHQL_VALIDATION_FAILED"),
        ("{ " + "@a " * 20_000 + "}", "GRAPHQL_PARSE_FAILED"),
        ("{ " + "__typename " * 12_000 + "}", "GRAPHQL_PARSE_FAILED"),
        ("{ " + " ".join(f"unknown{n}" for n in range(2000)) + " }", "OPERATION_TOO_LARGE"),
        ("{ " * 5000 + "} " * 5000, "GRAPHQL_PARSE_FAILED"),
        ("{ viewer " * 3000 + "{ id }" + " }" * 3000, "GRAPHQL_PARSE_FAILED"),
        ("{ ... " * 3000 + "{ __typename }" + " }" * 3000, "GRAPHQL_PARSE_FAILED"),
        ("{ nodes(ids: " + "[" * 4000 + "]" * 4000 + ") { id } }", "GRAPHQL_PARSE_FAILED"),
        ("query($a: " + "[" * 4000 + "Int" + "]" * 4000 + ") { __typename }", "GRAPHQL_PARSE_FAILED"),
        ("query(" + " ".join(f"$v{n}: Int" for n in range(2000)) + ") { __typename }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ posts(first: " + "9" * 5000 + ") { nodes { id } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query($n: Int = " + "9" * 5000 + ") { posts(first: $n) { nodes { id } } }", "GRAPHQL_VALIDATION_FAILED"),
    ],
    ids=lambda value: value[:30],
)
async def test_oversized_document_is_refused(client: Client, query: str, code: str) -> None:
    assert await codes(client, query) == [code]


async def test_fragment_bomb_is_refused(client: Client) -> None:
    chain = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(95))
    bomb = f"{{ ...F0 }} {chain} fragment F95 on Query {{ viewer {{ id }} }}"
    assert await codes(client, bomb) == ["OPERATION_TOO_LARGE"]


async def test_fragment_chain_too_long_to_follow_is_refused(client: Client) -> None:
    chain = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(400))
    query = f"{{ ...F0 }} {chain} fragment F400 on Query {{ __typename }}"
    assert await codes(client, query) == ["GRAPHQL_VALIDATION_FAILED"]


@pytest.mark.parametrize(
    "fragments",
    [
        "fragment A on Query { ...A }",
        "fragment A on Query { ...B } fragment B on Query { ...A }",
        "fragment A on Query { viewer { ...B } } fragment B on User { posts { nodes { author { ...B } } } }",
    ],
)
async def test_circular_fragments_are_refused(client: Client, fragments: str) -> None:
    assert await codes(client, f"{{ ...A }} {fragments}") == ["GRAPHQL_VALIDATION_FAILED"]


async def test_deep_chain_of_edges_is_refused(client: Client) -> None:
    deep = "{ users(first: 1) { nodes {" + "posts(first: 1) { nodes { author {" * 10 + "id" + "} } }" * 10 + "} } }"
    assert await codes(client, deep) == ["OPERATION_TOO_LARGE"]


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { types { " + "fields { type { " * 12 + "name" + " } }" * 12 + " } } }",
        "{ __schema { types { " + "possibleTypes { interfaces { " * 8 + "name" + " } }" * 8 + " } } }",
        '{ __type(name: "Query") { fields { type { ' + "ofType { " * 30 + "name" + " }" * 30 + " } } } }",
    ],
)
async def test_introspection_bomb_is_refused(client: Client, query: str) -> None:
    assert await codes(client, query) in (["GRAPHQL_VALIDATION_FAILED"], ["OPERATION_TOO_LARGE"])


async def test_guessing_passwords_by_aliases_is_refused(client: Client, sign_up: SignUp) -> None:
    await sign_up("ada")
    before = client.database.counters.statements
    guesses = " ".join(f'a{n}: signIn(input: {{login: "ada", password: "{n}"}}) {{ accessToken }}' for n in range(20))
    assert await codes(client, f"mutation {{ {guesses} }}") == ["OPERATION_TOO_LARGE"]
    assert client.database.counters.statements == before


async def test_guessing_passwords_by_a_batch_is_refused(client: Client) -> None:
    guess = {"query": 'mutation { signIn(input: {login: "ada", password: "a"}) { accessToken } }'}
    answer = await client.http.post("/graphql", json=[guess] * 100)
    assert answer.status_code == 400
    assert await is_alive(client)


# ---------------------------------------------------------------- bodies


async def test_huge_body_is_refused_before_it_is_read(client: Client) -> None:
    async with sent(client, posted("{ __typename }", length=10**12)) as reader:
        head = await reader.readline()
    assert head.startswith(b"HTTP/1.1 413 ")  # the reason phrase depends on the Python version
    answer = await client.http.post("/graphql", content=b" " * 1_572_865, headers=JSON)
    assert answer.status_code == 413
    assert await is_alive(client)


async def test_huge_body_of_unknown_length_is_refused(client: Client) -> None:
    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    answer = await client.http.post("/graphql", content=chunks(), headers=JSON)
    assert answer.status_code == 413
    assert await is_alive(client)


async def test_many_slow_bodies_do_not_block_other_clients_for_long(settings: Settings) -> None:
    slow = posted("{ __typename }", length=1000)

    async def wait_for_line(client: Client) -> bytes:
        async with sent(client, slow) as reader:
            return await reader.readline()

    async with served(settings, operation_deadline_ms=500, operations_in_flight_max=50) as client:
        hanging = [asyncio.create_task(wait_for_line(client)) for _ in range(49)]
        await asyncio.sleep(0.1)
        assert await is_alive(client)
        async with asyncio.timeout(10):
            assert set(await asyncio.gather(*hanging)) == {b"HTTP/1.1 408 Request Timeout\r\n"}
        assert await is_alive(client)


ODD_BODIES = [
    b"",
    b" ",
    b"null",
    b"5",
    b'"query"',
    b"true",
    b"[]",
    b"{}",
    b"{",
    b'{"query": "{ __typename }"',
    b'{"query": "{ __typename }"} {}',
    b'{"query": "{ __typename }",}',
    b"{'query': '{ __typename }'}",
    b'{"query": 5}',
    b'{"query": null}',
    b'{"query": ["{ __typename }"]}',
    b'{"query": "{ __typename }", "variables": []}',
    b'{"query": "{ __typename }", "variables": NaN}',
    b'{"query": "{ __typename }", "variables": {"a": Infinity}}',
    b'{"query": "{ __typename }", "variables": {"a": "\\u0000"}}',
    b'{"query": "{ __typename }", "operationName": 5}',
    b'{"query": "{ __typename }", "extensions": 5}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"query": "{ __typename }", "variables": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
    # Lone surrogates, overlong UTF-8, a byte order mark, UTF-16, Latin-1
    b'{"query": "{ __typename }", "variables": {"a": "\\ud800"}}',
    b'{"query": "\xed\xa0\x80"}',
    b'{"query": "\xc0\xaf"}',
    b'{"query": "\xf4\x90\x80\x80"}',
    b'\xef\xbb\xbf{"query": "{ __typename }"}',
    '{"query": "{ __typename }"}'.encode("utf-16"),
    b'{"query": "\xe9"}',
]


@pytest.fixture
async def responses_to_odd_bodies(client: Client) -> list[tuple[bytes, int, str]]:
    """The server's responses to the odd bodies."""
    answers = [(body, await client.http.post("/graphql", content=body, headers=JSON)) for body in ODD_BODIES]
    assert await is_alive(client)
    return [(body, answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) for body, answer in answers]


async def test_odd_json_is_a_bad_request(responses_to_odd_bodies: list[tuple[bytes, int, str]]) -> None:
    assert responses_to_odd_bodies == [(body, 400, "BAD_REQUEST") for body in ODD_BODIES]


@pytest.mark.parametrize(
    "name",
    ["\u202eada", "a\u0308da", "\ufeffada", "\U0001f600", "ad\u0430", "\u200bada", "\x7f", "a" * 100_000, "\ufffe"],
)
async def test_odd_unicode_is_an_unknown_username(client: Client, sign_up: SignUp, name: str) -> None:
    await sign_up("ada")
    query = "query($n: String!) { userByUsername(username: $n) { id } }"
    literal = f"{{ userByUsername(username: {orjson.dumps(name).decode()}) {{ id }} }}"
    nobody = {"data": {"userByUsername": None}}
    assert [await client.run(query, n=name), await client.run(literal)] == [nobody, nobody]
    assert await is_alive(client)


# ---------------------------------------------------------------- foreign pages


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain;charset=utf-8",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "",
        "text/plain, application/json",
        "text/plain; application/json",
        "application/json; charset=utf-16",
    ],
)
async def test_post_that_a_foreign_page_could_send_is_refused(client: Client, content_type: str) -> None:
    body = b'{"query": "mutation { signOut { signedOut } }"}'
    answer = await client.http.post("/graphql", content=body, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert await is_alive(client)


async def test_post_without_a_content_type_is_refused(client: Client) -> None:
    answer = await client.http.post("/graphql", content=b'{"query": "{ __typename }"}')
    assert answer.status_code == 415
    assert await is_alive(client)


# ---------------------------------------------------------------- leaks


@pytest.mark.parametrize("query", ["{ __schema { types { name } } }", '{ __type(name: "User") { name } }'])
async def test_production_does_not_show_its_schema(settings: Settings, query: str) -> None:
    async with served(settings, env="production") as client:
        assert await codes(client, query) == ["GRAPHQL_VALIDATION_FAILED"]


@pytest.mark.parametrize(
    "query",
    [
        "{ userz { totalCount } }",
        "{ users { totalCoun } }",
        "{ users(firs: 1) { totalCount } }",
        "{ users(orderBy: [{field: CREATED, direction: ASC}]) { totalCount } }",
        "{ users(filter: {username: 1}) { totalCount } }",
        "query($a: Use) { __typename }",
        '{ node(id: "user_1") { ... on Uzer { id } } }',
        "{ __typename @includ(if: true) }",
    ],
)
async def test_production_does_not_suggest(settings: Settings, query: str) -> None:
    async with served(settings, env="production") as client:
        response = await client.post(query)
        assert "errors" in response.json()
        assert "mean" not in response.text
        assert await is_alive(client)


async def test_production_does_not_suggest_in_variables(settings: Settings) -> None:
    query = "query($o: [UserOrder!]) { users(orderBy: $o) { totalCount } }"
    async with served(settings, env="production") as client:
        for order in ({"field": "CREATED", "direction": "ASC"}, {"feld": "CREATED_AT", "direction": "ASC"}):
            response = await client.post(query, o=[order])
            assert "errors" in response.json()
            assert "mean" not in response.text


@pytest.mark.parametrize(
    "text", ["Variable '$", "Variable '$token: ", "cannot represent ", ", found: ", "'\\", "not to be None.", "token"]
)
async def test_long_text_in_a_refusal_delays_no_other_client(client: Client, text: str) -> None:
    long = text * (100_000 // len(text))
    sign_in = "mutation ($input: SignInInput!) { signIn(input: $input) { accessToken } }"
    name = re.sub(r"\W", "", long) or "token"
    posts = f"query (${name}: [PostOrder!]) {{ posts(orderBy: ${name}) {{ totalCount }} }}"
    async with asyncio.timeout(10):  # an algorithm of quadratic time would take between half a minute and hours
        for query, variables in (
            (sign_in, {"input": {"login": "a", "password": "b", long: 1}}),
            (sign_in, {"input": {"login": [long], "password": "b"}}),
            (posts, {name: [{"field": long, "direction": long}]}),
            (posts, {name: [{"field": [long], "direction": {long: long}}]}),
        ):
            answer = await client.http.post("/graphql", json={"query": query, "variables": variables})
            assert answer.json()["errors"]
    assert await is_alive(client)
