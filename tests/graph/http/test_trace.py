"""`"extensions": {"trace": true}`: the response contains the statements of the query, for those who may see them."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from db.connections.database import Database, Snapshot
from db.settings import Settings
from tests.graph.support.callers import Client, Person, SignUp, serving_with
from tests.graph.support.population import Population, populate

FEED = "{ posts(first: 5) { totalCount nodes { title author { username } } } }"
MONEY = "query ($id: ID!) { user(id: $id) { accounts { nodes { balance { amount } } } } }"
CREATE = 'mutation { createPost(input: {title: "T", content: "C"}) { post { id } userErrors { code } } }'


@pytest.fixture
async def admin(sign_up: SignUp) -> Person:
    """An administrator."""
    return await sign_up("root", admin=True)


@pytest.fixture
async def made(client: Client, admin: Person) -> Population:
    """Ten rows of every kind."""
    return await populate(client.database, 10)


async def sent(http: httpx.AsyncClient, query: str, by: Person | None = None, **given: Any) -> httpx.Response:
    """Send an operation; `given` are further members of the request."""
    headers = {"authorization": f"Bearer {by.token}"} if by else {}
    return await http.post("/graphql", json={"query": query, **given}, headers=headers)


TRACED: dict[str, Any] = {"extensions": {"trace": True}}


async def test_trace_has_the_statements_of_this_run(client: Client, made: Population) -> None:
    plain = await client.run(FEED)
    before = client.database.counters.statements
    body = (await sent(client.http, FEED, **TRACED)).json()
    assert client.database.counters.statements - before == 1
    assert body["data"] == plain["data"]
    trace = body["extensions"]["trace"]
    (read,) = trace["reads"]
    assert (trace["engine"], trace["access_level"], trace["is_single_read"]) == ("compiled", "public", True)
    assert (read["path"], read["rows"]) == ("posts", 6)  # one more than the page: it looks ahead
    assert read["us"] > 0
    assert read["sql"].startswith("SELECT array_agg")


async def test_trace_and_cost_are_answered_together(client: Client, made: Population) -> None:
    body = (await sent(client.http, FEED, extensions={"trace": True, "cost": True})).json()
    assert set(body["extensions"]) == {"trace", "cost"}


async def test_query_of_money_is_traced_in_its_snapshot(
    client: Client, admin: Person, made: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"id": made.users[0]}
    begun, read_as_one = list[object](), Database.read_as_one

    async def counted(database: Database, work: Callable[[Snapshot], Awaitable[object]], *arguments: Any) -> object:
        begun.append(arguments)
        return await read_as_one(database, work, *arguments)

    monkeypatch.setattr(Database, "read_as_one", counted)
    body = (await sent(client.http, MONEY, admin, variables=variables, **TRACED)).json()
    assert len(begun) == 1
    assert body["data"] == await client.data(MONEY, by=admin, **variables)
    assert body["data"]["user"]["accounts"]["nodes"] != []
    assert body["extensions"]["trace"]["in_snapshot"] is True


@pytest.mark.parametrize("trace", [None, False])
async def test_trace_is_absent_where_it_is_not_wanted(client: Client, trace: object) -> None:
    body = (await sent(client.http, FEED, extensions={"trace": trace})).json()
    assert set(body) == {"data"}
    assert set((await sent(client.http, FEED)).json()) == {"data"}


async def test_errors_are_those_of_the_query_without_a_trace(client: Client) -> None:
    for query, variables in (
        ("query ($n: Int!) { posts(first: $n) { nodes { id } } }", {"n": "many"}),
        ("{ posts(first: 1000) { nodes { id } } }", {}),
    ):
        plain = await sent(client.http, query, variables=variables)
        traced = await sent(client.http, query, variables=variables, **TRACED)
        assert "errors" in plain.json()
        assert (traced.status_code, traced.json()["errors"]) == (plain.status_code, plain.json()["errors"])
        trace = traced.json().get("extensions", {}).get("trace", {"errors": []})
        assert trace["errors"] == []  # they are not masked there


async def test_only_administrators_see_a_trace_in_production(settings: Settings, admin: Person, ida: Person) -> None:
    async with serving_with(settings, env="production") as http:
        for caller in (None, ida):
            refused = await sent(http, FEED, caller, **TRACED)
            (error,) = refused.json()["errors"]
            assert (refused.status_code, error["extensions"]) == (403, {"code": "FORBIDDEN"})
            assert "data" not in refused.json()
            assert error["message"].startswith("extensions.trace is for administrators only")
        assert "trace" in (await sent(http, FEED, admin, **TRACED)).json()["extensions"]


@pytest.mark.parametrize("query", [FEED, CREATE])
async def test_trace_that_is_no_boolean_is_refused(client: Client, ida: Person, query: str) -> None:
    refused = await sent(client.http, query, ida, extensions={"trace": "yes"})
    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["message"]) == (400, "extensions.trace should be true, false or null")


async def test_mutation_with_a_trace_is_refused_and_not_run(client: Client, ida: Person) -> None:
    refused = await sent(client.http, CREATE, ida, **TRACED)
    (error,) = refused.json()["errors"]
    assert (refused.status_code, error["extensions"]["code"]) == (400, "BAD_REQUEST")
    assert "explains queries only" in error["message"]
    assert (await client.data("{ posts { totalCount } }", by=ida))["posts"]["totalCount"] == 0
