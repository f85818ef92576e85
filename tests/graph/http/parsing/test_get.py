"""Queries by GET: which clients may send one, what it may contain, and how long its response may be cached."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest

from db.settings import Settings
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.served_app import ALIVE, served

PROGRAM = {"accept": "application/json"}
TYPENAME = "/graphql?query=%7B__typename%7D"
NAVIGATION = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


async def get(client: Client, *, headers: Mapping[str, str] = PROGRAM, **parameters: Any) -> httpx.Response:
    return await client.http.get(f"/graphql?{urlencode(parameters)}", headers=dict(headers))


def refusal(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


# ---------------------------------------------------------------- what a foreign page can send


@pytest.mark.parametrize(
    "headers",
    [
        {"accept": "*/*"},
        {"accept": ""},
        # fetch(…, {mode: "no-cors", headers: {accept: "application/json"}}) needs no preflight either.
        {"accept": "application/json", "sec-fetch-mode": "no-cors"},
        {"accept": "image/avif,image/webp,*/*;q=0.8", "sec-fetch-mode": "no-cors"},
        {"accept": "*/*", "content-type": "application/json"},
        {"accept": 'text/plain;note=", application/json", */*'},
    ],
)
async def test_get_that_a_foreign_page_could_send_is_refused(client: Client, headers: dict[str, str]) -> None:
    answer = await client.http.get(TYPENAME, headers=headers)
    assert (answer.status_code, answer.json()) == (
        403,
        refusal("CSRF_PREVENTED", "a GET needs an Accept of application/json, or a header such as x-folio-request: 1"),
    )


# A link, form or frame of a foreign page; or a user who typed the address.
NAVIGATIONS = (
    {"accept": NAVIGATION},
    {"accept": NAVIGATION, "sec-fetch-mode": "navigate", "sec-fetch-site": "cross-site"},
)


async def test_browser_that_navigates_with_an_operation_gets_the_page_and_nothing_is_run(client: Client) -> None:
    page = await client.http.get("/graphql", headers={"accept": NAVIGATION})
    before = client.database.counters.statements
    for headers in NAVIGATIONS:
        # Each is a name or a value that contains `query`.
        for requested in (
            "query={users{totalCount}}",
            "q=query{users{totalCount}}",
            "extensions={}",
            "myquery=1",
            "query",
        ):
            answer = await client.http.get(f"/graphql?{requested}", headers=headers)
            assert (requested, answer.status_code, answer.content) == (requested, 200, page.content)
    assert client.database.counters.statements == before


async def test_program_that_also_accepts_html_gets_the_response_to_its_operation(client: Client) -> None:
    for headers in ({"accept": f"{NAVIGATION}, application/json"}, {"accept": NAVIGATION, "x-folio-request": "1"}):
        answer = await client.http.get(TYPENAME, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"data": {"__typename": "Query"}})


async def test_navigation_with_an_operation_is_refused_where_there_is_no_page(settings: Settings) -> None:
    async with served(settings, graphiql=False) as hidden:
        for headers in NAVIGATIONS:
            answer = await hidden.http.get(TYPENAME, headers=headers)
            assert (answer.status_code, answer.json()["errors"][0]["extensions"]) == (403, {"code": "CSRF_PREVENTED"})


@pytest.mark.parametrize(
    "headers",
    [
        {"accept": "application/json"},
        {"accept": "application/graphql-response+json; q=0.9, */*; q=0.1"},
        {"accept": "*/*", "sec-fetch-mode": "cors"},
        {"accept": "*/*", "sec-fetch-mode": "same-origin"},
        {"accept": "*/*", "x-folio-request": "1"},
        {"accept": "*/*", "apollo-require-preflight": "true", "sec-fetch-mode": "no-cors"},
        {"accept": "*/*", "x-apollo-operation-name": "Q"},
        {"accept": "*/*", "graphql-require-preflight": "1"},
        {"accept": "*/*", "apollographql-client-name": "web"},
        {"accept": "*/*", "x-graphql-client-name": "web"},
        {"accept": 'text/plain;note="a, b", application/json'},
        {"accept": "*/*", "x-requested-with": "XMLHttpRequest"},
    ],
)
async def test_get_of_a_program_is_answered(client: Client, headers: dict[str, str]) -> None:
    answer = await client.http.get(TYPENAME, headers=headers)
    assert (answer.status_code, answer.json()) == (200, ALIVE)


# ---------------------------------------------------------------- what it may contain


async def test_variables_and_operation_name_come_from_the_query_string(client: Client) -> None:
    query = """query A { __typename } query B($name: String!) { userByUsername(username: $name) { username } }"""
    answer = await get(
        client,
        query=query,
        operationName="B",
        variables=orjson.dumps({"name": "treasury"}).decode(),
        extensions='{"cost": true}',
    )
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "data": {"userByUsername": {"username": "treasury"}},
            "extensions": {"cost": {"requested": 1, "maximum": 25_000}},
        },
    )


async def test_empty_variables_and_unknown_parameters_are_none(client: Client) -> None:
    answer = await get(client, query="{ __typename }", variables="", extensions="", utm_source="letter")
    assert (answer.status_code, answer.json()) == (200, ALIVE)


@pytest.mark.parametrize(
    ("query_string", "message"),
    [
        ("query", "the query string is malformed or not UTF-8"),
        ("query=%ff", "the query string is malformed or not UTF-8"),
        ("query=%ed%a0%80", "the query string is malformed or not UTF-8"),
        ("query=%c0%80", "the query string is malformed or not UTF-8"),
        ("query=%7B__typename%7D&&x=1", "the query string is malformed or not UTF-8"),
        ("query=%7Ba%7D&query=%7Bb%7D", "the query string names a parameter twice"),
        ("query=", "query should be a string, the GraphQL document"),
        ("variables=%7B%7D", "query should be a string, the GraphQL document"),
        ("query=%7B__typename%7D&variables=5", "variables should be an object or null"),
        ("query=%7B__typename%7D&variables=[]", "variables should be an object or null"),
        ("query=%7B__typename%7D&extensions=%22x%22", "extensions should be an object or null"),
    ],
)
async def test_malformed_query_string_is_refused(client: Client, query_string: str, message: str) -> None:
    answer = await client.http.get(f"/graphql?{query_string}", headers=PROGRAM)
    assert (answer.status_code, answer.json()) == (400, refusal("BAD_REQUEST", message))


@pytest.mark.parametrize("variables", ["{", "NaN", '{"a": NaN}', "{}{}", "'a'"])
async def test_variables_that_are_no_json_are_refused(client: Client, variables: str) -> None:
    answer = await get(client, query="{ __typename }", variables=variables)
    message = answer.json()["errors"][0]["message"]
    assert answer.status_code == 400
    assert re.fullmatch(r"variables is not JSON: .+", message)


async def test_query_string_of_more_than_16_kib_is_too_long(client: Client) -> None:
    longest = "{__typename}".ljust(16_384 - len("query="), ",")
    answers = [await client.http.get(f"/graphql?query={query}", headers=PROGRAM) for query in (longest, longest + ",")]
    assert (answers[0].status_code, answers[0].json()) == (200, ALIVE)
    assert (answers[1].status_code, answers[1].json()) == (
        414,
        refusal("URI_TOO_LONG", "the query string has more than 16384 bytes"),
    )


async def test_mutation_by_get_is_refused_and_does_not_run(client: Client, sign_up: SignUp) -> None:
    ada = await sign_up("ada")
    mutation = 'mutation { createPost(input: {title: "T", content: "C"}) { post { id } } }'
    headers = {**PROGRAM, "authorization": f"Bearer {ada.token}"}
    answer = await get(client, headers=headers, query=mutation)
    assert (answer.status_code, answer.headers["allow"], answer.json()) == (
        405,
        "POST",
        refusal("METHOD_NOT_ALLOWED", "GET runs queries only; use POST"),
    )
    # A query in the body does not change that.
    both = await get(
        client, headers=headers, query=f"query Q {{ __typename }} {mutation.replace('{', 'M {', 1)}", operationName="M"
    )
    assert both.status_code == 405
    assert await client.data("{ posts { totalCount } }", by=ada) == {"posts": {"totalCount": 0}}


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods_are_not_allowed(client: Client, method: str) -> None:
    answer = await client.http.request(method, "/graphql", headers=PROGRAM)
    assert (answer.status_code, answer.headers["allow"], answer.json()) == (
        405,
        "GET, POST",
        refusal("METHOD_NOT_ALLOWED", "use POST, or GET for a query"),
    )


async def test_head_has_the_headers_of_get_and_no_body(client: Client) -> None:
    got, head = [await client.http.request(method, TYPENAME, headers=PROGRAM) for method in ("GET", "HEAD")]
    assert (head.status_code, head.content) == (200, b"")
    unlike = ("x-request-id", "traceresponse", "date")
    assert {name: value for name, value in head.headers.items() if name not in unlike} == {
        name: value for name, value in got.headers.items() if name not in unlike
    }


# ---------------------------------------------------------------- caching


async def test_unchanged_answer_is_revalidated_and_not_sent_again(client: Client, sign_up: SignUp) -> None:
    query = "{ users { totalCount } }"
    first = await get(client, query=query)
    etag = first.headers["etag"]
    assert (first.json(), first.headers["cache-control"]) == (
        {"data": {"users": {"totalCount": 0}}},
        "public, max-age=0, must-revalidate",
    )
    assert re.fullmatch(r'W/"[0-9a-f]{32}"', etag)
    for known in (etag, f'W/"other", {etag}', "*"):
        again = await get(client, headers={**PROGRAM, "if-none-match": known}, query=query)
        assert (again.status_code, again.content, again.headers["etag"], again.headers["cache-control"]) == (
            304,
            b"",
            etag,
            "public, max-age=0, must-revalidate",
        )
        assert {"content-type", "content-length"}.isdisjoint(again.headers)
    await sign_up("ada")
    changed = await get(client, headers={**PROGRAM, "if-none-match": etag}, query=query)
    assert (changed.status_code, changed.json()) == (200, {"data": {"users": {"totalCount": 1}}})


async def test_answer_to_someone_signed_in_is_private(client: Client, sign_up: SignUp) -> None:
    ada = await sign_up("ada")
    answer = await get(
        client, headers={**PROGRAM, "authorization": f"Bearer {ada.token}"}, query="{ viewer { username } }"
    )
    assert answer.json() == {"data": {"viewer": {"username": "ada"}}}
    assert answer.headers["cache-control"] == "private, max-age=0, must-revalidate"
    assert "authorization" in answer.headers["vary"]


@pytest.mark.parametrize("query", ["{", "{ nothing }", "{ users(first: 0) { totalCount } }"])
async def test_refusal_has_no_etag_with_the_newer_media_type(client: Client, query: str) -> None:
    answer = await get(client, headers={"accept": "application/graphql-response+json"}, query=query)
    kept = answer.status_code == 200
    assert ("etag" in answer.headers, answer.headers["cache-control"]) == (
        (True, "public, max-age=0, must-revalidate") if kept else (False, "no-store")
    )


async def test_answer_by_post_is_never_cached(client: Client) -> None:
    answer = await client.post("{ __typename }")
    assert (answer.headers["cache-control"], "etag" in answer.headers) == ("no-store", False)


async def test_page_is_served_to_browsers_and_not_in_production(settings: Settings, client: Client) -> None:
    page = await client.http.get("/graphql", headers={"accept": NAVIGATION})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    async with served(settings, env="production") as production:
        answer = await production.http.get("/graphql", headers={"accept": NAVIGATION})
    assert (answer.status_code, answer.json()) == (
        405,
        refusal("METHOD_NOT_ALLOWED", "send the operation by POST, as a JSON object with the key query"),
    )
