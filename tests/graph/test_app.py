"""What the application serves where: GraphiQL, introspection and suggestions in development, probes everywhere."""

from typing import Any

import httpx
from pydantic import SecretStr

from db.connections.leases import Driver
from db.settings import Settings, async_url
from db.setup.schema_version import expected_revision
from tests.graph.support.callers import Client, serving_with

INTROSPECTION = '{ __schema { queryType { name } } __type(name: "Post") { name } }'
DESCRIBED = {"data": {"__schema": {"queryType": {"name": "Query"}}, "__type": {"name": "Post"}}}
DISABLED = "GraphQL introspection has been disabled, but the requested query contained the field"
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
DELETE_POST = "mutation ($input: DeletePostInput!) { deletePost(input: $input) { deletedPostId } }"

# Invalid requests, with their messages and the suggestions that are added where they are enabled.
MISSPELT: list[tuple[str, dict[str, Any], str, str]] = [
    ("{ pots { totalCount } }", {}, "Cannot query field 'pots' on type 'Query'.", " Did you mean 'post' or 'posts'?"),
    (
        "{ posts(frist: 1) { totalCount } }",
        {},
        "Unknown argument 'frist' on field 'Query.posts'.",
        " Did you mean 'first' or 'last'?",
    ),
    ("{ ...F } fragment F on Qury { __typename }", {}, "Unknown type 'Qury'.", " Did you mean 'Query'?"),
    (
        "{ posts(orderBy: [{field: TITEL, direction: ASC}]) { totalCount } }",
        {},
        "Value 'TITEL' does not exist in 'PostOrderField' enum.",
        " Did you mean the enum value 'TITLE'?",
    ),
    (
        "query ($order: [PostOrder!]) { posts(orderBy: $order) { totalCount } }",
        {"order": [{"field": "TITEL", "direction": "ASC"}]},
        "Variable '$order' has invalid value at [0].field: Value 'TITEL' does not exist in 'PostOrderField' enum.",
        " Did you mean the enum value 'TITLE'?",
    ),
]


async def run(http: httpx.AsyncClient, query: str, variables: dict[str, Any] | None = None) -> Any:
    return (await http.post("/graphql", json={"query": query, "variables": variables})).json()


async def assert_suggestions(http: httpx.AsyncClient, *, shown: bool) -> None:
    for query, variables, message, guess in MISSPELT:
        [error] = (await run(http, query, variables))["errors"]
        assert error["message"] == message + (guess if shown else "")


async def assert_introspection(http: httpx.AsyncClient, *, shown: bool) -> None:
    body = await run(http, INTROSPECTION)
    if shown:
        assert body == DESCRIBED
    else:
        messages = [f"{DISABLED} '{field}'." for field in ("__schema", "queryType", "__type")]
        assert (list(body), [error["message"] for error in body["errors"]]) == (["errors"], messages)
    assert await run(http, "{ __typename }") == {"data": {"__typename": "Query"}}


async def assert_page(http: httpx.AsyncClient, *, shown: bool) -> None:
    response = await http.get("/graphql", headers=BROWSER)
    head = await http.head("/graphql", headers=BROWSER)
    assert (head.status_code, head.content) == (response.status_code, b"")
    if shown:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "<title>Folio GraphiQL</title>" in response.text
    else:
        assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
        assert [error["extensions"] for error in response.json()["errors"]] == [{"code": "METHOD_NOT_ALLOWED"}]


async def test_development_shows_page_introspection_and_guesses(client: Client) -> None:
    await assert_page(client.http, shown=True)
    await assert_introspection(client.http, shown=True)
    await assert_suggestions(client.http, shown=True)


async def test_production_hides_page_introspection_and_guesses(settings: Settings) -> None:
    async with serving_with(settings, env="production") as http:
        await assert_page(http, shown=False)
        await assert_introspection(http, shown=False)
        await assert_suggestions(http, shown=False)


async def test_each_is_shown_in_production_if_it_is_set(settings: Settings) -> None:
    for name in ("graphiql", "introspection", "suggestions"):
        async with serving_with(settings, env="production", **{name: True}) as http:
            await assert_page(http, shown=name == "graphiql")
            await assert_introspection(http, shown=name == "introspection")
            await assert_suggestions(http, shown=name == "suggestions")


async def test_each_is_hidden_in_development_if_it_is_set(settings: Settings) -> None:
    for name in ("graphiql", "introspection", "suggestions"):
        async with serving_with(settings, **{name: False}) as http:
            await assert_page(http, shown=name != "graphiql")
            await assert_introspection(http, shown=name != "introspection")
            await assert_suggestions(http, shown=name != "suggestions")


# ---------------------------------------------------------------- the front page

FRONT = "Folio, a GraphQL API. Send operations to /graphql by POST, as a JSON object with the key query.\n"


async def test_front_page_leads_a_browser_to_graphiql(client: Client) -> None:
    for _ in range(2):
        response = await client.http.get("/", headers=BROWSER)
        assert (response.status_code, response.headers["location"]) == (307, "graphql")
        assert "accept" in response.headers["vary"].split(", ")
    page = await client.http.get("/", headers=BROWSER, follow_redirects=True)
    assert (page.url.path, "<title>Folio GraphiQL</title>" in page.text) == ("/graphql", True)


async def test_front_page_names_the_api_if_graphiql_is_off(settings: Settings, client: Client) -> None:
    async with serving_with(settings, env="production") as http:
        answers = [await http.get("/", headers=BROWSER), await http.get("/"), await client.http.get("/")]
        head = await http.head("/", headers=BROWSER)
    for response in answers:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert response.text == FRONT
    assert (head.status_code, head.content) == (200, b"")


async def test_refusal_of_an_operation_at_the_front_page_names_the_path(client: Client) -> None:
    response = await client.http.post("/", json={"query": "{ __typename }"})
    error = {"message": "send operations to /graphql", "extensions": {"code": "NOT_FOUND"}}
    assert (response.status_code, response.json()) == (404, {"errors": [error]})


# ---------------------------------------------------------------- probes


async def test_migrated_database_makes_the_process_ready(client: Client) -> None:
    for probe in ("/livez", "/readyz"):
        response = await client.http.get(probe)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_unmigrated_database_makes_the_process_alive_and_not_ready(
    settings: Settings, empty_database_url: str
) -> None:
    async with serving_with(settings, database_url=SecretStr(async_url(empty_database_url))) as http:
        assert (await http.get("/livez")).json() == {"status": "ok"}
        response = await http.get("/readyz")
    reason = f"the database is at revision none, expected is {expected_revision()}"
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json() == {"status": "unavailable", "reason": reason}


async def test_database_of_another_revision_makes_the_process_not_ready_until_it_is_migrated(
    client: Client, superuser: Driver
) -> None:
    await superuser.execute("UPDATE alembic_version SET version_num = '000000000000'")
    response = await client.http.get("/readyz")
    reason = f"the database is at revision 000000000000, expected is {expected_revision()}"
    assert (response.status_code, response.json()) == (503, {"status": "unavailable", "reason": reason})
    await superuser.execute("UPDATE alembic_version SET version_num = $1", expected_revision())
    assert (await client.http.get("/readyz")).status_code == 200


async def test_database_that_cannot_be_reached_makes_the_process_alive_and_not_ready(settings: Settings) -> None:
    nowhere = SecretStr("postgresql+asyncpg://folio@127.0.0.1:1/folio")
    async with serving_with(settings, database_url=nowhere) as http:
        assert (await http.get("/livez")).status_code == 200
        response = await http.get("/readyz")
        refused = await http.post("/graphql", json={"query": "{ posts { totalCount } }"})
        typename = await run(http, "{ __typename }")
    unavailable = {"status": "unavailable", "reason": "the database cannot be reached"}
    assert (response.status_code, response.json()) == (503, unavailable)
    [error] = refused.json()["errors"]
    assert (error["message"], error["extensions"]) == (
        "the database cannot be reached",
        {"code": "DATABASE_UNAVAILABLE"},
    )
    assert typename == {"data": {"__typename": "Query"}}


async def test_there_is_nothing_else(client: Client) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/graphiql", "/favicon.ico"):
        assert (path, (await client.http.get(path)).status_code) == (path, 404)
